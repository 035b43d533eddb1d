"""A facility's history, generated inside PostgreSQL: plates, inspections, images and their scores."""

from collections.abc import Iterator

from sqlalchemy import text

from resources.categories import CATEGORIES
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import seed_classes

PER_INSPECTION = 200
"""Images of one imaging of one plate."""

PENDING = 2 * PER_INSPECTION
"""The newest images have no score yet: an hour's work at the facility of 50 million images."""


def fill(database: ImagingDatabase, images: int, a_day: int, scorer: str) -> None:
    """Fills an upgraded, empty PostgreSQL database with so many images, so many a day, the last ones imaged now.

    All but the newest :data:`PENDING` have a score of ``scorer``. Foreign keys are not checked row by row meanwhile,
    because the rows are made right; statistics and visibility are as after autovacuum.
    """
    seed_classes(database)
    for statement in _statements(images, a_day, scorer):
        with database.writing("benchmark") as connection:
            connection.execute(text("set local session_replication_role = replica"))
            connection.execute(text("set local synchronous_commit = off"))
            connection.execute(text(statement))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))


def _statements(images: int, a_day: int, scorer: str) -> Iterator[str]:
    inspections = images // PER_INSPECTION
    plates = max(1, inspections // 10)
    apart = 86_400 * PER_INSPECTION / a_day
    yield (
        "insert into c4_scorer_versions (name, model, weights_sha256, preprocessing, engine, precision, "
        f"crystal_threshold, first_used_at) values ('{scorer}', 'm', 'w', 'p', 'e', 'f', 0.25, now())"
    )
    yield f"insert into plates (barcode) select 'P' || n from generate_series(1, {plates}) n"
    yield (
        "insert into inspections (plate_id, imaged_at) "
        f"select 1 + n % {plates}, now() at time zone 'utc' - ({inspections} - n) * interval '{apart} s' "
        f"from generate_series(1, {inspections}) n"
    )
    yield (
        "insert into images (inspection_id, well, drop_number, path) "
        f"select 1 + (n - 1) / {PER_INSPECTION}, chr(65 + n % 8) || n % 12, 1, 'plates/' || n / 200 || '/' || n "
        f"|| '.jpg' from generate_series(1, {inspections * PER_INSPECTION}) n"
    )
    yield (
        "insert into scores (image_id, score_class_id, scorer, scored_at, scorer_version, crystal, p_clear, p_crystals, "
        f"p_other, p_precipitate, run_id) select n, 1 + n % {len(CATEGORIES)}, '{scorer}', now(), '{scorer}', "
        f"n % 50 = 0, 0.7, 0.1, 0.1, 0.1, 'run' from generate_series(1, {inspections * PER_INSPECTION - PENDING}) n"
    )
