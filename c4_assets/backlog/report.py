"""The backlog as a whole: what ``c4 backlog`` prints and the asset ``backlog_coverage`` keeps."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from c4_assets.backlog.backfill import Backfill
from c4_assets.backlog.coverage import Coverage, Throughput, by_month, by_year, count_days, total_of
from c4_assets.backlog.limits import NO_RUN_WORKS, Limit, Observations, limit
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.throughput import scores_by_hour
from resources.imaging_database.work import Progress
from resources.records import ImageState
from resources.settings import Settings

COUNTS = ("listed", ImageState.SCORED, ImageState.FAILED, ImageState.WITHHELD, ImageState.PENDING)
"""What :class:`~c4_assets.backlog.coverage.Coverage` counts, by the names that it has there."""


@dataclass(frozen=True)
class BackfillCoverage:
    """A backfill with the number of its days that are done; ``None`` if not all of its days were counted."""

    backfill: Backfill
    done: int | None
    images: int | None
    """Pending images of its days."""


@dataclass(frozen=True)
class Report:
    """How far the backlog is, how fast it goes, and what limits it."""

    scorer_version: str
    counted_at: datetime
    months: Sequence[Coverage]
    pending_outside_partitions: int
    """Pending images of days that are no partition: before ``C4_RUNS_START_DATE``, or in the future."""
    throughput: Throughput
    backfills: Sequence[BackfillCoverage]
    observed: Observations
    limit: Limit

    @property
    def total(self) -> Coverage:
        return total_of(self.months)

    @property
    def end(self) -> datetime | None:
        """When nothing is pending any more, at the current rate; ``None`` if unknown, or if no run works on it."""
        if self.limit.name in NO_RUN_WORKS:
            return None
        return self.throughput.end(self.observed.pending, self.counted_at)

    def as_json(self) -> dict[str, Any]:
        """The report as numbers and texts, for JSON."""
        return {
            "scorer_version": self.scorer_version,
            "counted_at": self.counted_at.isoformat(timespec="seconds"),
            "total": _counts(self.total),
            "years": {str(year.year): _counts(year) for year in by_year(self.months)},
            "months": {f"{month.year}-{month.month:02}": _counts(month) for month in self.months},
            "pending_outside_partitions": self.pending_outside_partitions,
            "scored_last_hour": self.throughput.last_hour,
            "scored_last_day": self.throughput.last_day,
            "expected_end": self.end and self.end.isoformat(timespec="seconds"),
            "limit": asdict(self.limit),
            "backfills": [_backfill(each) for each in self.backfills],
            "runs": {
                "queued": self.observed.runs_queued,
                "started": self.observed.runs_started,
                "share": self.observed.share,
                "seconds_since_the_daemon": self.observed.daemon_silent and self.observed.daemon_silent.total_seconds(),
            },
            "steps": {name: asdict(times) for name, times in self.observed.steps.items()},
        }


def _counts(coverage: Coverage) -> dict[str, int]:
    return {name: getattr(coverage, name) for name in COUNTS}


def _backfill(backfill_coverage: BackfillCoverage) -> dict[str, Any]:
    each = backfill_coverage.backfill
    return {
        "id": each.backfill_id,
        "state": each.state,
        "started_at": each.started_at.isoformat(timespec="seconds"),
        "resumes": each.resumes,
        "first_day": min(each.days).isoformat(),
        "last_day": max(each.days).isoformat(),
        "days": len(each.days),
        "days_done": backfill_coverage.done,
        "images_pending": backfill_coverage.images,
        "runs": {"queued": each.runs_queued, "started": each.runs_started, "failed": each.runs_failed},
    }


def backfill_coverage(backfill: Backfill, days: Sequence[Progress], since: date, until: date) -> BackfillCoverage:
    """Computes from the counted days how much of a backfill is done.

    Args:
        since, until: the first and the last day of what was counted.
    """
    if min(backfill.days) < since or max(backfill.days) > until:
        return BackfillCoverage(backfill, None, None)
    pending = {day.day: day.pending for day in days if day.pending and day.day in backfill.days}
    return BackfillCoverage(backfill, len(backfill.days) - len(pending), sum(pending.values()))


def report(
    settings: Settings,
    database: ImagingDatabase,
    scorer_version: str,
    backfills: Sequence[Backfill],
    observe: Callable[[int], Observations],
    since: date | None = None,
    until: date | None = None,
    counted: Callable[[int, int], None] = lambda done, spans: None,
) -> Report:
    """Counts images by state, and observes the runs that score the pending ones.

    Args:
        backfills: the unfinished ones.
        observe: observes their runs, given the number of images that could be scored now.
        since, until: days of imaging to count, both included; by default all of history.
        counted: see :func:`c4_assets.backlog.coverage.count_days`.

    Raises:
        Unavailable: the database does not answer.
    """
    days = count_days(database, scorer_version, settings.runs.max_attempts, since, until, counted)
    now = datetime.now(UTC)
    pending = sum(day.pending for day in days if settings.runs.start_date <= day.day <= now.date())
    observed = observe(pending)
    return Report(
        scorer_version,
        now,
        by_month(days),
        sum(day.pending for day in days) - pending,
        Throughput(scores_by_hour(database, scorer_version, now)),
        [backfill_coverage(each, days, since or date.min, until or date.max) for each in backfills],
        observed,
        limit(observed),
    )
