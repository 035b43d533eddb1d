"""Plates by barcode, project, owner and the time of their inspections."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, false, func, literal, or_, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import FIRST_TIME, is_dated, is_numbered, usable_text, whole_number
from resources.imaging_database.schema import UtcDateTime, inspections, plate_details, plates
from resources.imaging_database.viewing.cursors import Cursor, beyond
from resources.imaging_database.viewing.drops import plate_detail_columns, plate_details_of, with_plate_details
from resources.imaging_database.viewing.records import FoundPlate, Page
from resources.imaging_database.viewing.relations import Viewer, site_relations, visible_to


@dataclass(frozen=True)
class PlateSearch:
    """What plates are looked for; all of it must hold, and what is empty asks nothing.

    Attributes:
        barcode: how the barcode begins, as typed, in capitals or in small letters: an index finds it.
        part: letters anywhere in the barcode, of either case. The barcodes of all plates are read.
        project: as ``plate_details`` has it; a site without that view has no such plates.
        owner: as ``plate_details`` has it.
        since, until: times between which the plate was imaged, ``until`` excluded.
    """

    barcode: str = ""
    part: str = ""
    project: str = ""
    owner: str = ""
    since: datetime | None = None
    until: datetime | None = None


def find_plates(
    database: ImagingDatabase, search: PlateSearch, who: Viewer, before: Cursor | None = None, most: int = 50
) -> Page[FoundPlate]:
    """The plates that are looked for, the one imaged last first; those never imaged come last.

    Args:
        before: the ``after`` of the page before this one.
    """
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        newest = (
            select(func.max(inspections.c.imaged_at))
            .where(inspections.c.plate_id == plates.c.id, is_dated())
            .correlate(plates)
            .scalar_subquery()
        )
        matching = (
            select(plates.c.id, plates.c.barcode, func.coalesce(newest, _FIRST).label("newest"))
            .where(
                is_numbered(plates.c.id),
                visible_to(who, relations, plates.c.id),
                *_conditions(connection, search, relations),
            )
            .subquery("matching")
        )
        page = (
            select(matching)
            .where(beyond(before, matching.c.newest, matching.c.id))
            .order_by(matching.c.newest.desc(), matching.c.id.desc())
            .limit(most)
            .subquery("page")
        )
        imaged = (
            select(func.count())
            .where(inspections.c.plate_id == page.c.id, is_dated())
            .correlate(page)
            .scalar_subquery()
        )
        query = with_plate_details(
            select(page, imaged.label("inspections"), *plate_detail_columns(relations)), relations, page.c.id
        ).order_by(page.c.newest.desc(), page.c.id.desc())
        rows = connection.execute(query).all()
    found = list({row.id: _found(row) for row in rows}.values())
    last = found[-1] if len(found) == most else None
    return Page(found, last and Cursor(last.newest or FIRST_TIME, last.plate_id))


_FIRST = literal(FIRST_TIME, UtcDateTime(fraction=False))
"""Stands for the time of a plate that was never imaged: no inspection that counts is as old."""


def _found(row: Any) -> FoundPlate:
    newest = None if row.newest == FIRST_TIME else row.newest
    return FoundPlate(
        whole_number(row.id), usable_text(row.barcode), plate_details_of(row), row.inspections or 0, newest
    )


def _conditions(connection: Connection, search: PlateSearch, relations: frozenset[str]) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if search.barcode:
        typed = dict.fromkeys((search.barcode, search.barcode.upper(), search.barcode.lower()))
        found.append(or_(*(_begins(connection, each) for each in typed)))
    if search.part:
        found.append(func.lower(plates.c.barcode).contains(search.part.lower(), autoescape=True))
    if search.project:
        found.append(_said_of_plate(relations, plate_details.c.project == search.project))
    if search.owner:
        found.append(_said_of_plate(relations, plate_details.c.owner == search.owner))
    times = [
        *([inspections.c.imaged_at >= search.since] if search.since else []),
        *([inspections.c.imaged_at < search.until] if search.until else []),
    ]
    if times:
        found.append(exists().where(inspections.c.plate_id == plates.c.id, is_dated(), *times))
    return found


def _said_of_plate(relations: frozenset[str], what: ColumnElement[bool]) -> ColumnElement[bool]:
    """The site has ``plate_details``, and a row of it says so of the plate."""
    if plate_details.name not in relations:
        return false()
    return exists().where(plate_details.c.plate_id == plates.c.id, what)


def _begins(connection: Connection, text: str) -> ColumnElement[bool]:
    """The barcode begins with a text: in words for which each database has a use of the barcode's index.

    PostgreSQL uses it where barcodes are ordered by their bytes (the collation C), Oracle always.
    """
    begins = plates.c.barcode.startswith(text, autoescape=True)
    if connection.dialect.name == "sqlite":  # its LIKE knows no case and no index, and its order is that of bytes
        return and_(begins, plates.c.barcode >= text, plates.c.barcode < text + "\U0010ffff")
    return begins
