"""Inspections in numbers: the newest of all plates, and those of one plate."""

from datetime import datetime
from typing import Any

from sqlalchemy import CTE, Select, Subquery, and_, case, func, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import is_dated, is_numbered, only_checked, usable_text, whole_number
from resources.imaging_database.pending import at_its_place, has_failed
from resources.imaging_database.schema import c4_image_failures, images, inspections, plates
from resources.imaging_database.viewing.cursors import Cursor, beyond
from resources.imaging_database.viewing.drops import plate_detail_columns, plate_details_of, with_plate_details
from resources.imaging_database.viewing.models import is_score_of, machine
from resources.imaging_database.viewing.people import human_class, is_of_image, said_in
from resources.imaging_database.viewing.records import InspectionCounts, Page, ViewedPlate
from resources.imaging_database.viewing.relations import Viewer, site_relations, visible_to
from resources.imaging_database.withheld import is_withheld
from resources.records import CATEGORIES, CRYSTALS


def newest_inspections(
    database: ImagingDatabase,
    scorer_version: str,
    max_attempts: int,
    who: Viewer,
    before: Cursor | None = None,
    most: int = 25,
    until: datetime | None = None,
) -> Page[InspectionCounts]:
    """Inspections that have a time of imaging, the newest first.

    Args:
        max_attempts: after so many attempts an image has failed.
        before: the ``after`` of the page before this one.
        until: later ones are left out: an imager whose clock is ahead would head the list for days.
    """
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        query = _inspections(scorer_version).where(
            visible_to(who, relations), beyond(before, inspections.c.imaged_at, inspections.c.id)
        )
        if until is not None:
            query = query.where(inspections.c.imaged_at <= until)
        page = query.order_by(inspections.c.imaged_at.desc(), inspections.c.id.desc()).limit(most).cte("page")
        rows = connection.execute(_counted(page, scorer_version, max_attempts, relations)).all()
    found = _counts(rows)
    last = found[-1] if len(found) == most else None
    return Page(found, last and Cursor(last.imaged_at, last.inspection_id))


def plate(
    database: ImagingDatabase, scorer_version: str, max_attempts: int, barcode: str, who: Viewer
) -> ViewedPlate | None:
    """A plate with all its inspections that have a time; ``None`` if there is none that the person may see."""
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        of_plate = with_plate_details(
            select(plates.c.id, plates.c.barcode, *plate_detail_columns(relations)), relations, plates.c.id
        ).where(plates.c.barcode == barcode, visible_to(who, relations, plates.c.id))
        row = connection.execute(of_plate).first()
        if row is None:
            return None
        its_own = _inspections(scorer_version).where(inspections.c.plate_id == row.id).cte("page")
        rows = connection.execute(_counted(its_own, scorer_version, max_attempts, relations)).all()
    return ViewedPlate(whole_number(row.id), usable_text(row.barcode), plate_details_of(row), _counts(rows))


def _inspections(scorer_version: str) -> Select[Any]:
    return select(
        inspections.c.id,
        inspections.c.plate_id,
        inspections.c.imaged_at,
        inspections.c.imager,
        case((is_withheld(scorer_version), 1), else_=0).label("withheld"),
    ).where(is_dated(), is_numbered(inspections.c.id))


def _counted(page: CTE, scorer_version: str, max_attempts: int, relations: frozenset[str]) -> Select[Any]:
    """The inspections of a page with the numbers of their images."""
    of_models = _of_models(page, scorer_version, max_attempts)
    of_people = _of_people(page, relations)
    return (
        select(
            page,
            plates.c.barcode.label("plate"),
            of_models.c.listed,
            of_models.c.scored,
            of_models.c.failed,
            of_models.c.crystals,
            of_models.c.best,
            of_people.c.said,
            of_people.c.hits,
        )
        .outerjoin_from(page, plates, plates.c.id == page.c.plate_id)
        .outerjoin(of_models, of_models.c.id == page.c.id)
        .outerjoin(of_people, of_people.c.id == page.c.id)
        .order_by(page.c.imaged_at.desc(), page.c.id.desc())
    )


def _of_models(page: CTE, scorer_version: str, max_attempts: int) -> Subquery:
    failure = c4_image_failures
    failed = and_(
        failure.c.image_id == images.c.id,
        failure.c.scorer_version == scorer_version,
        has_failed(max_attempts),
        at_its_place(failure.c.image_path),
    )
    is_failed = and_(machine.c.id.is_(None), failure.c.image_id.is_not(None))
    return (
        select(
            page.c.id,
            func.count(images.c.id.distinct()).label("listed"),
            func.count(machine.c.image_id.distinct()).label("scored"),
            func.count(case((is_failed, images.c.id)).distinct()).label("failed"),
            func.count(case((machine.c.crystal == true(), images.c.id)).distinct()).label("crystals"),
            func.max(machine.c.p_crystals).label("best"),
        )
        .join_from(page, images, and_(images.c.inspection_id == page.c.id, only_checked(is_numbered(images.c.id))))
        .outerjoin(machine, is_score_of(scorer_version))
        .outerjoin(failure, failed)
        .group_by(page.c.id)
        .subquery("of_models")
    )


def _of_people(page: CTE, relations: frozenset[str]) -> Subquery:
    said = said_in(relations)
    human = said.rows
    order = human.c.scored_at.desc(), human.c.id.desc()
    each = (
        select(
            page.c.id,
            human_class.c.category,
            func.row_number().over(partition_by=images.c.id, order_by=order).label("age"),
        )
        .join_from(page, images, and_(images.c.inspection_id == page.c.id, only_checked(is_numbered(images.c.id))))
        .join(human, is_of_image(human))
        .outerjoin(human_class, human_class.c.id == human.c.score_class_id)
        .where(said.stands())
        .subquery("each")
    )
    is_hit = case((each.c.category == CATEGORIES[CRYSTALS], 1))
    return (
        select(each.c.id, func.count().label("said"), func.count(is_hit).label("hits"))
        .where(each.c.age == 1)
        .group_by(each.c.id)
        .subquery("of_people")
    )


def _counts(rows: Any) -> list[InspectionCounts]:
    """The rows as records. A view may list a plate twice: the inspection is told once."""
    found: dict[int, InspectionCounts] = {}
    for row in rows:
        number = whole_number(row.id)
        found[number] = InspectionCounts(
            number,
            whole_number(row.plate_id),
            usable_text(row.plate),
            row.imaged_at,
            usable_text(row.imager) or None,
            row.listed or 0,
            row.scored or 0,
            row.failed or 0,
            row.crystals or 0,
            None if row.best is None else float(row.best),
            row.said or 0,
            row.hits or 0,
            bool(row.withheld),
        )
    return list(found.values())
