"""Messages on their way out: kept on disk until a channel has taken them, and committed after the send."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from c4_assets.operations.alerts.channel import Channel
from c4_assets.operations.alerts.deliveries import MESSAGE_INTERVAL, Deliveries, Way, load_deliveries
from c4_assets.operations.alerts.plan import Plan, Send
from c4_assets.operations.alerts.records import (
    ChannelAway,
    Condition,
    Event,
    Message,
    MessagePostponed,
    Observation,
    Severity,
    Subject,
)
from c4_assets.operations.alerts.routing import targets
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.stored import from_json, to_json, unreadable, write_whole, written_after
from resources.atomic_write import NoRoom, full_disk_named, remove_abandoned, sync
from resources.file_lock import locked

log = logging.getLogger("c4.alerts")

SENT_REMEMBERED_FOR = timedelta(days=366)
"""How long the outbox knows that a message was sent."""

WITHOUT_A_WAY = timedelta(days=7)
"""How long a message is kept that no channel is set up for."""

ASKED_LATELY = timedelta(minutes=10)
"""How long after its next try was due a channel still counts as asked."""

LONGEST_NAME = 120
"""Characters of a file's name that are taken from a message's id."""

PUT_WAIT_S = 20


@dataclass(frozen=True)
class Delivered:
    """What a round of deliveries has done, and what it found.

    Attributes:
        sent: messages that a channel has taken; one that was made of several counts once.
        waiting: messages that are still to go somewhere.
        refused: messages that were set aside, because no channel will ever take them.
        away: since when channels take no message, by name.
        errors: what these channels said.
        busy: whether another process delivers, and nothing was done.
    """

    sent: int = 0
    waiting: int = 0
    refused: int = 0
    away: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    errors: Mapping[str, str] = field(default_factory=dict[str, str])
    busy: bool = False


class Outbox:
    """A folder of messages on their way out.

    ``waiting`` holds the messages, a file each; ``sent`` a mark for each that has left; ``refused`` those that no
    channel takes; ``deliveries.json`` what is partly sent and how the channels are. Everything may die at any point:
    nothing is lost, and only a message that was sent and not yet committed is sent twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting, self._sent, self._refused = (folder / name for name in ("waiting", "sent", "refused"))
        self._deliveries = folder / "deliveries.json"

    def put(self, messages: Iterable[Message]) -> int:
        """Takes messages, but none that it has or has had. It says how many were new.

        Raises:
            NoRoom: the disk is full.
            TimeoutError: another process has been writing for 20 s.
        """
        messages = tuple(messages)
        if not messages:
            return 0
        self._waiting.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "put.lock", PUT_WAIT_S):
            return sum(map(self._put, messages))

    def _put(self, message: Message) -> bool:
        name = _file_name(message.id)
        file = self._waiting / f"{name}.json"
        # In this order: one that leaves meanwhile has its mark before its file goes.
        if file.exists() or (self._sent / name).exists() or (self._refused / file.name).exists():
            return False
        write_whole(file, to_json(message))
        log.info("message to be sent: %s", message.title, extra=_ids(message))
        return True

    def waiting(self, as_writer: bool = False) -> tuple[Message, ...]:
        """The messages that have not left, the oldest first, without those that cannot be read.

        Args:
            as_writer: whether this process holds the lock: see :func:`c4_assets.operations.alerts.stored.unreadable`.
        """
        return tuple(sorted(self._read(as_writer), key=lambda message: (message.at, message.id)))

    def count(self) -> int:
        """How many messages have not left, those that cannot be read included."""
        return sum(1 for _ in self._waiting.glob("*.json"))

    def _read(self, as_writer: bool) -> Iterable[Message]:
        for file in sorted(self._waiting.glob("*.json")):
            try:
                text = file.read_bytes()
            except FileNotFoundError:
                continue
            try:
                yield from_json(Message, text)
            except (ValueError, RecursionError) as error:
                unreadable(file, error, as_writer)

    def observation(self, now: datetime) -> Observation:
        """Channels that take no messages, as conditions for the next look.

        A channel is asked only when a message waits for it. One that was not asked lately is not known to be away.
        """
        ways = load_deliveries(self._deliveries).ways
        away = {name: way for name, way in ways.items() if way.away_since}
        known = {name: way for name, way in away.items() if way.next_try and now < way.next_try + ASKED_LATELY}
        looked_at = [_key("")] if known == away else [_key(name) for name in ways if name in known or name not in away]
        return Observation(
            holding=tuple(_condition(name, way, now) for name, way in known.items()), looked_at=frozenset(looked_at)
        )

    def deliver(
        self,
        channels: Sequence[Channel],
        rules: Rules,
        now: datetime,
        seconds: float = 30,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Delivered:
        """Sends what is due, the oldest first, and commits after each send.

        Args:
            seconds: no send begins later than so long after ``now``.
            pause: what waits for a channel that takes a message a second.
            clock: seconds, of which the time after ``now`` is counted.

        Raises:
            NoRoom: the disk is full. What was sent last may be sent again.
        """
        self._waiting.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / "deliver.lock", 0):
                return _Round(self, channels, rules, now, seconds, pause, clock).run()
        except TimeoutError:
            return Delivered(waiting=self.count(), busy=True)

    def load(self, as_writer: bool = False) -> Deliveries:
        """What is remembered of channels, and of messages that are partly sent."""
        return load_deliveries(self._deliveries, as_writer)

    def saved_after(self, deliveries: Deliveries) -> AbstractContextManager[None]:
        """Commits what the block sends when it ends well.

        There is room for it before the block begins: a disk that is full must not have the same message sent each
        time that it is looked at.
        """
        return written_after(self._deliveries, to_json(deliveries))

    def finish(self, message: Message) -> None:
        """Marks a message as sent for good, and forgets its text."""
        name = _file_name(message.id)
        self._sent.mkdir(parents=True, exist_ok=True)
        with full_disk_named(self._sent / name):
            (self._sent / name).touch(mode=0o600)
        sync(self._sent)
        (self._waiting / f"{name}.json").unlink(missing_ok=True)

    def refuse(self, message: Message) -> None:
        """Sets a message aside that no channel takes."""
        self._refused.mkdir(parents=True, exist_ok=True)
        file = self._waiting / f"{_file_name(message.id)}.json"
        file.replace(self._refused / file.name)
        log.error(
            "No channel takes the message %r; it is now %s.",
            message.title,
            self._refused / file.name,
            extra=_ids(message),
        )

    def prune(self, now: datetime) -> None:
        """Removes marks of messages that left long ago, and what killed writers have left."""
        for folder in (self.folder, self._waiting):
            remove_abandoned(folder)
        for mark in self._sent.glob("*"):
            if mark.stat().st_mtime < (now - SENT_REMEMBERED_FOR).timestamp():
                mark.unlink(missing_ok=True)


