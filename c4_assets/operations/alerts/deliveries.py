"""What an outbox remembers of its channels and of messages that are partly sent. Pure but for reading and writing."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from c4_assets.operations.alerts.stored import from_json, unreadable

VERSION = 1

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(minutes=10)
"""Before a channel that is away is asked again: twice as long each time."""

LONGEST_RETRY_AFTER = timedelta(hours=1)
"""What a channel may ask for: one that asks for a year would never be heard of again."""

MESSAGE_INTERVAL = timedelta(seconds=1)
"""Between two messages on a channel: Slack takes one a second."""


FIRST_POSTPONED, LONGEST_POSTPONED = timedelta(minutes=5), timedelta(hours=4)
"""Before a message is tried again whose recipients take nothing now: twice as long each time."""

POSTPONED_FOR = timedelta(days=5)
"""After so long it is given up, as mail servers do."""

ASIDE_AFTER_FAILURES = (3, 12)
"""After three failures, and each twelve further ones, a channel is tried with the second message that waits for it."""

STRIKES_A_MESSAGE = 3
"""How often a channel must take another message after it did not take this one, until this one is the reason."""


@dataclass(frozen=True)
class Way:
    """A channel as the outbox has met it.

    Attributes:
        away_since: when it first did not take a message, if it has taken none since then.
        failures: how often in a row.
        next_try: when it is asked again.
        last_sent: when it last took a message.
        error: what it said.
        suspect: the message that it did not take, by its id.
    """

    away_since: datetime | None = None
    failures: int = 0
    next_try: datetime | None = None
    last_sent: datetime | None = None
    error: str = ""
    suspect: str = ""

    def is_ready(self, now: datetime) -> bool:
        """Whether it may be asked now."""
        # A clock that was put back must not silence a channel for longer than it can have been told to wait.
        return self.next_try is None or not now < self.next_try <= now + LONGEST_RETRY_AFTER

    def is_away_for(self, span: timedelta, now: datetime) -> bool:
        """Whether it has been away for so long."""
        return self.away_since is not None and now >= self.away_since + span

    @property
    def is_tried_aside(self) -> bool:
        """Whether it is time to try it with another message: the first that waits may be the reason."""
        first, further = ASIDE_AFTER_FAILURES
        return self.failures % further == first

    def sent(self, now: datetime) -> "Way":
        """After it took a message."""
        return Way(last_sent=now)

    def failed(self, error: str, suspect: str, retry_after: float | None, now: datetime) -> "Way":
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
            suspect=suspect,
        )


@dataclass(frozen=True)
class Postponed:
    """A message whose recipients take nothing now.

    Attributes:
        since: when that was first so.
        tries: how often it was tried.
        next_try: when it is tried again.
    """

    since: datetime
    tries: int
    next_try: datetime


@dataclass(frozen=True)
class Deliveries:
    """What the outbox remembers.

    Attributes:
        ways: the channels by name.
        done: channels that need no longer get a message, by the message's id.
        refused: channels that will never take a message, by its id.
        strikes: how often a channel took another message after one that it did not take, by that one's id.
        postponed: messages that wait for those whom they are for, by their ids.
        pruned: when old marks of sent messages were last removed.
    """

    version: int = VERSION
    ways: Mapping[str, Way] = field(default_factory=dict[str, Way])
    done: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    strikes: Mapping[str, int] = field(default_factory=dict[str, int])
    postponed: Mapping[str, Postponed] = field(default_factory=dict[str, Postponed])
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

    def with_postponed(self, channel: str, messages: Iterable[str], now: datetime) -> "Deliveries":
        """After those whom messages are for took nothing. What they do not take for days is refused."""
        after = self
        for message in messages:
            before = self.postponed.get(message, Postponed(now, 0, now))
            wait = min(FIRST_POSTPONED * 2 ** min(before.tries, 16), LONGEST_POSTPONED)
            entry = Postponed(before.since, before.tries + 1, now + wait)
            after = replace(after, postponed={**after.postponed, message: entry})
            if now >= before.since + POSTPONED_FOR:
                after = after.with_refused({message: (channel,)})
        return after

    def is_postponed(self, message: str, now: datetime) -> bool:
        """Whether it is not yet time to try a message again."""
        entry = self.postponed.get(message)
        # A clock that was put back must not hold it for longer than it can have been told to wait.
        return entry is not None and now < entry.next_try <= now + LONGEST_POSTPONED

    def with_strike(self, channel: str, message: str) -> "Deliveries":
        """After a channel took another message than this one. It is refused when that has happened often."""
        strikes = self.strikes.get(message, 0) + 1
        after = replace(self, strikes={**self.strikes, message: strikes})
        return after.with_refused({message: (channel,)}) if strikes >= STRIKES_A_MESSAGE else after

    def only(self, messages: Collection[str], names: Collection[str]) -> "Deliveries":
        """Without messages that have left and channels that are not set up any more."""
        return replace(
            self,
            ways={name: way for name, way in self.ways.items() if name in names},
            done={id_: channels for id_, channels in self.done.items() if id_ in messages},
            refused={id_: channels for id_, channels in self.refused.items() if id_ in messages},
            strikes={id_: count for id_, count in self.strikes.items() if id_ in messages},
            postponed={id_: entry for id_, entry in self.postponed.items() if id_ in messages},
        )


def _added(before: Mapping[str, tuple[str, ...]], more: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {**before, **{key: tuple(dict.fromkeys((*before.get(key, ()), *names))) for key, names in more.items()}}


def load_deliveries(file: Path, as_writer: bool = False) -> Deliveries:
    """What the outbox remembers; with a warning nothing if the file cannot be read.

    Args:
        as_writer: whether this process holds the lock: see :func:`c4_assets.operations.alerts.stored.unreadable`.
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return Deliveries()
    try:
        found = from_json(Deliveries, text)
        if found.version != VERSION:
            raise ValueError(f"it is of version {found.version}, not {VERSION}")
    except (ValueError, RecursionError) as error:
        unreadable(file, error, as_writer)
        return Deliveries()
    return found
