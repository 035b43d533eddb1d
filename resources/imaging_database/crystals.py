"""Inspections whose images are all decided, and the likeliest crystals: what people are told of."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, func, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import (
    IMAGE_COLUMNS,
    IS_NAMED,
    image_of,
    is_dated,
    is_numbered,
    usable_text,
    whole_number,
    with_plates,
)
from resources.imaging_database.optional_views import has_relation
from resources.imaging_database.pending import at_its_place, has_failed
from resources.imaging_database.schema import (
    c4_image_failures,
    images,
    inspections,
    plate_details,
    plates,
    score_classes,
    scores,
)
from resources.imaging_database.statements import among
from resources.imaging_database.withheld import is_withheld
from resources.records import Image


@dataclass(frozen=True)
class ImagedPlate:
    """One imaging of a plate, without its images."""

    inspection_id: int
    plate: str
    imaged_at: datetime


@dataclass(frozen=True)
class DecidedInspection:
    """An inspection all of whose images are scored or failed.

    Attributes:
        crystals: images that reach the operating point and the least probability.
        scored_at: time of the newest score.
    """

    inspection_id: int
    listed: int
    scored: int
    crystals: int
    scored_at: datetime


@dataclass(frozen=True)
class Crystal:
    """An image that reaches the operating point."""

    image: Image
    imaged_at: datetime
    probability: float
    category: str


def imaged_plates(database: ImagingDatabase, since: datetime, until: datetime) -> list[ImagedPlate]:
    """The inspections of plates with a barcode in a span of imaging times, ``until`` excluded, oldest first."""
    query = (
        select(inspections.c.id, inspections.c.imaged_at, plates.c.barcode)
        .join(plates, plates.c.id == inspections.c.plate_id)
        .where(is_dated(), inspections.c.imaged_at >= since, inspections.c.imaged_at < until)
        .where(is_numbered(inspections.c.id))
        .order_by(inspections.c.imaged_at, inspections.c.id)
    )
    with database.reading("subscriptions") as connection:
        rows = connection.execute(query).all()
    found = {row.id: ImagedPlate(whole_number(row.id), usable_text(row.barcode), row.imaged_at) for row in rows}
    return [each for each in found.values() if each.plate]


def plate_names(database: ImagingDatabase) -> list[str]:
    """The barcodes of all plates, imaged or not."""
    with database.reading("subscriptions") as connection:
        return [name for (code,) in connection.execute(select(plates.c.barcode)) if (name := usable_text(code))]


def knows_projects(database: ImagingDatabase) -> bool:
    """Whether the site has the view ``plate_details``, which names projects."""
    with database.reading("subscriptions") as connection:
        return has_relation(connection, plate_details)


def imaged_projects(database: ImagingDatabase, since: datetime, until: datetime) -> dict[int, frozenset[str]]:
    """The projects of the plates that were imaged in a span, by number of the inspection; none without the view."""
    query = (
        select(inspections.c.id, plate_details.c.project)
        .join(plate_details, plate_details.c.plate_id == inspections.c.plate_id)
        .where(is_dated(), inspections.c.imaged_at >= since, inspections.c.imaged_at < until)
        .where(is_numbered(inspections.c.id), plate_details.c.project.is_not(None))
    )
    found: dict[int, frozenset[str]] = {}
    with database.reading("subscriptions") as connection:
        if has_relation(connection, plate_details):
            for row in connection.execute(query):
                number = whole_number(row.id)
                found[number] = found.get(number, frozenset()) | {usable_text(row.project)}
    return found


def decided_inspections(
    database: ImagingDatabase,
    scorer_version: str,
    max_attempts: int,
    inspection_ids: Iterable[int],
    least: float = 0.0,
) -> dict[int, DecidedInspection]:
    """Those of the inspections that are decided, by number. One that is withheld is not, nor one without any score.

    Args:
        least: the least probability of what is counted as a crystal.
    """
    failure = c4_image_failures
    of_image = and_(
        scores.c.image_id == images.c.id,
        scores.c.scorer_version == scorer_version,
        at_its_place(scores.c.image_path),
    )
    failed = and_(
        failure.c.image_id == images.c.id, failure.c.scorer_version == scorer_version, has_failed(max_attempts)
    )
    decided = case((scores.c.id.is_not(None), images.c.id), (failure.c.image_id.is_not(None), images.c.id))
    query = (
        select(
            inspections.c.id,
            func.count(images.c.id.distinct()).label("listed"),
            func.count(scores.c.image_id.distinct()).label("scored"),
            func.count(decided.distinct()).label("decided"),
            func.count(case((_is_crystal(least), images.c.id)).distinct()).label("crystals"),
            func.max(scores.c.scored_at).label("scored_at"),
        )
        .join(images, images.c.inspection_id == inspections.c.id)
        .outerjoin(scores, of_image)
        .outerjoin(failure, failed)
        .where(IS_NAMED, ~is_withheld(scorer_version))
        .group_by(inspections.c.id)
    )
    found: dict[int, DecidedInspection] = {}
    with database.reading("subscriptions") as connection:
        for these in among(connection, inspections.c.id, inspection_ids):
            for row in connection.execute(query.where(these)):
                if row.scored and row.decided == row.listed:
                    number = whole_number(row.id)
                    found[number] = DecidedInspection(number, row.listed, row.scored, row.crystals, row.scored_at)
    return found


def _is_crystal(least: float) -> ColumnElement[bool]:
    return and_(scores.c.crystal == true(), scores.c.p_crystals >= least)


def crystals_of_inspection(
    database: ImagingDatabase, scorer_version: str, inspection_id: int, most: int, least: float = 0.0
) -> list[Crystal]:
    """The likeliest crystals of an inspection, best first, ``most`` at most."""
    return _likeliest(database, scorer_version, images.c.inspection_id == inspection_id, most, least)


def crystals_scored(
    database: ImagingDatabase, scorer_version: str, since: datetime, until: datetime, most: int
) -> list[Crystal]:
    """The likeliest crystals among the scores of a span of time, ``until`` excluded, best first."""
    span = and_(scores.c.scored_at >= since, scores.c.scored_at < until)
    return _likeliest(database, scorer_version, span, most, 0.0)


def _likeliest(
    database: ImagingDatabase, scorer_version: str, which: ColumnElement[bool], most: int, least: float
) -> list[Crystal]:
    query = with_plates(
        select(*IMAGE_COLUMNS, inspections.c.imaged_at, scores.c.p_crystals, score_classes.c.name.label("category"))
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .join(scores, and_(scores.c.image_id == images.c.id, at_its_place(scores.c.image_path)))
        .outerjoin(score_classes, score_classes.c.id == scores.c.score_class_id)
    )
    query = (
        query.where(scores.c.scorer_version == scorer_version, which, _is_crystal(least), IS_NAMED, is_dated())
        .order_by(scores.c.p_crystals.desc(), images.c.id)
        .limit(most)
    )
    with database.reading("subscriptions") as connection:
        return [_crystal(row) for row in connection.execute(query)]


def _crystal(row: Row[Any]) -> Crystal:
    return Crystal(image_of(row), row.imaged_at, float(row.p_crystals), row.category or "crystals")
