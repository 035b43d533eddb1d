"""Images that a scorer version has not scored, and its progress by day."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, not_, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import (
    END_OF_TIME,
    FIRST_TIME,
    IMAGE_COLUMNS,
    IS_NAMED,
    image_of,
    is_dated,
    newest_time,
    time_if_dated,
    with_plates,
)
from resources.imaging_database.pending import has_failed, is_left_alone, no_failure, pending_content, unscored
from resources.imaging_database.schema import c4_image_failures, c4_scorer_versions, images, inspections, plates, scores
from resources.imaging_database.statements import among
from resources.imaging_database.withheld import is_withheld, judged_and_withheld
from resources.records import Image, Problem

HISTORY_SPAN = timedelta(days=100)
"""Span of imaging times that one statement counts, so that it ends well within ``C4_TIMEOUT_SECONDS``."""


@dataclass(frozen=True)
class Progress:
    """How far one scorer version has come with the images of one day, in images."""

    day: date
    inspections: int
    listed: int
    scored: int
    failed: int
    retrying: int
    withheld: int = 0

    @property
    def pending(self) -> int:
        """Images without a score that are still to be tried (those that are retried included), or just released."""
        return self.listed - self.scored - self.failed - self.withheld

    def __add__(self, other: "Progress") -> "Progress":
        """Both together, as of this one's day."""
        _, *mine = astuple(self)
        _, *theirs = astuple(other)
        return Progress(self.day, *map(sum, zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be scored. ``day`` is ``None`` where its inspection has lost its time of imaging.

    ``attempts`` are those that count. ``failed`` says that nobody waits for the image; ``retry_at`` is when it is asked
    for again, ``None`` for the next run, or never where it has failed.
    """

    image: Image
    day: date | None
    reason: str
    attempts: int
    failed_at: datetime
    problem: Problem = Problem.FILE
    retry_at: datetime | None = None
    failed: bool = False


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The first moment of a day and of the next one, UTC."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def _history_spans(
    connection: Connection, since: datetime | None, until: datetime | None
) -> Iterator[tuple[datetime, datetime]]:
    """Divides imaging times into spans that one statement each counts in a bounded time, oldest first.

    Each span begins at an inspection: one step down the index passes over centuries without any, such as those
    before and after a time that stands for none.
    """
    start, end = max(since or FIRST_TIME, FIRST_TIME), min(until or END_OF_TIME, END_OF_TIME)
    oldest = select(func.min(inspections.c.imaged_at))
    while first := connection.scalar(oldest.where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end)):
        start = min(first + HISTORY_SPAN, end)
        yield first, start


def history_spans(
    database: ImagingDatabase, since: datetime | None = None, until: datetime | None = None
) -> list[tuple[datetime, datetime]]:
    """Spans of imaging times that one statement each counts, oldest first; progress is reported between them.

    Together they hold every inspection of ``since`` to ``until`` (excluded) once. Without inspections there are none.
    """
    with database.reading("status") as connection:
        return list(_history_spans(connection, since, until))


def pending_by_day(
    database: ImagingDatabase,
    scorer_version: str,
    max_attempts: int,
    since: datetime | None = None,
    until: datetime | None = None,
    compare_places: bool = False,
    due_only: bool = False,
) -> dict[date, int]:
    """Counts the images of every day (UTC) that a run would try, oldest first: those that are pending, and failed ones
    whose absent file is to be looked for again.

    What it costs grows with the images of the span and not with history: each is looked up in an index.

    Args:
        scorer_version: its name.
        since, until: times of imaging to look at, ``until`` excluded; open by default.
        compare_places: also count images whose score is of a file at another place. It reads their rows, which the
            index alone does not answer, so the poll does without.
        due_only: leave out images that are to be tried later. A run that is going on anyway tries them, too; for them
            alone none is started.
    """
    cheap = and_(unscored(scorer_version), no_failure(scorer_version, is_left_alone(max_attempts, due_only)))
    query = (
        select(inspections.c.imaged_at, func.count(images.c.id.distinct()))
        .join(images, images.c.inspection_id == inspections.c.id)
        .where(pending_content(scorer_version, max_attempts, due_only) if compare_places else cheap)
        .where(IS_NAMED, ~judged_and_withheld(scorer_version))
        .group_by(inspections.c.id, inspections.c.imaged_at)
        .order_by(inspections.c.imaged_at)
    )
    days: dict[date, int] = {}
    with database.reading("poll") as connection:
        for start, end in _history_spans(connection, since, until):
            of_span = query.where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end)
            for imaged_at, count in connection.execute(of_span):
                days[imaged_at.date()] = days.get(imaged_at.date(), 0) + count
    return days


def pending_of_all(
    database: ImagingDatabase,
    scorer_versions: Iterable[str],
    max_attempts: int,
    since: datetime | None = None,
    until: datetime | None = None,
    compare_places: bool = False,
    due_only: bool = False,
) -> dict[date, int]:
    """As :func:`pending_by_day`, of the scorer version that has most pending images of a day."""
    days: dict[date, int] = {}
    for version in scorer_versions:
        found = pending_by_day(database, version, max_attempts, since, until, compare_places, due_only)
        for day, count in found.items():
            days[day] = max(count, days.get(day, 0))
    return dict(sorted(days.items()))


def pending_images(database: ImagingDatabase, scorer_version: str, max_attempts: int, day: date) -> list[Image]:
    """The images of one day that a run tries, inspection by inspection, as :func:`pending_by_day` counts them,
    :attr:`~resources.records.Image.unusable` ones included.

    An image that a site's view lists twice comes once.
    """
    start, end = day_bounds(day)
    query = (
        with_plates(select(*IMAGE_COLUMNS).join(inspections, inspections.c.id == images.c.inspection_id))
        .where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end, IS_NAMED)
        .where(pending_content(scorer_version, max_attempts), ~judged_and_withheld(scorer_version))
        .order_by(inspections.c.imaged_at, images.c.inspection_id, images.c.id, images.c.path)
    )
    with database.reading("list images") as connection:
        pending = _once_each(image_of(row) for row in connection.execute(query))
        elsewhere = _scored_elsewhere(connection, pending, scorer_version)
    return [image for image in pending if image.image_id not in elsewhere]


def _scored_elsewhere(connection: Connection, pending: Iterable[Image], scorer_version: str) -> set[int]:
    """Those of the images that a site's view lists at several places, and that are scored at another one of them."""
    found: set[int] = set()
    for these in among(connection, scores.c.image_id, [image.image_id for image in pending]):
        query = (
            select(scores.c.image_id)
            .join(images, and_(images.c.id == scores.c.image_id, images.c.path == scores.c.image_path))
            .where(scores.c.scorer_version == scorer_version, these)
        )
        found.update(connection.scalars(query))
    return found


def _once_each(rows: Iterable[Image]) -> list[Image]:
    return list({row.image_id: row for row in rows}.values())


def progress_by_day(
    database: ImagingDatabase,
    scorer_version: str,
    max_attempts: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Progress]:
    """How far a scorer version has come, for every day that has images, oldest first.

    Args:
        since, until: times of imaging to count, ``until`` excluded. Without them, all of history is counted, which
            takes minutes in a large database; :func:`newest_days` gives a time to begin with, and
            :func:`history_spans` what may be counted one after another.
    """
    failure = c4_image_failures
    without = scores.c.id.is_(None)

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count(case((condition, images.c.id)).distinct())

    query = (
        select(
            inspections.c.imaged_at,
            func.count(images.c.id.distinct()).label("listed"),
            func.count(scores.c.image_id.distinct()).label("scored"),
            count(and_(without, has_failed(max_attempts))).label("failed"),
            count(and_(without, failure.c.image_id.is_not(None), not_(has_failed(max_attempts)))).label("retrying"),
        )
        .join(images, images.c.inspection_id == inspections.c.id)
        .outerjoin(scores, and_(scores.c.image_id == images.c.id, scores.c.scorer_version == scorer_version))
        .outerjoin(failure, and_(failure.c.image_id == images.c.id, failure.c.scorer_version == scorer_version))
        .where(IS_NAMED)
        .group_by(inspections.c.id, inspections.c.imaged_at)
        .order_by(inspections.c.imaged_at)
    )
    days: dict[date, Progress] = {}
    with database.reading("status") as connection:
        for start, end in _history_spans(connection, since, until):
            of_span = query.where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end)
            for row in connection.execute(of_span):
                day = row.imaged_at.date()
                inspection = Progress(day, 1, row.listed, row.scored, row.failed, row.retrying)
                days[day] = days[day] + inspection if day in days else inspection
            for imaged_at, withheld, retried in connection.execute(_withheld(scorer_version, max_attempts, start, end)):
                known = days[imaged_at.date()]
                days[known.day] = replace(known, withheld=known.withheld + withheld, retrying=known.retrying - retried)
    return list(days.values())


def _withheld(
    scorer_version: str, max_attempts: int, start: datetime, end: datetime
) -> Select[tuple[datetime, int, int]]:
    """By time of imaging: images that are withheld, and those of them that have failed before."""
    failure = c4_image_failures.alias("failure")
    return (
        select(inspections.c.imaged_at, func.count(images.c.id.distinct()), func.count(failure.c.image_id.distinct()))
        .join(images, images.c.inspection_id == inspections.c.id)
        .outerjoin(failure, and_(failure.c.image_id == images.c.id, failure.c.scorer_version == scorer_version))
        .where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end, IS_NAMED)
        .where(is_withheld(scorer_version), judged_and_withheld(scorer_version))
        .where(unscored(scorer_version), no_failure(scorer_version, has_failed(max_attempts)))
        .group_by(inspections.c.imaged_at)
    )


