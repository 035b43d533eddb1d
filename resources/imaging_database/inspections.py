"""The inspections of a day with all their images, whatever the state of these."""

from datetime import date, datetime
from itertools import groupby

from sqlalchemy import func, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IMAGE_COLUMNS, IS_NAMED, image_of, is_dated, is_numbered, with_plates
from resources.imaging_database.schema import images, inspections
from resources.imaging_database.work import day_bounds
from resources.records import Image, Inspection


def inspections_of_day(database: ImagingDatabase, day: date) -> list[Inspection]:
    """The inspections of one day (UTC) that have images, with every image once, ordered by number."""
    start, end = day_bounds(day)
    listed = (
        with_plates(
            select(inspections.c.imaged_at, inspections.c.plate_id, *IMAGE_COLUMNS).join(
                inspections, inspections.c.id == images.c.inspection_id
            )
        )
        .where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end, IS_NAMED)
        .order_by(images.c.inspection_id, images.c.id, images.c.path)
    )
    todays = inspections.alias("todays")
    earlier = (
        select(inspections.c.plate_id, inspections.c.imaged_at, func.count(images.c.id.distinct()))
        .join(images, images.c.inspection_id == inspections.c.id)
        .where(
            is_dated(),
            is_numbered(images.c.id),
            inspections.c.imaged_at < end,
            inspections.c.plate_id.in_(
                select(todays.c.plate_id).where(todays.c.imaged_at >= start, todays.c.imaged_at < end)
            ),
        )
        .group_by(inspections.c.id, inspections.c.plate_id, inspections.c.imaged_at)
    )
    with database.reading("list images") as connection:
        rows = connection.execute(listed).all()
        counts = connection.execute(earlier).all()
    before: dict[int, list[tuple[datetime, int]]] = {}
    for plate_id, imaged_at, count in counts:
        before.setdefault(plate_id, []).append((imaged_at, count))
    found: list[Inspection] = []
    for _, group in groupby(rows, key=lambda row: row.inspection_id):
        first, *rest = group
        of_inspection: dict[int, Image] = {image.image_id: image for image in map(image_of, (first, *rest))}
        image = next(iter(of_inspection.values()))
        most = max((count for at, count in before.get(first.plate_id, ()) if at < first.imaged_at), default=0)
        found.append(Inspection(image.inspection_id, image.plate, first.imaged_at, tuple(of_inspection.values()), most))
    return found
