"""How much of history is scored, by year and month, and when the rest will be."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime, timedelta

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import Progress, day_bounds, history_spans, progress_by_day


@dataclass(frozen=True)
class Coverage:
    """Images of a month or year by state, for one scorer version. ``month`` is 0 for a whole year."""

    year: int
    month: int
    listed: int = 0
    scored: int = 0
    failed: int = 0
    withheld: int = 0

    @property
    def pending(self) -> int:
        """Images that are neither scored nor failed nor withheld."""
        return self.listed - self.scored - self.failed - self.withheld

    @property
    def done(self) -> float:
        """Share of the images that are not pending, 1 where there are none."""
        return 1 - self.pending / self.listed if self.listed else 1.0

    def __add__(self, other: "Coverage") -> "Coverage":
        _, _, *mine = astuple(self)
        _, _, *theirs = astuple(other)
        return Coverage(self.year, self.month, *map(sum, zip(mine, theirs, strict=True)))


def count_days(
    database: ImagingDatabase,
    scorer_version: str,
    max_attempts: int,
    since: date | None = None,
    until: date | None = None,
    counted: Callable[[int, int], None] = lambda done, spans: None,
) -> list[Progress]:
    """Counts every day of a span, by default all of history: about three seconds a million images.

    Args:
        since, until: the first and the last day of imaging.
        counted: called before the first span of history and after each, with the number of spans done and of all.
    """
    bounds = since and day_bounds(since)[0], until and day_bounds(until)[1]
    spans = history_spans(database, *bounds)
    days: dict[date, Progress] = {}
    counted(0, len(spans))
    for number, (start, end) in enumerate(spans):
        for day in progress_by_day(database, scorer_version, max_attempts, start, end):
            # A span may end within a day, because spans begin at the time of the oldest inspection.
            days[day.day] = days[day.day] + day if day.day in days else day
        counted(number + 1, len(spans))
    return list(days.values())


def by_month(days: Iterable[Progress]) -> list[Coverage]:
    """The months that have images, oldest first."""
    months: dict[tuple[int, int], Coverage] = {}
    for day in days:
        key = day.day.year, day.day.month
        counted = Coverage(*key, day.listed, day.scored, day.failed, day.withheld)
        months[key] = months.get(key, Coverage(*key)) + counted
    return [months[key] for key in sorted(months)]


def by_year(months: Iterable[Coverage]) -> list[Coverage]:
    """The years that have images, oldest first."""
    years: dict[int, Coverage] = {}
    for month in months:
        years[month.year] = years.get(month.year, Coverage(month.year, 0)) + month
    return [years[year] for year in sorted(years)]


def total_of(months: Iterable[Coverage]) -> Coverage:
    """All months together, year and month 0."""
    return sum(months, Coverage(0, 0))


@dataclass(frozen=True)
class Throughput:
    """The scores written in each hour of the last day, oldest first."""

    hours: Sequence[int]

    @property
    def last_hour(self) -> int:
        return self.hours[-1]

    @property
    def last_day(self) -> int:
        return sum(self.hours)

    @property
    def per_second(self) -> float:
        """Scores per second in the last hour or, if that had none, in the last day."""
        return self.last_hour / 3600 or self.last_day / 86400

    def end(self, pending: int, now: datetime) -> datetime | None:
        """The expected end at the current rate.

        ``None`` if nothing was scored for a day, or if the end is later than ``datetime`` can hold.
        """
        if not pending:
            return now
        if not self.per_second:
            return None
        try:
            return now + timedelta(seconds=pending / self.per_second)
        except OverflowError:
            return None

    def describe(self) -> str:
        """``1,200 images were scored in the last hour (0.3 a second), 20,000 in the last day``."""
        return (
            f"{self.last_hour:,} images were scored in the last hour ({self.last_hour / 3600:.1f} a second), "
            f"{self.last_day:,} in the last day ({self.last_day / 86400:.1f} a second)."
        )
