"""What happened in a span of time: what was imaged, scored and given up."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IS_NAMED, is_dated
from resources.imaging_database.pending import has_failed, unscored
from resources.imaging_database.schema import c4_image_failures, images, inspections, scores

MOST_REASONS_READ = 2000
"""Images that failed for good whose reasons are read, the newest: enough to tell what is wrong."""


@dataclass(frozen=True)
class DayNumbers:
    """Numbers of a span of time.

    Attributes:
        inspections, listed: imaged in the span, with their images.
        scored, crystals: scores of the span, and those that reach the operating point.
        failed: images that failed for good in the span.
        reasons: of the newest of them, by reason, the most frequent first.
    """

    inspections: int
    listed: int
    scored: int
    crystals: int
    failed: int = 0
    reasons: tuple[tuple[str, int], ...] = ()


def day_numbers(
    database: ImagingDatabase, scorer_version: str, max_attempts: int, since: datetime, until: datetime
) -> DayNumbers:
    """Counts, by indexes over times alone, what a scorer version did from ``since`` to ``until`` (excluded)."""
    imaged = (
        select(func.count(inspections.c.id.distinct()), func.count(images.c.id.distinct()))
        .join(images, images.c.inspection_id == inspections.c.id)
        .where(is_dated(), inspections.c.imaged_at >= since, inspections.c.imaged_at < until, IS_NAMED)
    )
    scored = select(func.count(scores.c.id), func.count(case((scores.c.crystal == true(), scores.c.id)))).where(
        scores.c.scorer_version == scorer_version, scores.c.scored_at >= since, scores.c.scored_at < until
    )
    failure = c4_image_failures.c
    given_up = (
        failure.scorer_version == scorer_version,
        failure.failed_at >= since,
        failure.failed_at < until,
        has_failed(max_attempts),
        unscored(scorer_version),
    )
    failed = select(func.count(failure.image_id)).join(images, images.c.id == failure.image_id).where(*given_up)
    newest = (
        select(failure.reason, images.c.path)
        .join(images, images.c.id == failure.image_id)
        .where(*given_up)
        .order_by(failure.failed_at.desc(), failure.image_id)
        .limit(MOST_REASONS_READ)
    )
    with database.reading("digest") as connection:
        plates, listed = connection.execute(imaged).one()
        written, crystals = connection.execute(scored).one()
        count = connection.scalar(failed) or 0
        reasons = Counter(_kind(reason, path or "") for reason, path in connection.execute(newest))
    return DayNumbers(plates, listed, written, crystals, count, tuple(reasons.most_common()))


def _kind(reason: str, path: str) -> str:
    """A reason without the file that it is of, so that those of many files are counted together."""
    return " ".join((reason.replace(path, "the file") if path else reason).split())
