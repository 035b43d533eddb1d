"""Inspections whose scores are kept out of the database, because a data quality check says that they would mislead.

A withheld inspection is a third state beside scored and failed. It lasts until somebody releases it with a reason, it
is scored again, or it passes the check: with more images, or a corrected listing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, or_, select

from resources.errors import ConfigurationError
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import is_numbered, is_undated, time_if_dated, usable_text, with_plates
from resources.imaging_database.schema import (
    c4_scorer_versions,
    c4_withheld_inspections,
    images,
    inspections,
    plates,
)
from resources.imaging_database.statements import among, insert_absent
from resources.redaction import beginning

MAX_REASON_LENGTH = 1000
"""Characters of a reason that are kept."""

_withheld = c4_withheld_inspections


@dataclass(frozen=True)
class FailedCheck:
    """A blocking check that an inspection has failed, and how many of its images were judged."""

    inspection_id: int
    check: str
    reason: str
    images: int


@dataclass(frozen=True)
class Withheld:
    """An inspection that is withheld for one check, or was until it was released.

    ``day`` is ``None`` where it has lost its time of imaging.
    """

    inspection_id: int
    plate: str
    day: date | None
    check: str
    reason: str
    images: int
    withheld_at: datetime
    released_by: str | None
    released_at: datetime | None
    release_reason: str | None


def as_judged() -> ColumnElement[bool]:
    """The inspection has the plate and the time that it had when it was judged; earlier releases did not keep them.

    One that has lost its time stays withheld until it has one again.

    A number that is used again is another inspection's, and one that was dated anew is judged anew before anything of
    it is written.
    """
    its_plate = plates.alias("its_plate")
    barcode = select(its_plate.c.barcode).where(its_plate.c.id == inspections.c.plate_id).correlate(inspections)
    same_time = _withheld.c.imaged_at == inspections.c.imaged_at
    return or_(_withheld.c.imaged_at.is_(None), same_time, is_undated()) & or_(
        _withheld.c.plate.is_(None),
        _withheld.c.plate.in_(barcode),  # a site's view may list a plate twice
    )


def judged_and_withheld(scorer_version: str) -> ColumnElement[bool]:
    """For queries over ``images`` and ``inspections``: the image's inspection is withheld, and that was decided knowing
    all its images.

    Images that were listed since leave the inspection pending: the next run fetches them and judges all anew.
    """
    each = images.alias("of_inspection")
    listed = (
        select(func.count(each.c.id.distinct())).where(
            each.c.inspection_id == images.c.inspection_id, is_numbered(each.c.id)
        )
    ).scalar_subquery()
    return exists().where(
        _withheld.c.inspection_id == images.c.inspection_id,
        _withheld.c.scorer_version == scorer_version,
        _withheld.c.released_at.is_(None),
        _withheld.c.images >= listed.correlate(images),
        as_judged(),
    )


def is_withheld(scorer_version: str) -> ColumnElement[bool]:
    """For queries over ``inspections``: the inspection is withheld, whatever has been listed since."""
    return exists().where(
        _withheld.c.inspection_id == inspections.c.id,
        _withheld.c.scorer_version == scorer_version,
        _withheld.c.released_at.is_(None),
        as_judged(),
    )


def withhold(
    database: ImagingDatabase, scorer_version: dict[str, Any], judged: dict[int, int], findings: Sequence[FailedCheck]
) -> set[int]:
    """Records which inspections have failed a blocking check, in one transaction, and forgets what passes now.

    Made twice at once, it ends as if made once. A check that an inspection was released from is not raised again.

    Args:
        scorer_version: the row of ``c4_scorer_versions``.
        judged: images that were judged, by inspection; those not named in ``findings`` passed.

    Returns:
        The inspections whose scores must not be written.

    Raises:
        Unavailable: the database failed; nothing was written.
    """
    version = scorer_version["name"]
    now = datetime.now(UTC)
    failed = {(finding.inspection_id, finding.check) for finding in findings}
    with database.writing("checks") as connection:
        if findings:
            insert_absent(connection, c4_scorer_versions, [scorer_version])
        now_listed = _listed(connection, judged)
        known = {
            (row.inspection_id, row.check_name): row
            for row in connection.execute(select(_withheld).where(_withheld.c.scorer_version == version))
            if row.inspection_id in judged
        }
        for key in [key for key, row in known.items() if _is_of_another(row, now_listed)]:
            connection.execute(_withheld.delete().where(_one(version, *key)))
            del known[key]
        rows = [_row(finding, version, now, now_listed) for finding in sorted(findings, key=_order)]
        insert_absent(connection, _withheld, rows)
        for row in rows:
            connection.execute(
                _withheld.update()
                .where(_one(version, row["inspection_id"], row["check_name"]), _withheld.c.released_at.is_(None))
                .values({name: row[name] for name in ("reason", "images", "plate", "imaged_at")})
            )
        for inspection_id, check in sorted(set(known) - failed):
            # A run that knew fewer images does not undo what one that knew more has found.
            connection.execute(
                _withheld.delete().where(
                    _one(version, inspection_id, check),
                    _withheld.c.released_at.is_(None),
                    _withheld.c.images <= judged[inspection_id],
                )
            )
    return {f.inspection_id for f in findings if not _is_released(known.get((f.inspection_id, f.check)))}


def _listed(connection: Connection, inspection_ids: Iterable[int]) -> dict[int, tuple[str | None, datetime | None]]:
    """Plate and time of inspections, as they are listed now."""
    found: dict[int, tuple[str | None, datetime | None]] = {}
    for these in among(connection, inspections.c.id, sorted(inspection_ids)):
        query = with_plates(select(inspections.c.id, plates.c.barcode, time_if_dated().label("imaged_at")))
        rows = connection.execute(query.where(these))
        found.update((row.id, (usable_text(row.barcode) or None, row.imaged_at)) for row in rows)
    return found


def _is_of_another(row: Row[Any], listed: Mapping[int, tuple[str | None, datetime | None]]) -> bool:
    pairs = zip((row.plate, row.imaged_at), listed.get(row.inspection_id, (None, None)), strict=True)
    return any(judged is not None and judged != now for judged, now in pairs)


def _is_released(row: Any) -> bool:
    return row is not None and row.released_at is not None


def _order(finding: FailedCheck) -> tuple[int, str]:
    return finding.inspection_id, finding.check


def _one(version: str, inspection_id: int, check: str) -> ColumnElement[bool]:
    return (
        (_withheld.c.inspection_id == inspection_id)
        & (_withheld.c.scorer_version == version)
        & (_withheld.c.check_name == check)
    )


def _row(
    finding: FailedCheck, version: str, now: datetime, listed: Mapping[int, tuple[str | None, datetime | None]]
) -> dict[str, Any]:
    plate, imaged_at = listed.get(finding.inspection_id, (None, None))
    return {
        "inspection_id": finding.inspection_id,
        "scorer_version": version,
        "check_name": finding.check,
        "reason": beginning(finding.reason, MAX_REASON_LENGTH),
        "images": finding.images,
        "withheld_at": now,
        "plate": plate,
        "imaged_at": imaged_at,
    }


def withheld_inspections(database: ImagingDatabase, scorer_version: str, released: bool = False) -> list[Withheld]:
    """The inspections that a scorer version withholds, newest first.

    Args:
        released: also those that were released.
    """
    query = with_plates(
        select(
            _withheld.c.inspection_id,
            plates.c.barcode.label("plate"),
            time_if_dated().label("imaged_at"),
            _withheld.c.check_name,
            _withheld.c.reason,
            _withheld.c.images,
            _withheld.c.withheld_at,
            _withheld.c.released_by,
            _withheld.c.released_at,
            _withheld.c.release_reason,
        )
        .join(inspections, inspections.c.id == _withheld.c.inspection_id)
        .where(_withheld.c.scorer_version == scorer_version, as_judged())
        .order_by(_withheld.c.withheld_at.desc(), _withheld.c.inspection_id, _withheld.c.check_name)
    )
    if not released:
        query = query.where(_withheld.c.released_at.is_(None))
    with database.reading("checks") as connection:
        return [_withheld_of(row) for row in connection.execute(query)]


def _withheld_of(row: Row[Any]) -> Withheld:
    return Withheld(
        row.inspection_id,
        usable_text(row.plate),
        row.imaged_at and row.imaged_at.date(),
        row.check_name,
        row.reason,
        row.images,
        row.withheld_at,
        row.released_by,
        row.released_at,
        row.release_reason,
    )


def release(database: ImagingDatabase, scorer_version: str, inspection_id: int, by: str, reason: str) -> list[str]:
    """Lets an inspection's scores into the database in spite of the checks that it has failed so far.

    Returns:
        Names of those checks.

    Raises:
        ConfigurationError: the inspection is not withheld, or no reason is given.
    """
    if not reason.strip():
        raise ConfigurationError("Say why the inspection is released: the reason is kept with it.")
    of_inspection = (
        (_withheld.c.inspection_id == inspection_id)
        & (_withheld.c.scorer_version == scorer_version)
        & _withheld.c.released_at.is_(None)
    )
    with database.writing("checks") as connection:
        of_this = select(_withheld.c.check_name).join(inspections, inspections.c.id == _withheld.c.inspection_id)
        names = list(connection.scalars(of_this.where(of_inspection, as_judged())))
        if not names:
            raise ConfigurationError(
                f"Inspection {inspection_id} is not withheld by {scorer_version}: `c4 checks list` shows those that "
                "are."
            )
        connection.execute(
            _withheld.update()
            .where(of_inspection, _withheld.c.check_name.in_(names))
            .values(
                released_by=by[:64], released_at=datetime.now(UTC), release_reason=reason.strip()[:MAX_REASON_LENGTH]
            )
        )
    return sorted(names)


def inspection_day(database: ImagingDatabase, inspection_id: int) -> date:
    """The day (UTC) of an inspection.

    Raises:
        ConfigurationError: there is no such inspection, or it has no time of imaging.
    """
    with database.reading("checks") as connection:
        found = connection.execute(select(time_if_dated()).where(inspections.c.id == inspection_id)).first()
    if found is None:
        raise ConfigurationError(f"The imaging database lists no inspection {inspection_id}.")
    imaged_at: datetime | None = found[0]
    if imaged_at is None:
        raise ConfigurationError(
            f"Inspection {inspection_id} has no time of imaging, and so no day: correct its imaged_at first."
        )
    return imaged_at.date()


def forget_withheld(database: ImagingDatabase, scorer_version: str, inspection_id: int) -> None:
    """Makes an inspection pending again, to be judged afresh; earlier releases are forgotten as well."""
    with database.writing("checks") as connection:
        connection.execute(
            _withheld.delete().where(
                _withheld.c.inspection_id == inspection_id, _withheld.c.scorer_version == scorer_version
            )
        )
