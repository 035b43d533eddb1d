"""Rows of a site's relations that C4 cannot score an image of: counted, and one of each kind named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, String, and_, case, exists, func, not_, null, or_, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import is_numbered, is_undated, usable_text, whole_number
from resources.imaging_database.schema import images, inspections, plates
from resources.records import MAX_TEXT_LENGTH, NO_NUMBER

NEWEST_IMAGES = 100_000
"""Images that are looked at, those with the highest numbers: all of history would take minutes."""


@dataclass(frozen=True)
class UndatedInspection:
    """An inspection whose time of imaging is none, as the database writes it; ``None`` where it is missing."""

    inspection_id: int
    plate: str
    imaged_at: str | None

    def __str__(self) -> str:
        when = f"dated {self.imaged_at}" if self.imaged_at else "no time"
        return f"inspection {self.inspection_id} of plate {self.plate or 'unknown'}, {when}"


@dataclass(frozen=True)
class Undated:
    """Inspections that no day has, so that nobody asks for their images; some of them are named."""

    inspections: int
    images: int
    named: Sequence[UndatedInspection]

    def __str__(self) -> str:
        more = self.inspections - len(self.named)
        named = "; ".join(map(str, self.named)) + (f"; and {more:,} more" if more else "")
        return f"{self.images:,} images of {self.inspections:,} inspections ({named})"


def undated(database: ImagingDatabase, most: int = 3) -> Undated:
    """The inspections with images whose time of imaging is missing or stands for none.

    Args:
        most: how many are named.
    """
    with database.reading("status") as connection:
        return undated_in(connection, most)


def undated_in(connection: Connection, most: int = 3) -> Undated:
    """As :func:`undated`, on a connection."""
    counts = (
        select(func.count(inspections.c.id.distinct()), func.count(images.c.id.distinct()))
        .join(images, images.c.inspection_id == inspections.c.id)
        .where(is_undated())
    )
    count, of_images = connection.execute(counts).one()
    if not count:
        return Undated(0, 0, ())
    query = (
        select(inspections.c.id, plates.c.barcode, _as_text(connection))
        .outerjoin(plates, plates.c.id == inspections.c.plate_id)
        .where(is_undated(), exists().where(images.c.inspection_id == inspections.c.id))
        .order_by(inspections.c.id)
        .limit(most)
    )
    rows = connection.execute(query).all()
    named = tuple(UndatedInspection(whole_number(id_), usable_text(plate), at) for id_, plate, at in rows)
    return Undated(count, of_images, named)


def _as_text(connection: Connection) -> ColumnElement[str]:
    # Python has no such time, so the database writes it.
    if connection.dialect.name == "oracle":
        return func.to_char(inspections.c.imaged_at, "SYYYY-MM-DD HH24:MI:SS", type_=String)
    return inspections.c.imaged_at.cast(String)


@dataclass(frozen=True)
class OddRows:
    """So many of the newest images lack something, one of them named if it has a number."""

    lacking: str
    count: int
    looked_at: int
    example: int | None

    def __str__(self) -> str:
        named = f" (image {self.example}, for one)" if self.example is not None else ""
        return f"{self.lacking} of {self.count:,} of the {self.looked_at:,} newest images{named}"


def odd_rows_in(connection: Connection) -> list[OddRows]:
    """What the newest images lack, kind by kind; empty where every row can be scored."""
    newest = select(images).order_by(images.c.id.desc()).limit(NEWEST_IMAGES).subquery("newest")
    path = newest.c.path
    needed: Mapping[str, ColumnElement[bool]] = {
        "a number of 64 bits": is_numbered(newest.c.id),
        "an inspection with a number of 64 bits": is_numbered(inspections.c.id),
        "a plate with a barcode": _is_text(plates.c.barcode),
        "a well": _is_text(newest.c.well),
        "a drop number of 64 bits": is_numbered(newest.c.drop_number),
        "a path": _is_text(path),
        "a path with forward slashes below the image store's root": or_(
            not_(_is_text(path)), not_(or_(path.contains("\\", autoescape=True), path.startswith("/")))
        ),
    }
    columns = [
        column
        for kept in needed.values()
        for column in (func.count(case((kept, null()), else_=1)), func.min(case((kept, null()), else_=newest.c.id)))
    ]
    query = (
        select(func.count(), *columns)
        .select_from(newest)
        .outerjoin(inspections, inspections.c.id == newest.c.inspection_id)
        .outerjoin(plates, plates.c.id == inspections.c.plate_id)
    )
    looked_at, *found = connection.execute(query).one()
    pairs = zip(needed, found[::2], found[1::2], strict=True)
    return [
        OddRows(lacking, count, looked_at, None if (number := whole_number(example)) == NO_NUMBER else number)
        for lacking, count, example in pairs
        if count
    ]


def _is_text(column: ColumnElement[str]) -> ColumnElement[bool]:
    # In Oracle, an empty text is NULL, and so is its length.
    return and_(column.is_not(None), func.length(column).between(1, MAX_TEXT_LENGTH))


def newest_paths(database: ImagingDatabase, most: int = 20) -> list[str]:
    """Paths of images of the newest inspections, one each: a sample whose files should be in the image store."""
    inspected = (
        select(inspections.c.id)
        .where(is_numbered(inspections.c.id), not_(is_undated()))
        .order_by(inspections.c.imaged_at.desc())
        .limit(most)
        .subquery("inspected")
    )
    first = (
        select(func.min(images.c.id).label("id"))
        .join(inspected, inspected.c.id == images.c.inspection_id)
        .group_by(images.c.inspection_id)
        .subquery("first")
    )
    with database.reading("check") as connection:
        paths = connection.scalars(select(images.c.path).join(first, first.c.id == images.c.id)).all()
    return sorted({path for path in map(usable_text, paths) if path})