class _Round:
    """One round of deliveries, while the outbox is locked."""

    def __init__(
        self,
        outbox: Outbox,
        channels: Sequence[Channel],
        rules: Rules,
        now: datetime,
        seconds: float,
        pause: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self.outbox, self.rules, self.pause, self.clock, self.began = outbox, rules, pause, clock, now
        self.channels = {channel.name: channel for channel in channels}
        self.end = now + timedelta(seconds=seconds)
        self.paused, self.started = 0.0, clock()
        self.messages = {message.id: message for message in outbox.waiting(as_writer=True)}
        self.deliveries = outbox.load(as_writer=True).only(self.messages.keys(), self.channels.keys())
        self.sent = self.refused = 0

    def run(self) -> Delivered:
        self._tidy()
        while (now := self._now()) < self.end:
            send = self._plan().next_send(list(self.messages.values()), now)
            if send is None or not self._wait_for(send.channel):
                break
            self._send(send)
            self._tidy()
        self._prune()
        away = {name: way for name, way in self.deliveries.ways.items() if way.away_since}
        return Delivered(
            self.sent,
            len(self.messages),
            self.refused,
            {name: way.away_since for name, way in away.items() if way.away_since},
            {name: way.error for name, way in away.items()},
        )

    def _plan(self) -> Plan:
        return Plan(self.rules, tuple(self.channels), self.deliveries)

    def _now(self) -> datetime:
        """The time by the caller's clock: later by what was waited for, and by what sending took."""
        taken = max(self.paused, self.clock() - self.started)
        return self.began + timedelta(seconds=taken)

    def _wait_for(self, channel: str) -> bool:
        """Waits until a channel may take another message. It says whether that is within the round."""
        last = self.deliveries.way(channel).last_sent
        now = self._now()
        wait = last + MESSAGE_INTERVAL - now if last is not None and last <= now else timedelta()
        if now + wait >= self.end:
            return False
        if wait > timedelta():
            self.paused = max(self.paused, self.clock() - self.started) + wait.total_seconds()
            self.pause(wait.total_seconds())
        return True

    def _send(self, send: Send) -> None:
        way = self.deliveries.way(send.channel)
        after = self.deliveries.with_way(send.channel, way.sent(self._now())).with_done(send.done)
        if way.suspect in self.messages and way.suspect not in send.done:
            after = after.with_strike(send.channel, way.suspect)
        ids = _ids(send.message, send.done) | {"channel": send.channel}
        taken = False
        try:
            with self.outbox.saved_after(after):
                self.channels[send.channel].send(send.message)
                taken = True
            log.info("%s has taken the message: %s", send.channel, send.message.title, extra=ids)
        except ChannelAway as error:
            failed = way.failed(str(error), next(iter(send.done)), error.retry_after, self._now())
            after = self.deliveries.with_way(send.channel, failed)
            log.warning("%s takes no messages: %s", send.channel, error, extra=ids)
        except MessagePostponed as error:
            # The channel is well. It is one person's mailbox that is not, and nobody else waits for it.
            now = self._now()
            after = self.deliveries.with_way(send.channel, way.sent(now))
            after = after.with_postponed(send.channel, send.done, now)
            log.warning("The message %r waits: %s", send.message.title, error, extra=ids)
        except Exception as error:
            if taken or isinstance(error, NoRoom):
                raise
            # A message that one channel cannot take must not keep back those behind it.
            # The error's text is left out: one of a library may hold the channel's address, which is a secret.
            why = type(error).__name__
            log.error("%s does not take the message %r: %s.", send.channel, send.message.title, why, extra=ids)
            after = self.deliveries.with_refused(dict.fromkeys(send.done, (send.channel,)))
        self.deliveries = after
        self.sent += taken
        if not taken:
            with self.outbox.saved_after(after):
                pass

    def _tidy(self) -> None:
        """Takes away what has left, what nobody takes, and what has had no way out for long."""
        plan = self._plan()
        for message in tuple(self.messages.values()):
            refused = plan.is_refused(message)
            left = plan.is_done(message) or (refused and message.id in self.deliveries.done)
            if left or plan.is_over(message, self.messages.values()) or self._is_lost(message):
                self.outbox.finish(message)
            elif refused:
                self.outbox.refuse(message)
                self.refused += 1
            else:
                continue
            del self.messages[message.id]

    def _prune(self) -> None:
        """Once a day: marks of what left long ago are looked for."""
        last, now = self.deliveries.pruned, self._now()
        if last is not None and now < last + timedelta(days=1):
            return
        self.outbox.prune(now)
        self.deliveries = replace(self.deliveries, pruned=now)
        with self.outbox.saved_after(self.deliveries):
            pass

    def _is_lost(self, message: Message) -> bool:
        if targets(message, self.rules, tuple(self.channels)) is not None:
            return False
        if self._now() < message.at + WITHOUT_A_WAY:
            return False
        log.warning("No channel was set up within a week for the message %r.", message.title, extra=_ids(message))
        return True


def _ids(message: Message, of: Iterable[str] = ()) -> dict[str, str]:
    """What a line of the log says of a message besides its words.

    Args:
        of: ids of the messages that it was made of, where they are several.
    """
    return {"message_id": " ".join(of) or message.id, "message_thread": message.thread, "alert": message.event.value}


def _condition(name: str, way: Way, now: datetime) -> Condition:
    return Condition(
        key=_key(name),
        event=Event.CHANNEL_AWAY,
        severity=Severity.WARNING,
        summary=f"The channel {name} takes no messages: {way.error}",
        advice="Messages go to the next channel, or wait. See whether the channel's address, account or token has "
        "changed, and whether this machine reaches it.",
        subjects=(Subject(name),),
        since=way.away_since or now,
    )


def _key(channel: str) -> str:
    return f"{Event.CHANNEL_AWAY}:{channel}"


def _file_name(message: str) -> str:
    """A file's name for a message's id, the same for the same id and for no other."""
    name = quote(message, safe="@+=,: ")
    if len(name) <= LONGEST_NAME and not name.startswith("."):
        return name
    return f"{name.lstrip('.')[:LONGEST_NAME]}~{hashlib.sha256(message.encode('utf-8', 'surrogatepass')).hexdigest()}"
