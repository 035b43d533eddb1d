"""What has failed and is not well again: it is remembered from look to look, until its subjects are. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from c4_assets.operations.alerts.conditions import FAILED_RUN_KEYS, job_of, step_of
from c4_assets.operations.alerts.records import Condition, Observation

FORGOTTEN_AFTER = timedelta(days=30)
"""Time after which what has failed counts as settled: nobody will run that day again."""

SETTLED_AFTER = timedelta(hours=12)
"""Time for which a day of the sensor's window must not have failed again to count as well when a newer one succeeds.
The sensor asks at every poll for a day that has pending images, and never for one that has none."""

DAY, WEEK = "day", "week"
"""How the name of a subject that is a partition begins."""

MAX_OPEN = 2000
"""Most subjects that are remembered of one thing that is wrong, the newest: a state must not grow for ever."""


@dataclass
class Ends:
    """What a look finds, and what it knows from earlier ones.

    Attributes:
        open: of each key, since when which subjects are not well.
        window: how far back the sensor asks for days that have pending images.
    """

    now: datetime
    open: dict[str, dict[str, str]]
    window: timedelta
    occurred: list[Condition] = field(default_factory=list[Condition])
    recovered: set[str] = field(default_factory=set[str])

    def opened(self, condition: Condition, subjects: frozenset[str]) -> None:
        """Notes that something has happened to subjects."""
        self.occurred.append(condition)
        self.recovered.discard(condition.key)
        known = self.open.setdefault(condition.key, {})
        known |= dict.fromkeys(sorted(subjects), self.now.isoformat())
        for name in list(known)[: max(0, len(known) - MAX_OPEN)]:
            del known[name]

    def closed(self, key: str, subjects: frozenset[str]) -> None:
        """Takes subjects off what is open of a key, which has recovered when none is left."""
        if not (known := self.open.get(key)):
            return
        for name in subjects:
            known.pop(name, None)
        if not known:
            del self.open[key]
            self.recovered.add(key)

    def succeeded(self, job: str, subjects: frozenset[str], has_step: Callable[[str], bool]) -> None:
        """Closes what a run that has ended well has mended, whatever the failed ones were called.

        Args:
            job: the run's job, as people know it.
            has_step: whether it has done a step; every run has the one that is named by nothing.
        """
        for key in list(self.open):
            if key.startswith(FAILED_RUN_KEYS) and has_step(step_of(key)):
                self.closed(key, subjects | self.settled(key, job, subjects))

    def settled(self, key: str, job: str, subjects: frozenset[str]) -> set[str]:
        """The days of a key for which nobody has asked again, although a run of its job for a newer day succeeds."""
        newest = max(subjects)
        if job_of(key) != job or not newest.startswith(f"{DAY} "):
            return set()
        first = f"{DAY} {(self.now - self.window).date().isoformat()}"
        before = (self.now - SETTLED_AFTER).isoformat()
        return {name for name, at in self.open[key].items() if first <= name < newest and at < before}

    def forget_old(self) -> None:
        """Closes what has been open for so long that nobody will mend it any more."""
        before = (self.now - FORGOTTEN_AFTER).isoformat()
        for key, known in list(self.open.items()):
            self.closed(key, frozenset(name for name, at in known.items() if at < before))

    def observation(self, notes: tuple[str, ...] = ()) -> Observation:
        """What the look has found, with its notes about itself."""
        return Observation(occurred=tuple(self.occurred), recovered=frozenset(self.recovered), notes=notes)
