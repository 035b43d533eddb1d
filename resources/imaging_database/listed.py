"""The images that a site's relations list, as they are: with values that are missing, odd or unreadable.

One odd row costs one image, not its day. So every question is asked of the same rows, those that a day and a number
tell: :data:`IS_NAMED` and :func:`is_dated`. What the others lack is counted by `c4 db check` and `c4 status`. Of these
rows, an image whose plate, well, drop number or path is of no use fails (:attr:`resources.records.Image.unusable`).
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Select, and_, case, func, null, or_, select

from resources.imaging_database.schema import images, inspections, plates
from resources.records import MAX_TEXT_LENGTH, MOST, NO_NUMBER, Image

FIRST_TIME = datetime(1970, 1, 2, tzinfo=UTC)
"""Earlier times are no times of imaging: they stand for none (year 1, 1899, 1900, the first second of 1970)."""

END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
"""Later times stand for none as well (the end of 9999, infinity), and Python cannot add a day to them."""


def is_dated(imaged_at: ColumnElement[datetime] = inspections.c.imaged_at) -> ColumnElement[bool]:
    """That a time is one of imaging. Other times must not be read: Python has no year 0 and none after 9999."""
    return and_(imaged_at >= FIRST_TIME, imaged_at < END_OF_TIME)


def newest_time(until: datetime) -> Select[tuple[datetime | None]]:
    """The newest time of imaging that is not after another one: one step down the index of ``imaged_at``.

    An imager whose clock is ahead has later ones, which would hide for days that nothing is imaged.
    """
    return select(func.max(inspections.c.imaged_at)).where(is_dated(), inspections.c.imaged_at <= until)


def is_undated(imaged_at: Column[datetime] = inspections.c.imaged_at) -> ColumnElement[bool]:
    """The opposite of :func:`is_dated`, for a time that is missing as well."""
    return or_(imaged_at.is_(None), imaged_at < FIRST_TIME, imaged_at >= END_OF_TIME)


def time_if_dated() -> ColumnElement[datetime | None]:
    """The time of imaging, and NULL for one that is none, for queries that also return undated inspections."""
    return case((is_dated(), inspections.c.imaged_at), else_=null())


def is_numbered(key: ColumnElement[int]) -> ColumnElement[bool]:
    """That a key is there and a whole number of 64 bits: C4's own tables refer to it."""
    # PostgreSQL expects hardly any row to equal an expression, and plans badly; with <> it expects all of them.
    is_whole = case((key % 1 == 0, 1), else_=0) != 0
    return and_(key.between(-MOST, MOST), is_whole)


IS_NAMED = and_(is_numbered(images.c.id), is_numbered(inspections.c.id))
"""For queries over images and inspections: both have a number that C4's own tables can hold."""

IMAGE_COLUMNS = (
    images.c.id.label("image_id"),
    images.c.inspection_id,
    plates.c.barcode.label("plate"),
    images.c.well,
    images.c.drop_number,
    images.c.path,
)
"""What a SELECT over ``images`` and ``plates`` names so that :func:`image_of` can read its rows."""


def with_plates(query: Select[Any]) -> Select[Any]:
    """A query over images and inspections, with the plates of those that have one."""
    return query.outerjoin(plates, plates.c.id == inspections.c.plate_id)


def image_of(row: Row[Any]) -> Image:
    """The image in a row of a SELECT of :data:`IMAGE_COLUMNS`, among others."""
    return Image(
        whole_number(row.image_id),
        whole_number(row.inspection_id),
        usable_text(row.plate),
        usable_text(row.well),
        whole_number(row.drop_number),
        usable_text(row.path),
    )


def whole_number(value: Any) -> int:
    """A number of a site's relation (in PostgreSQL and Oracle perhaps a decimal one), or :data:`NO_NUMBER`."""
    try:
        if -MOST <= value <= MOST and value == int(value):
            return int(value)
    except (TypeError, ValueError, ArithmeticError):
        pass  # NULL, a text, not a number
    return NO_NUMBER


def usable_text(value: Any) -> str:
    """A text of a site's relation; empty for one that is missing or that files and tables cannot hold."""
    if value is None:
        return ""
    text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
    return text if len(text) <= MAX_TEXT_LENGTH and "\0" not in text and is_unicode(text) else ""


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8. Bytes that were not are lone surrogates in Python."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
