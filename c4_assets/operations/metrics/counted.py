"""What an exporter remembers between two scrapes and over a restart: totals of ended runs, and the count of history.

Totals only grow, as Prometheus needs them, and a restarted exporter goes on with them; so does the next `c4 metrics
--textfile`. Several exporters of one home share them.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from c4_assets.operations.metrics.catalogue import BOUNDS_S, Counts
from resources.atomic_write import atomic_write
from resources.file_lock import locked

TOTALS_FILE = "metrics.json"

LOCK_S = 10.0
"""Longest wait for another exporter that writes the file: it holds the lock while it reads the events of a few runs."""

KNOWN_FOR_S = 6 * 3600.0
"""How long a run that was counted is remembered by its id, so that none counts twice: Dagster changes an ended run once
more when it repeats it."""


@dataclass
class StepTimes:
    """Durations of one step: how many fell into each bucket of :data:`BOUNDS_S` and beyond, and the sum in seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total: float = 0.0
    failures: int = 0

    def add(self, seconds: float) -> None:
        """Counts a duration."""
        number = next((n for n, bound in enumerate(BOUNDS_S) if seconds <= bound), len(BOUNDS_S))
        self.buckets[number] += 1
        self.total += seconds

    @property
    def counts(self) -> Counts:
        """As a histogram wants it: each bucket with all below it."""
        return Counts(tuple(sum(self.buckets[: n + 1]) for n in range(len(self.buckets))), self.total)


@dataclass
class Totals:
    """What ended runs did, since an exporter looked first.

    Attributes:
        until: ended runs are counted up to this time, in seconds since 1970; 0 before the first look.
        known: ids of the runs counted lately, and when that was.
        ended: numbers of runs by job and outcome.
        images: numbers of images by metric.
    """

    until: float = 0.0
    known: dict[str, float] = field(default_factory=dict[str, float])
    ended: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    images: dict[str, int] = field(default_factory=dict[str, int])
    steps: dict[str, StepTimes] = field(default_factory=dict[str, StepTimes])

    def add_run(self, run_id: str, job: str, outcome: str, at: float) -> None:
        """Counts a run that has ended, now (``at``, in seconds since 1970)."""
        self.known = {known: since for known, since in self.known.items() if since > at - KNOWN_FOR_S}
        self.known[run_id] = at
        of_job = self.ended.setdefault(job, {})
        of_job[outcome] = of_job.get(outcome, 0) + 1

    def add_images(self, metric: str, number: int) -> None:
        """Counts images."""
        self.images[metric] = self.images.get(metric, 0) + number

    def of_step(self, step: str) -> StepTimes:
        """The times of a step."""
        return self.steps.setdefault(step, StepTimes())


@dataclass(frozen=True)
class History:
    """A count of all images that were imaged before a time.

    Attributes:
        until: that time, in seconds since 1970; images of later times are not counted.
        counted_at: when that was counted.
        backlog_days: days among them that have pending images.
    """

    scorer_version: str
    until: float
    counted_at: float
    listed: int = 0
    scored: int = 0
    failed: int = 0
    retrying: int = 0
    withheld: int = 0
    backlog_days: int = 0

    @property
    def pending(self) -> int:
        return self.listed - self.scored - self.failed - self.withheld


@dataclass
class Counted:
    """All that is kept."""

    totals: Totals = field(default_factory=Totals)
    history: History | None = None


class Kept:
    """Where it is kept: a file in the home, or memory where the exporter may not write there."""

    def __init__(self, home: Path) -> None:
        self._file = home / TOTALS_FILE
        self._memory = Counted()
        self._writes = True

    def read(self) -> Counted:
        """What was kept last. A file that is damaged counts as absent: totals begin anew, which Prometheus expects."""
        if not self._writes:
            return self._memory
        try:
            return _from_json(json.loads(self._file.read_bytes()))
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return self._memory

    @contextmanager
    def changing(self) -> Generator[Counted]:
        """What was kept last, to be changed. One at a time, also of two exporters; kept when the block ends well.

        Raises:
            TimeoutError: another exporter has held it for too long.
        """
        with ExitStack() as held:
            self._hold(held)
            counted = self.read()
            yield counted
            self._memory = counted
            if self._writes:
                self._write(counted)

    def _hold(self, held: ExitStack) -> None:
        if not self._writes:
            return
        try:
            held.enter_context(locked(self._file.with_suffix(".lock"), LOCK_S))
        except TimeoutError:
            raise
        except OSError:
            self._writes = False

    def _write(self, counted: Counted) -> None:
        try:
            with atomic_write(self._file) as temporary:
                temporary.write_text(json.dumps(asdict(counted)))
        except OSError:
            self._writes = False  # this process goes on with what it has in memory


def _from_json(kept: Mapping[str, Any]) -> Counted:
    totals = dict(kept["totals"])
    steps = {name: StepTimes(**each) for name, each in totals.pop("steps").items()}
    if any(len(each.buckets) != len(BOUNDS_S) + 1 for each in steps.values()):
        raise ValueError("of a release with other bounds")
    return Counted(Totals(**totals, steps=steps), History(**kept["history"]) if kept["history"] else None)
