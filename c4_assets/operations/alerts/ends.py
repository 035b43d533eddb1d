"""What has failed and is not well again: it is remembered from look to look, until its subjects are. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from c4_assets.operations.alerts.conditions import FAILED_RUN_KEYS, step_of
from c4_assets.operations.alerts.records import Condition, Observation

FORGOTTEN_AFTER = timedelta(days=30)
"""Time after which what has failed counts as settled: nobody will run that day again."""

MAX_OPEN = 2000
"""Most subjects that are remembered of one thing that is wrong, the newest: a state must not grow for ever."""


@dataclass
class Ends:
    """What a look finds, and what it knows from earlier ones.

    Attributes:
        open: of each key, since when which subjects are not well.
    """

    now: datetime
    open: dict[str, dict[str, str]]
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

    def succeeded(self, subjects: frozenset[str], has_step: Callable[[str], bool]) -> None:
        """Closes what a run that has ended well has mended, whatever the failed ones were called.

        Args:
            has_step: whether it has done a step; every run has the one that is named by nothing.
        """
        for key in list(self.open):
            if key.startswith(FAILED_RUN_KEYS) and has_step(step_of(key)):
                self.closed(key, subjects)

    def forget_old(self) -> None:
        """Closes what has been open for so long that nobody will mend it any more."""
        before = (self.now - FORGOTTEN_AFTER).isoformat()
        for key, known in list(self.open.items()):
            self.closed(key, frozenset(name for name, at in known.items() if at < before))

    def observation(self) -> Observation:
        """What the look has found."""
        return Observation(occurred=tuple(self.occurred), recovered=frozenset(self.recovered))
