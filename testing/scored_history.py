"""A facility's history, generated inside PostgreSQL: plates, inspections, images and their scores."""

from sqlalchemy import text

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import seed_classes
from resources.imaging_database.schema import score_classes
from resources.imaging_database.statements import insert_absent
from resources.records import WITHDRAWN_CLASS

PER_INSPECTION = 200
"""Images of one imaging of one plate."""

PENDING = 2 * PER_INSPECTION
"""The newest images, which have no score yet: an hour's work where 50 million were taken in twenty years."""

_VERSION = """
insert into c4_scorer_versions
    (name, model, weights_sha256, preprocessing, engine, precision, crystal_threshold, first_used_at)
values (:scorer, 'm', 'w', 'p', 'e', 'f', 0.25, now() at time zone 'utc')
"""

_PLATES = "insert into plates (barcode) select 'P' || n from generate_series(1, cast(:plates as bigint)) n"

_INSPECTIONS = """
insert into inspections (plate_id, imaged_at)
select 1 + n % :plates, now() at time zone 'utc' - (:inspections - n) * :apart * interval '1 second'
from generate_series(1, cast(:inspections as bigint)) n
"""

_IMAGES = """
insert into images (inspection_id, well, drop_number, path)
select 1 + (n - 1) / :per_inspection, chr((65 + n % 8)::int) || n % 12, 1, 'plates/' || n / 200 || '/' || n || '.jpg'
from generate_series(1, cast(:images as bigint)) n
"""

_SCORES = """
insert into scores (image_id, score_class_id, scorer, scored_at, scorer_version, crystal,
    p_clear, p_crystals, p_other, p_precipitate, run_id)
select n, 1 + n % 4, :scorer, now() at time zone 'utc', :scorer, n % 50 = 0, 0.7, 0.1, 0.1, 0.1, 'run'
from generate_series(1, cast(:images - :pending as bigint)) n
"""


_LIVED_SCORES = """
insert into scores (image_id, score_class_id, scorer, scored_at, scorer_version, crystal,
    p_clear, p_crystals, p_other, p_precipitate, run_id)
select i.id, case when i.id % 50 = 0 then 2 else 1 + i.id % 2 * 2 end,
    :scorer, s.imaged_at + interval '1 hour', :scorer, i.id % 50 = 0,
    0.1, case when i.id % 50 = 0 then 0.25 + i.id * 7919 % 7500 / 1e4 else i.id % 2500 / 1e4 end, 0.1, 0.1, 'run'
from images i join inspections s on s.id = i.inspection_id where i.id <= :images - :pending order by i.id
"""

_PEOPLE = """
insert into scores (image_id, score_class_id, scorer, scored_at)
select i.id,
    case when :after = 2 then (select id from score_classes where name = 'withdrawn')
         when i.id % 110 = 0 then 2 when i.id % 130 = 0 then 1 when i.id % 50 = 0 then 2 else 1 + i.id % 2 * 2 end,
    'person ' || i.id / 10 % 20, s.imaged_at + :after * interval '1 day'
from images i join inspections s on s.id = i.inspection_id where i.id % :every = :first order by i.id
"""


def fill(
    database: ImagingDatabase, images: int, a_day: int, scorer: str, pending: int = PENDING, lived: bool = False
) -> None:
    """Fills an upgraded, empty PostgreSQL database with so many images, so many a day, the last ones imaged now.

    All but the newest ``pending`` have a score of ``scorer``. Foreign keys are not checked meanwhile, for the rows are
    made right; statistics and visibility are as after autovacuum.

    Args:
        lived: images were scored an hour after they were taken and not now, one in ten by one of 20 people as well, one
            score in a hundred of those was withdrawn, and here and there a person says the opposite of the machine.
    """
    seed_classes(database)
    inspections = images // PER_INSPECTION
    values = {
        "scorer": scorer,
        "plates": max(1, inspections // 10),
        "inspections": inspections,
        "apart": 86_400 * PER_INSPECTION / a_day,
        "images": inspections * PER_INSPECTION,
        "per_inspection": PER_INSPECTION,
        "pending": pending,
    }
    with database.writing("benchmark") as connection:
        connection.execute(text("set local session_replication_role = replica"))
        for statement in (_VERSION, _PLATES, _INSPECTIONS, _IMAGES, _LIVED_SCORES if lived else _SCORES):
            connection.execute(text(statement), values)
        if lived:
            insert_absent(connection, score_classes, [{"name": WITHDRAWN_CLASS, "category": None}])
            for after, every, first in ((1, 10, 0), (2, 1000, 10)):
                connection.execute(text(_PEOPLE), {"after": after, "every": every, "first": first})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))
