"""What an outbox remembers of its channels and of messages that are partly sent. Pure but for reading and writing."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from c4_assets.operations.alerts.stored import from_json, set_aside, to_json, write_whole

VERSION = 1

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(minutes=10)
"""Before a channel that is away is asked again: twice as long each time."""

LONGEST_RETRY_AFTER = timedelta(hours=1)
"""What a channel may ask for: one that asks for a year would never be heard of again."""

RATE = timedelta(seconds=1)
"""Between two messages on a channel: Slack takes one a second."""


@dataclass(frozen=True)
class Way:
    """A channel as the outbox has met it.

    Attributes:
        away_since: when it first did not take a message, if it has taken none since then.
        failures: how often in a row.
        next_try: when it is asked again.
        last_sent: when it last took a message.
        error: what it said.
    """

    away_since: datetime | None = None
    failures: int = 0
    next_try: datetime | None = None
    last_sent: datetime | None = None
    error: str = ""

    def is_ready(self, now: datetime) -> bool:
        """Whether it may be asked now."""
        # A clock that was put back must not silence a channel for longer than it can have been told to wait.
        return self.next_try is None or not now < self.next_try <= now + LONGEST_RETRY_AFTER

    def is_away_for(self, span: timedelta, now: datetime) -> bool:
        """Whether it has been away for so long."""
        return self.away_since is not None and now >= self.away_since + span

    def sent(self, now: datetime) -> "Way":
        """After it took a message."""
        return Way(last_sent=now)

    def failed(self, error: str, retry_after: float | None, now: datetime) -> "Way":
        """After it did not."""
        wait = min(FIRST_WAIT * 2 ** min(self.failures, 16), LONGEST_WAIT)
        if retry_after is not None:
            wait = min(timedelta(seconds=max(0.0, retry_after)), LONGEST_RETRY_AFTER)
        return replace(
            self,
            away_since=self.away_since or now,
            failures=self.failures + 1,
            next_try=now + wait,
            error=error,
        )


@dataclass(frozen=True)
class Deliveries:
    """What the outbox remembers.

    Attributes:
        ways: the channels by name.
        done: channels that need no longer get a message, by the message's id.
        refused: channels that will never take a message, by its id.
        pruned: when old marks of sent messages were last removed.
    """

    version: int = VERSION
    ways: Mapping[str, Way] = field(default_factory=dict[str, Way])
    done: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    pruned: datetime | None = None

    def way(self, name: str) -> Way:
        """What is known of a channel."""
        return self.ways.get(name, Way())

    def with_way(self, name: str, way: Way) -> "Deliveries":
        """With what is now known of a channel."""
        return replace(self, ways={**self.ways, name: way})

    def with_done(self, done: Mapping[str, Iterable[str]]) -> "Deliveries":
        """With channels that need not get certain messages any more."""
        return replace(self, done=_added(self.done, done))

    def with_refused(self, refused: Mapping[str, Iterable[str]]) -> "Deliveries":
        """With channels that will never take certain messages."""
        return replace(self, refused=_added(self.refused, refused))

    def only(self, messages: Collection[str], names: Collection[str]) -> "Deliveries":
        """Without messages that have left and channels that are not set up any more."""
        return replace(
            self,
            ways={name: way for name, way in self.ways.items() if name in names},
            done={id_: channels for id_, channels in self.done.items() if id_ in messages},
            refused={id_: channels for id_, channels in self.refused.items() if id_ in messages},
        )


def _added(before: Mapping[str, tuple[str, ...]], more: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {**before, **{key: tuple(dict.fromkeys((*before.get(key, ()), *names))) for key, names in more.items()}}


def load_deliveries(file: Path) -> Deliveries:
    """What the outbox remembers. A file that cannot be read is set aside with a warning."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return Deliveries()
    try:
        found = from_json(Deliveries, text)
        if found.version != VERSION:
            raise ValueError(f"it is of version {found.version}, not {VERSION}")
    except (ValueError, RecursionError) as error:
        set_aside(file, error)
        return Deliveries()
    return found


def save_deliveries(file: Path, deliveries: Deliveries) -> None:
    """Writes what the outbox remembers: the commit after a send.

    Raises:
        NoRoom: the disk is full.
    """
    write_whole(file, to_json(deliveries))
