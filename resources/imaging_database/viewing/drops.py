"""Images with everything that is said of them: of one inspection, of one drop over time, and one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, null, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import image_of, is_numbered, time_if_dated, usable_text, whole_number
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.schema import (
    c4_image_failures,
    c4_withheld_inspections,
    image_details,
    images,
    inspections,
    plate_details,
    plates,
)
from resources.imaging_database.viewing.models import (
    MODEL_COLUMNS,
    is_score_of,
    machine,
    machine_class,
    model_score_of,
)
from resources.imaging_database.viewing.people import (
    human_class,
    is_of_image,
    newest_first,
    person_columns,
    person_score_of,
    said_in,
)
from resources.imaging_database.viewing.records import (
    ImageDetails,
    LastFailure,
    ModelScore,
    PersonScore,
    PlateDetails,
    ViewedImage,
    ViewedInspection,
    Withholding,
)
from resources.imaging_database.viewing.relations import Viewer, site_relations, visible_to
from resources.imaging_database.withheld import as_judged
from resources.records import Image

_PLATE_DETAILS = ("project", "owner", "name")
_IMAGE_DETAILS = ("microns_per_pixel", "light", "focus")
_failure = c4_image_failures


def inspection(database: ImagingDatabase, inspection_id: int, who: Viewer) -> ViewedInspection | None:
    """An inspection with all its images, and all that models and people said of each.

    ``None`` if there is no such inspection, or its plate is none that the person may see.
    """
    found = _read(database, inspections.c.id == inspection_id, who)
    return found[0] if found else None


def image(database: ImagingDatabase, image_id: int, who: Viewer) -> ViewedInspection | None:
    """One image, within the inspection that it belongs to; ``None`` as for :func:`inspection`."""
    found = _read(database, images.c.id == image_id, who)
    return found[0] if found else None


def drop_over_time(
    database: ImagingDatabase, barcode: str, well: str, drop_number: int, who: Viewer
) -> list[ViewedInspection]:
    """The images of one drop in every inspection of its plate that has one, the oldest inspection first."""
    drop = and_(images.c.well == well, images.c.drop_number == drop_number)
    found = _read(database, and_(plates.c.barcode == barcode, drop), who)
    return sorted(found, key=lambda each: (each.imaged_at is not None, each.imaged_at, each.inspection_id))


def plate_detail_columns(relations: frozenset[str]) -> list[ColumnElement[Any]]:
    """What a SELECT over plates names so that :func:`plate_details_of` can read its rows."""
    mapped = plate_details.name in relations
    return [(plate_details.c[name] if mapped else null()).label(f"plate_{name}") for name in _PLATE_DETAILS]


def with_plate_details(query: Select[Any], relations: frozenset[str], plate_id: ColumnElement[int]) -> Select[Any]:
    """A query with the details of plates, where the site has them."""
    if plate_details.name not in relations:
        return query
    return query.outerjoin(plate_details, plate_details.c.plate_id == plate_id)


def plate_details_of(row: Any) -> PlateDetails:
    """The details in a row of a SELECT of :func:`plate_detail_columns`, among others."""
    return PlateDetails(*(usable_text(getattr(row, f"plate_{name}")) or None for name in _PLATE_DETAILS))


@dataclass
class _Gathered:
    """What the rows of one image say: a row for each score of a model, of a person, and failure together."""

    image: Image
    details: ImageDetails
    models: dict[str, ModelScore] = field(default_factory=dict[str, ModelScore])
    people: dict[int, PersonScore] = field(default_factory=dict[int, PersonScore])
    failures: dict[str, LastFailure] = field(default_factory=dict[str, LastFailure])


def _read(database: ImagingDatabase, which: ColumnElement[bool], who: Viewer) -> list[ViewedInspection]:
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        rows = connection.execute(_everything(relations).where(which, visible_to(who, relations))).all()
        withheld = {row.viewed_id for row in rows if row.is_withheld}
        reasons = {number: list(_withholdings(connection, number)) for number in withheld}
    by_inspection: dict[int, list[Any]] = {}
    for row in rows:
        by_inspection.setdefault(row.viewed_id, []).append(row)
    return [_inspection(those, reasons.get(number, [])) for number, those in by_inspection.items()]


def _everything(relations: frozenset[str]) -> Select[Any]:
    """A row for each image and all that is said of it, in one statement; one row for an inspection without images."""
    human = said_in(relations).rows
    details = image_details.name in relations
    of_image = and_(
        _failure.c.image_id == images.c.id,
        at_its_place(_failure.c.image_path),
    )
    any_withheld = exists().where(c4_withheld_inspections.c.inspection_id == inspections.c.id)
    query = (
        select(
            inspections.c.id.label("viewed_id"),
            inspections.c.plate_id,
            plates.c.barcode.label("plate"),
            time_if_dated().label("imaged_at"),
            inspections.c.imager,
            case((any_withheld, 1), else_=0).label("is_withheld"),
            *plate_detail_columns(relations),
            images.c.id.label("image_id"),
            images.c.inspection_id,
            images.c.well,
            images.c.drop_number,
            images.c.path,
            *((image_details.c[name] if details else null()).label(name) for name in _IMAGE_DETAILS),
            *MODEL_COLUMNS,
            *person_columns(human),
            _failure.c.scorer_version.label("failed_version"),
            _failure.c.reason,
            _failure.c.attempts,
            _failure.c.failed_at,
            _failure.c.retry_at,
            _failure.c.given_up,
        )
        .select_from(inspections)
        .outerjoin(plates, plates.c.id == inspections.c.plate_id)
        .outerjoin(images, and_(images.c.inspection_id == inspections.c.id, is_numbered(images.c.id)))
        .outerjoin(machine, is_score_of(None))
        .outerjoin(machine_class, machine_class.c.id == machine.c.score_class_id)
        .outerjoin(human, is_of_image(human))
        .outerjoin(human_class, human_class.c.id == human.c.score_class_id)
        .outerjoin(_failure, of_image)
        .where(is_numbered(inspections.c.id))
    )
    if details:
        query = query.outerjoin(image_details, image_details.c.image_id == images.c.id)
    return with_plate_details(query, relations, inspections.c.plate_id)


def _inspection(rows: list[Any], withheld: list[Withholding]) -> ViewedInspection:
    first = rows[0]
    gathered: dict[int, _Gathered] = {}
    for row in rows:
        if row.image_id is None:
            continue
        key = whole_number(row.image_id)
        if key not in gathered:
            gathered[key] = _Gathered(image_of(row), _image_details(row))
        _gather(gathered[key], row)
    viewed = [
        ViewedImage(
            each.image,
            first.imaged_at,
            each.details,
            dict(sorted(each.models.items())),
            newest_first(each.people.values()),
            dict(sorted(each.failures.items())),
        )
        for each in gathered.values()
    ]
    viewed.sort(key=lambda each: (each.image.well, each.image.drop_number, each.image.image_id))
    return ViewedInspection(
        whole_number(first.viewed_id),
        whole_number(first.plate_id),
        usable_text(first.plate),
        plate_details_of(first),
        first.imaged_at,
        usable_text(first.imager) or None,
        viewed,
        withheld,
    )


def _gather(each: _Gathered, row: Any) -> None:
    if model := model_score_of(row):
        each.models[model.scorer_version] = model
    if row.score_id is not None:
        person = person_score_of(row)
        each.people[person.score_id] = person
    if row.failed_version is not None:
        each.failures[row.failed_version] = LastFailure(
            row.failed_version, row.reason, row.attempts, row.failed_at, row.retry_at, bool(row.given_up)
        )


def _image_details(row: Any) -> ImageDetails:
    return ImageDetails(_real(row.microns_per_pixel), usable_text(row.light) or None, _real(row.focus))


def _real(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if isfinite(number) else None


def _withholdings(connection: Connection, inspection_id: int) -> Iterator[Withholding]:
    withheld = c4_withheld_inspections
    query = (
        select(withheld)
        .join(inspections, inspections.c.id == withheld.c.inspection_id)
        .where(inspections.c.id == inspection_id, as_judged())
        .order_by(withheld.c.scorer_version, withheld.c.check_name)
    )
    for row in connection.execute(query):
        yield Withholding(
            row.scorer_version,
            row.check_name,
            row.reason,
            row.withheld_at,
            row.released_by,
            row.released_at,
            row.release_reason,
        )
