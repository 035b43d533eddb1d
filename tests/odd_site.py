"""A site of 20 images on one day whose relations take any value in any column: what a LIMS behind views may list."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import text

from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.scoring.classify import classify_day
from c4_assets.scoring.fetch import stage_day
from c4_assets.scoring.predict import predict_day
from c4_assets.scoring.write import write_day
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import Staging
from resources.image_store import LocalStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.ddl import dialect_of, script
from resources.imaging_database.work import pending_by_day
from resources.settings.checks import Thresholds
from tests.conftest import noon, photograph
from tests.stand_in_engine import StandIn

DAY = noon(1).date()
VERSION = ScorerVersion("stand-in", "0" * 64, "none", "none", "fp32", 0.25)
MAX_ATTEMPTS = 3

RELATIONS: Mapping[str, Mapping[str, str]] = {
    "plates": {"id": "whole number", "barcode": "text"},
    "inspections": {"id": "whole number", "plate_id": "whole number", "imaged_at": "time", "imager": "text"},
    "images": {
        "id": "whole number",
        "inspection_id": "whole number",
        "well": "text",
        "drop_number": "whole number",
        "path": "text",
    },
    "score_classes": {"id": "whole number", "name": "text", "category": "text"},
}
TYPES = {
    "sqlite": {"whole number": "", "text": "text", "time": "text"},
    "postgresql": {"whole number": "numeric", "text": "text", "time": "timestamp"},
}
"""The widest type of each kind that `c4 db check` accepts."""

INSPECTIONS = range(1, 5)
IMAGES = {number: INSPECTIONS[number % 4] for number in range(101, 121)}
"""Inspection by image, five each."""


def make_images(store: Path) -> None:
    """The files of the 20 images."""
    store.mkdir()
    for image_id in IMAGES:
        (store / f"{image_id}.jpg").write_bytes(photograph(image_id))


def make_site(database: ImagingDatabase) -> None:
    """C4's own tables, and a LIMS in place of the relations that it reads."""
    types = TYPES[database.dialect]
    indexes = [f"create index {table}_id on {table} (id)" for table in RELATIONS]
    with database.writing() as connection:
        for statement in "\n".join(script(dialect_of(database.dialect))).split(";"):
            if statement.strip():
                connection.execute(text(statement))
        for table, columns in RELATIONS.items():
            connection.execute(
                text(f"create table {table} ({', '.join(f'{c} {types[k]}' for c, k in columns.items())})")
            )
        for statement in (*indexes, "create index inspections_imaged_at on inspections (imaged_at)"):
            connection.execute(text(statement))
        for number, name in enumerate(("clear", "crystals", "other", "precipitate"), start=1):
            connection.execute(text(f"insert into score_classes values ({number}, '{name}', '{name}')"))


def fill_site(database: ImagingDatabase) -> None:
    """Lists the 20 images anew, and forgets what C4 has written."""
    at = noon(1).strftime("%Y-%m-%d %H:%M:%S.000000")
    plates = [{"id": n, "barcode": f"P{n}"} for n in INSPECTIONS]
    inspections = [{"id": n, "plate": n, "at": at} for n in INSPECTIONS]
    images = [{"id": image, "inspection": i, "path": f"{image}.jpg"} for image, i in IMAGES.items()]
    own = ("scores", "c4_image_failures", "c4_superseded_scores", "c4_withheld_inspections")
    with database.writing() as connection:
        for table in ("plates", "inspections", "images", *own):
            connection.execute(text(f"delete from {table}"))
        connection.execute(text("insert into plates values (:id, :barcode)"), plates)
        at_type = "cast(:at as timestamp)" if database.dialect == "postgresql" else ":at"
        connection.execute(text(f"insert into inspections values (:id, :plate, {at_type}, 'left')"), inspections)
        connection.execute(text("insert into images values (:id, :inspection, 'A01', 1, :path)"), images)


@dataclass(frozen=True)
class OddRow:
    """One column of one row, and what stands there instead."""

    table: str
    column: str
    row_id: int
    value: Any

    @property
    def concerned(self) -> set[int]:
        """The images that are listed by the row."""
        return {self.row_id} if self.table == "images" else {i for i, of in IMAGES.items() if of == self.row_id}

    def put_into(self, database: ImagingDatabase) -> None:
        kind = TYPES[database.dialect][RELATIONS[self.table][self.column]]
        value = f"cast(:value as {kind})" if kind else ":value"
        with database.writing() as connection:
            statement = text(f"update {self.table} set {self.column} = {value} where id = :id")
            connection.execute(statement, {"value": self.value, "id": self.row_id})


def score_what_is_pending(database: ImagingDatabase, store: Path, folder: Path) -> int:
    """Does what the sensor asks for, through the plain functions, until it asks for nothing. Returns how often."""
    images = LocalStore.at(str(store))
    staging = Staging(folder / "staging")
    archive = ScoreArchive(folder / "archive", VERSION.model_version, VERSION.name)
    turns = 0
    while days := pending_by_day(database, VERSION.name, MAX_ATTEMPTS, due_only=True):
        turns += 1
        assert turns <= MAX_ATTEMPTS, f"asked for again and again: {days}"
        for day in days:
            stage_day(day, database, images, staging, [archive], MAX_ATTEMPTS, 10**12)
            classify_day(day, staging, archive, StandIn)
            predict_day(day, archive, VERSION.crystal_threshold)
            write_day(day, database, archive, VERSION, "run", Thresholds())
    return turns


def scored(database: ImagingDatabase) -> list[int]:
    with database.reading() as connection:
        query = text("select image_id from scores where scorer_version is not null order by image_id")
        return list(cast("Any", connection.scalars(query)))
