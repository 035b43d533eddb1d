"""A small site whose rows a test writes one by one: what models and people said, when, of which drop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, select

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.imaging_database.schema import images, inspections, score_classes, scores
from resources.imaging_database.statements import insert_absent
from resources.imaging_database.write_back import FailedAttempt, MachineScore, write_back
from resources.records import WITHDRAWN_CLASS
from tests.conftest import noon

VERSION, OTHER = "v", "w"
AT = noon(1)


def version(name: str) -> dict[str, object]:
    parts = dict.fromkeys(("model", "weights_sha256", "preprocessing", "engine", "precision"), "x")
    return {"name": name, **parts, "crystal_threshold": 0.5, "first_used_at": AT}


@dataclass
class Site:
    """Rows of a database, entered as a LIMS and C4 enter them."""

    database: ImagingDatabase
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    """Image by path."""

    def image_plate(self, plate: str, imaged_at: datetime, wells: Sequence[str]) -> int:
        """An inspection with one image a well, called ``plate/minute/well``. Returns its number."""
        paths = {well: f"{plate}/{imaged_at:%d%H%M}/{well}" for well in wells}
        new = [NewImage(well, 1, path) for well, path in paths.items()]
        number = register_inspection(self.database, plate, imaged_at, "left", new).inspection_id
        with self.database.reading() as connection:
            rows = connection.execute(select(images.c.path, images.c.id).where(images.c.inspection_id == number))
            self.numbers |= {row.path: row.id for row in rows}
        return number

    def image(self, plate: str, imaged_at: datetime, well: str) -> int:
        return self.numbers[f"{plate}/{imaged_at:%d%H%M}/{well}"]

    def score(self, crystals: Mapping[int, float], by: str = VERSION, at: datetime = AT) -> None:
        """A model's scores by image: probabilities of crystals, flagged from 0.5 on."""
        path_of = {number: path for path, number in self.numbers.items()}
        rows = [
            MachineScore(
                image_id,
                "crystals" if p >= 0.5 else "clear",
                p >= 0.5,
                (1 - p, p, 0.0, 0.0),
                at,
                sha256=f"{image_id:064}",
                path=path_of[image_id],
            )
            for image_id, p in crystals.items()
        ]
        write_back(self.database, version(by), rows, [], "run-1")

    def fail(self, image_id: int, reason: str, by: str = VERSION) -> None:
        write_back(self.database, version(by), [], [FailedAttempt(image_id, reason, AT)], "run-1")

    def say(self, image_id: int, person: str, class_name: str, minute: int = 0) -> None:
        """A person's score, so many minutes after noon of yesterday."""
        row = {"image_id": image_id, "scorer": person, "scored_at": AT + timedelta(minutes=minute)}
        with self.database.writing() as connection:
            of_name = select(score_classes.c.id).where(score_classes.c.name == class_name)
            connection.execute(scores.insert(), [{**row, "score_class_id": connection.scalar(of_name)}])

    def add_relation(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """An optional relation of the site's, with rows."""
        with self.database.writing() as connection:
            table.create(connection)
            connection.execute(table.insert(), [dict(row) for row in rows])

    def plate_of(self, inspection_id: int) -> int:
        with self.database.reading() as connection:
            of_inspection = select(inspections.c.plate_id).where(inspections.c.id == inspection_id)
            return connection.scalars(of_inspection).one()


def new_site(address: str) -> Site:
    database = ImagingDatabase(address)
    database.upgrade()
    seed_classes(database)
    with database.writing() as connection:
        insert_absent(connection, score_classes, [{"name": WITHDRAWN_CLASS, "category": None}])
    return Site(database)
