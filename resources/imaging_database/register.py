"""Put plates, inspections, images and classes into an imaging database that is C4's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import select

from resources.errors import ConfigurationError
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import images, inspections, plates, score_classes, scores
from resources.imaging_database.statements import batches, insert_absent
from resources.records import CATEGORIES, WITHDRAWN_CLASS

NUANCED_CLASSES = {
    "single crystal": "crystals",
    "needles": "crystals",
    "plates": "crystals",
    "microcrystals": "crystals",
    "light precipitate": "precipitate",
    "heavy precipitate": "precipitate",
    "phase separation": "other",
    "skin": "other",
    "contamination": "other",
    "bad image": None,
}
"""Common classes with the category of each: a start, which a site edits in the table ``score_classes``."""


@dataclass(frozen=True)
class NewImage:
    """An image to register: ``path`` is relative to the image store's root."""

    well: str
    drop_number: int
    path: str


@dataclass(frozen=True)
class Registered:
    """What :func:`register_inspection` did."""

    inspection_id: int
    new_images: int
    known_images: int


@dataclass(frozen=True)
class RegisteredInspection:
    """An inspection that the database lists, with its images."""

    inspection_id: int
    imaged_at: datetime
    images: tuple[NewImage, ...]


def seed_classes(database: ImagingDatabase) -> int:
    """Adds the four categories, :data:`NUANCED_CLASSES` and the class that takes a score back, where they are missing.

    Returns how many were added.

    Raises:
        ConfigurationError: the classes are a view over the site's own.
    """
    if database.is_view(score_classes.name):
        raise ConfigurationError(
            "score_classes is a view over the LIMS's own classes, which C4 does not change: let the view add the four "
            "categories, as deploy/postgresql/views.sql and deploy/oracle/views.sql do."
        )
    classes = {**{category: category for category in CATEGORIES}, **NUANCED_CLASSES, WITHDRAWN_CLASS: None}
    rows = [{"name": name, "category": category} for name, category in classes.items()]
    with database.writing("register") as connection:
        return insert_absent(connection, score_classes, rows)


def register_inspection(
    database: ImagingDatabase, plate: str, imaged_at: datetime, imager: str | None, new: Sequence[NewImage]
) -> Registered:
    """Registers one imaging of one plate. What is registered already stays unchanged, so repeating it is harmless."""
    with database.writing("register") as connection:
        insert_absent(connection, plates, [{"barcode": plate}])
        plate_id = connection.scalar(select(plates.c.id).where(plates.c.barcode == plate))
        insert_absent(connection, inspections, [{"plate_id": plate_id, "imaged_at": imaged_at, "imager": imager}])
        inspection_id: int = connection.scalars(
            select(inspections.c.id).where(inspections.c.plate_id == plate_id, inspections.c.imaged_at == imaged_at)
        ).one()
        added = insert_absent(connection, images, [{**vars(image), "inspection_id": inspection_id} for image in new])
    return Registered(inspection_id, added, len(new) - added)


def inspections_of_plate(database: ImagingDatabase, plate: str) -> list[RegisteredInspection]:
    """All inspections of a plate, the oldest first, with their images in the order of their numbers."""
    query = (
        select(inspections.c.id, inspections.c.imaged_at, images.c.well, images.c.drop_number, images.c.path)
        .join(plates, plates.c.id == inspections.c.plate_id)
        .outerjoin(images, images.c.inspection_id == inspections.c.id)
        .where(plates.c.barcode == plate)
        .order_by(inspections.c.imaged_at, inspections.c.id, images.c.id)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    return [
        RegisteredInspection(*key, tuple(NewImage(row.well, row.drop_number, row.path) for row in group if row.path))
        for key, group in groupby(rows, key=lambda row: (row.id, row.imaged_at))
    ]


def record_human_scores(
    database: ImagingDatabase, inspection_id: int, scorer: str, scored_at: datetime, class_by_path: dict[str, str]
) -> int:
    """Enters one person's scores of one inspection, by image path and class name, where that person has none yet.

    Returns how many scores were entered.
    """
    with database.writing("register") as connection:
        of_inspection = select(images.c.path, images.c.id).where(images.c.inspection_id == inspection_id)
        image_ids = {row.path: row.id for row in connection.execute(of_inspection)}
        classes = connection.execute(select(score_classes.c.name, score_classes.c.id))
        class_ids = {row.name: row.id for row in classes}
        known: set[int] = set()
        for batch in batches(image_ids.values()):
            of_batch = select(scores.c.image_id).where(scores.c.scorer == scorer, scores.c.image_id.in_(batch))
            known.update(connection.scalars(of_batch))
        rows = [
            {
                "image_id": image_ids[path],
                "score_class_id": class_ids[name],
                "scorer": scorer,
                "scored_at": scored_at,
                "image_path": path,
            }
            for path, name in class_by_path.items()
            if image_ids[path] not in known
        ]
        if rows:
            connection.execute(scores.insert(), rows)
    return len(rows)
