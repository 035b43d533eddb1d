"""Take inspections back out of an imaging database that is C4's own: an import that was wrong."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from resources.errors import DataError
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.people_tables import c4_favourites, c4_notes, c4_tags
from resources.imaging_database.schema import (
    c4_image_failures,
    c4_scorer_versions,
    c4_withheld_inspections,
    images,
    inspections,
    plates,
    scores,
)
from resources.imaging_database.statements import among
from resources.imaging_database.superseded import retire
from resources.wording import counted


@dataclass(frozen=True)
class Withdrawn:
    """An inspection that is not listed any more, and how many machine scores of it are now superseded ones."""

    inspection_id: int
    plate: str
    imaged_at: datetime
    images: int
    superseded: int


def withdraw_inspections(database: ImagingDatabase, inspection_ids: Collection[int]) -> list[Withdrawn]:
    """Withdraws inspections, all of them or none. Files in the image store stay where they are.

    Machine scores move to ``c4_superseded_scores``, as those of a file that was replaced do. Failures, what was
    withheld, favourites and tags go with the inspection.

    Raises:
        DataError: there is no such inspection, or people have scored images of it or written notes on them.
    """
    with database.writing("withdraw") as connection:
        return [_withdraw(connection, number) for number in sorted(set(inspection_ids))]


def _withdraw(connection: Connection, number: int) -> Withdrawn:
    found = connection.execute(
        select(plates.c.id, plates.c.barcode, inspections.c.imaged_at)
        .join(inspections, inspections.c.plate_id == plates.c.id)
        .where(inspections.c.id == number)
    ).one_or_none()
    if found is None:
        raise DataError(f"There is no inspection {number}: `c4 import` prints the numbers. Nothing was withdrawn.")
    ids = list(connection.scalars(select(images.c.id).where(images.c.inspection_id == number).order_by(images.c.id)))
    _refuse_if_people_scored(connection, number, found.barcode, ids)
    versions = list(connection.scalars(select(c4_scorer_versions.c.name).order_by(c4_scorer_versions.c.name)))
    superseded = sum(retire(connection, version, ids) for version in versions)
    for table in (c4_image_failures, c4_favourites, c4_tags):
        for these in among(connection, table.c.image_id, ids):
            connection.execute(table.delete().where(these))
    connection.execute(c4_withheld_inspections.delete().where(c4_withheld_inspections.c.inspection_id == number))
    connection.execute(images.delete().where(images.c.inspection_id == number))
    connection.execute(inspections.delete().where(inspections.c.id == number))
    if connection.scalar(select(func.count()).where(inspections.c.plate_id == found.id)) == 0:
        connection.execute(plates.delete().where(plates.c.id == found.id))
    return Withdrawn(number, found.barcode, found.imaged_at, len(ids), superseded)


def _refuse_if_people_scored(connection: Connection, number: int, plate: str, ids: list[int]) -> None:
    human, notes = 0, 0
    for these in among(connection, scores.c.image_id, ids):
        query = select(func.count()).select_from(scores).where(scores.c.scorer_version.is_(None), these)
        human += connection.scalar(query) or 0
    for these in among(connection, c4_notes.c.image_id, ids):
        notes += connection.scalar(select(func.count()).select_from(c4_notes).where(these)) or 0
    if human or notes:
        table = "scores" if human else "c4_notes"
        raise DataError(
            f"People have given {counted(human, 'score')} to images of inspection {number} (plate {plate}), and "
            f"written {counted(notes, 'note')}, which would be lost. Nothing was withdrawn. Copy those rows of "
            f"the table {table} and delete them first, if they are wrong too."
        )