def newest_days(database: ImagingDatabase, count: int) -> datetime | None:
    """The first moment of the oldest among the ``count`` newest days on which anything was imaged, UTC.

    Each day is one step down the index of ``imaged_at``, however long history is. ``None`` without any inspection.
    """
    start: datetime | None = None
    newest = select(func.max(inspections.c.imaged_at)).where(is_dated())
    with database.reading("status") as connection:
        for _ in range(count):
            before = newest if start is None else newest.where(inspections.c.imaged_at < start)
            imaged_at: datetime | None = connection.scalar(before)
            if imaged_at is None:
                break
            start, _end = day_bounds(imaged_at.date())
    return start


def newest_inspection(database: ImagingDatabase, now: datetime) -> datetime | None:
    """The time of the newest inspection that is not in the future, UTC."""
    with database.reading("poll") as connection:
        return connection.scalar(newest_time(now))


def failures(
    database: ImagingDatabase, scorer_version: str, max_attempts: int = 3, *, most: int | None = None
) -> list[ImageFailure]:
    """The images that a scorer version could not score, newest failure first.

    Args:
        most: how many at most; all by default.
    """
    failure = c4_image_failures.c
    newest = (
        select(c4_image_failures)
        .join(images, images.c.id == failure.image_id)
        .where(failure.scorer_version == scorer_version, unscored(scorer_version))
        .order_by(failure.failed_at.desc(), failure.image_id)
        .limit(most)
        .subquery()
    )
    query = with_plates(
        select(
            *IMAGE_COLUMNS,
            time_if_dated().label("imaged_at"),
            newest.c.reason,
            newest.c.attempts,
            newest.c.failed_at,
            newest.c.problem,
            newest.c.retry_at,
            newest.c.given_up,
        )
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .join(newest, newest.c.image_id == images.c.id)
    ).order_by(newest.c.failed_at.desc(), images.c.id)
    with database.reading("status") as connection:
        return [_failure_of(row, max_attempts) for row in connection.execute(query)]


