"""What happened in a span of time: what was imaged, scored and given up."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IS_NAMED, is_dated
from resources.imaging_database.schema import images, inspections, scores
from resources.imaging_database.work import failures

MOST_FAILURES_READ = 2000
"""The newest failures that are looked at for their reasons: a bad day has as many."""


@dataclass(frozen=True)
class DayNumbers:
    """Numbers of a span of time.

    Attributes:
        inspections, listed: imaged in the span, with their images.
        scored, crystals: scores of the span, and those that reach the operating point.
        failed: images that failed for good in the span, by reason, the most frequent first.
    """

    inspections: int
    listed: int
    scored: int
    crystals: int
    failed: tuple[tuple[str, int], ...]


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
    with database.reading("digest") as connection:
        plates, listed = connection.execute(imaged).one()
        written, crystals = connection.execute(scored).one()
    given_up = [
        each
        for each in failures(database, scorer_version, max_attempts, most=MOST_FAILURES_READ)
        if each.failed and since <= each.failed_at < until
    ]
    reasons = Counter(_kind(each.reason, each.image.path) for each in given_up)
    return DayNumbers(plates, listed, written, crystals, tuple(reasons.most_common()))


def _kind(reason: str, path: str) -> str:
    """A reason without the file that it is of, so that those of many files are counted together."""
    return " ".join((reason.replace(path, "the file") if path else reason).split())
