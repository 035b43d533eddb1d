"""A backfill of the backlog, as observed in Dagster."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class Backfill:
    """An unfinished backfill over the daily assets.

    Its state is ``running``, ``pausing`` (its runs are ending), ``paused``, or ``ending`` (it was cancelled in the UI).
    """

    backfill_id: str
    state: str
    started_at: datetime
    days: frozenset[date]
    resumes: str | None
    runs_queued: int
    runs_started: int
    runs_failed: int
    """Failed runs that Dagster does not repeat by itself."""

    @property
    def span(self) -> str:
        return span(self.days)


def span(days: Collection[date]) -> str:
    """The first and the last of some days, as text."""
    return f"{min(days)} to {max(days)}" if len(days) > 1 else str(next(iter(days), "no day"))