def _failure_of(row: Row[Any], max_attempts: int) -> ImageFailure:
    return ImageFailure(
        image_of(row),
        row.imaged_at and row.imaged_at.date(),
        row.reason,
        row.attempts,
        row.failed_at,
        Problem(row.problem) if row.problem else Problem.FILE,
        row.retry_at,
        bool(row.given_up) or row.attempts >= max_attempts,
    )


def count_failures(database: ImagingDatabase, scorer_version: str) -> int:
    """How many images :func:`failures` would list, without reading their rows."""
    failure = c4_image_failures.c
    query = (
        select(func.count(failure.image_id.distinct()))
        .join(images, images.c.id == failure.image_id)
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .where(failure.scorer_version == scorer_version, unscored(scorer_version))
    )
    with database.reading("status") as connection:
        return connection.scalar(query) or 0


def forget_failures(
    database: ImagingDatabase,
    scorer_version: str,
    day: date | None = None,
    plate: str | None = None,
    reason: str | None = None,
) -> int:
    """Gives failed images of a scorer version their attempts back and ends their waits. Returns how many there were.

    Args:
        day, plate, reason: only images of this day of imaging (UTC) and of this plate, and only where the reason has
            this text in it, in capitals or not. All images without.
    """
    failure = c4_image_failures
    query = failure.delete().where(failure.c.scorer_version == scorer_version)
    if reason is not None:
        query = query.where(failure.c.reason.icontains(reason, autoescape=True))
    if day is not None or plate is not None:
        chosen = select(images.c.id).join(inspections, inspections.c.id == images.c.inspection_id)
        if day is not None:
            start, end = day_bounds(day)
            chosen = chosen.where(inspections.c.imaged_at >= start, inspections.c.imaged_at < end)
        if plate is not None:
            chosen = chosen.join(plates, plates.c.id == inspections.c.plate_id).where(plates.c.barcode == plate)
        query = query.where(failure.c.image_id.in_(chosen))
    with database.writing("retry") as connection:
        return connection.execute(query).rowcount


def scorer_versions(database: ImagingDatabase) -> list[str]:
    """Names of the scorer versions that have written to the database, oldest first."""
    with database.reading("status") as connection:
        query = select(c4_scorer_versions.c.name).order_by(c4_scorer_versions.c.first_used_at)
        return list(connection.scalars(query))
