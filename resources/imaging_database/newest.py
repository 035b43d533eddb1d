"""The newest image of the database, for who wants to see that one comes through."""

from datetime import UTC, datetime

from sqlalchemy import func, not_, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IMAGE_COLUMNS, image_of, is_numbered, is_undated, newest_time, with_plates
from resources.imaging_database.schema import images, inspections, scores
from resources.records import Image


def newest_image(database: ImagingDatabase, scorer_version: str) -> Image | None:
    """The image that a scorer version has scored last or, if it has scored none, one of the newest inspection.

    One that was scored can be: its file was there and could be decoded. ``None`` where no image is listed.
    """
    scored = (
        select(scores.c.image_id)
        .where(scores.c.scorer_version == scorer_version)
        .order_by(scores.c.scored_at.desc())
        .limit(1)
    )
    inspected = (
        select(inspections.c.id)
        .where(is_numbered(inspections.c.id), not_(is_undated()))
        .order_by(inspections.c.imaged_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    listed = select(func.min(images.c.id)).where(images.c.inspection_id == inspected)
    with database.reading("doctor") as connection:
        for query in (scored, listed):
            image_id: int | None = connection.scalar(query)
            if image_id is None:
                continue
            columns = with_plates(
                select(*IMAGE_COLUMNS).join(inspections, inspections.c.id == images.c.inspection_id)
            ).where(images.c.id == image_id)
            if row := connection.execute(columns).first():
                return image_of(row)
    return None


def newest_path(database: ImagingDatabase) -> str | None:
    """Where an image of the newest inspection is; ``None`` if there is none."""
    with database.reading("watch") as connection:
        imaged_at = connection.scalar(newest_time(datetime.now(UTC)))
        if imaged_at is None:
            return None
        of_newest = (
            select(func.min(images.c.path))
            .join(inspections, inspections.c.id == images.c.inspection_id)
            .where(inspections.c.imaged_at == imaged_at)
        )
        return connection.scalar(of_newest)
