"""The imaging database as a source of metrics.

Counting millions of images takes seconds a million, so history is counted in a thread, seldom, and each scrape adds
what the sensor's window holds, which is as quick as the sensor's own poll.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from c4_assets.operations.metrics.catalogue import STATES, Sample
from c4_assets.operations.metrics.counted import History, Kept
from c4_assets.operations.metrics.sources import NothingYet
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.figures import last_scored, oldest_due
from resources.imaging_database.work import Progress, day_bounds, history_spans, newest_inspection, progress_by_day
from resources.settings import Settings

HISTORY_EVERY_S = 6 * 3600.0
"""How often all of history is counted: of 5 million images that takes ten seconds or so of the database's time."""

WINDOW_EVERY_S = 60.0
"""How often the images of the sensor's window are counted."""

REST_S = 0.2
"""Pause between two statements that count history: the database has other work, too."""


class ImageFigures:
    """What the imaging database says of a deployment's images.

    Args:
        database: with a short limit on the time of a statement.
        patient: the same database with the site's own limit, for the count of history.
        current: gives the scorer version of the current model, by reading the database.
    """

    def __init__(
        self,
        settings: Settings,
        database: ImagingDatabase,
        patient: ImagingDatabase,
        current: Callable[[], str],
        kept: Kept,
    ) -> None:
        self._settings, self._database, self._patient = settings, database, patient
        self._current, self._kept = current, kept

    def newest(self) -> Iterator[Sample]:
        """Whether the database answers, what was imaged and scored last, and since when something waits."""
        self._database.refuse_new()
        version, now = self._current(), datetime.now(UTC)
        yield Sample("c4_model_info", 1.0, (version,))
        times = {
            "c4_last_imaged_timestamp_seconds": newest_inspection(self._database, now),
            "c4_last_scored_timestamp_seconds": last_scored(self._database, version),
            "c4_oldest_pending_timestamp_seconds": oldest_due(
                self._database, version, self._settings.runs.max_attempts, self._window(now), now
            ),
        }
        yield from (Sample(name, at.timestamp()) for name, at in times.items() if at)

    def by_state(self) -> Iterator[Sample]:
        """Images by state: what was counted of history, and the images since then, counted now.

        Raises:
            NothingYet: history is still being counted for the first time.
        """
        history = self._kept.read().history
        if history is None or history.scorer_version != self._current():
            raise NothingYet
        until = datetime.fromtimestamp(history.until, UTC)
        days = self._progress(self._database, history.scorer_version, until, None)
        counted = {
            "listed": history.listed + sum(day.listed for day in days),
            **{state: getattr(history, state) + sum(getattr(day, state) for day in days) for state in STATES},
        }
        yield Sample("c4_images_listed", counted["listed"])
        yield from (Sample("c4_images", counted[state], (state,)) for state in STATES)
        yield Sample("c4_images_counted_timestamp_seconds", history.counted_at, ("history",))
        yield Sample("c4_images_counted_timestamp_seconds", time.time(), ("window",))
        yield Sample("c4_backlog_images", history.pending)
        yield Sample("c4_backlog_partitions", history.backlog_days)

    def count_history(self) -> Iterator[Sample]:
        """Counts all images from before the sensor's window, unless that was done lately. Tells nothing itself."""
        self._database.refuse_new()
        version, known = self._current(), self._kept.read().history
        if known is None or known.scorer_version != version or known.counted_at < time.time() - HISTORY_EVERY_S:
            until = self._window(datetime.now(UTC))
            days: list[Progress] = []
            for start, end in history_spans(self._patient, None, until):
                days += self._progress(self._patient, version, start, end)
                time.sleep(REST_S)
            with self._kept.changing() as counted:
                counted.history = _history(version, until, days)
        return iter(())

    def _progress(
        self, database: ImagingDatabase, version: str, since: datetime, until: datetime | None
    ) -> list[Progress]:
        return progress_by_day(database, version, self._settings.runs.max_attempts, since, until)

    def _window(self, now: datetime) -> datetime:
        return day_bounds((now - timedelta(days=self._settings.runs.window_days)).date())[0]


def _history(version: str, until: datetime, days: Sequence[Progress]) -> History:
    def total(name: str) -> int:
        return sum(getattr(day, name) for day in days)

    return History(
        version,
        until.timestamp(),
        time.time(),
        total("listed"),
        total("scored"),
        total("failed"),
        total("retrying"),
        total("withheld"),
        # A span of history may end within a day, which then comes twice.
        len({day.day for day in days if day.pending}),
    )
