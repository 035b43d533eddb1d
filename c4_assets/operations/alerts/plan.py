"""What an outbox sends next, and on which channel. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from c4_assets.operations.alerts.deliveries import Deliveries
from c4_assets.operations.alerts.merging import MOST_AT_ONCE, as_a_list, can_be_listed, of_one_incident
from c4_assets.operations.alerts.records import Change, Message
from c4_assets.operations.alerts.routing import in_order, is_about, is_held, targets
from c4_assets.operations.alerts.rules import Rules


@dataclass(frozen=True)
class Send:
    """One send.

    Attributes:
        message: what is sent: a waiting message, or one made of several.
        done: the channels that each waiting message need not go to any more when it was taken, by the message's id.
    """

    channel: str
    message: Message
    done: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Entry:
    """A waiting message on a channel, in place of those in ``serves``."""

    message: Message
    serves: tuple[str, ...]


class Plan:
    """What is to be sent of what waits, given the site's rules and what is remembered.

    Args:
        names: channels that are set up.
    """

    def __init__(self, rules: Rules, names: Sequence[str], deliveries: Deliveries) -> None:
        self.rules, self.names, self.deliveries = rules, names, deliveries
        self.order = in_order(rules, names)

    def is_done(self, message: Message) -> bool:
        """Whether a message has gone wherever it was to go, or nobody is to hear of it."""
        wanted = targets(message, self.rules, self.names)
        return wanted is not None and set(wanted) <= set(self.deliveries.done.get(message.id, ()))

    def is_over(self, message: Message, waiting: Collection[Message]) -> bool:
        """Whether a message tells that a channel is away that takes messages again, or that is to be told by now.

        Where it is the only channel, such a message has no way out; on another, it would be wrong by now.
        """
        if not any(is_about(message, each.name) for each in message.subjects):
            return False
        if any(each.thread == message.thread and each.change is Change.RECOVERED for each in waiting):
            return True
        return all(self.deliveries.way(each.name).away_since is None for each in message.subjects)

    def is_refused(self, message: Message) -> bool:
        """Whether no channel that is left for a message will ever take it."""
        wanted = targets(message, self.rules, self.names)
        if not wanted or self.is_done(message):
            return False
        refused, done = self._refused(message), self.deliveries.done.get(message.id, ())
        return all(
            name in done or (name in refused and not self._others(message, wanted, healthy_at=None)) for name in wanted
        )

    def next_send(self, waiting: Sequence[Message], now: datetime) -> Send | None:
        """The next send, if one is due."""
        for name in dict.fromkeys((*self.order, *self.names)):
            if not self.deliveries.way(name).is_ready(now):
                continue
            entries = [entry for message in waiting if (entry := self._entry(message, name, now))]
            if entries:
                return self._first_send(name, entries)
        return None

    def _entry(self, message: Message, channel: str, now: datetime) -> _Entry | None:
        if is_held(message, self.rules, now) or is_about(message, channel):
            return None
        if self.deliveries.is_postponed(message.id, now):
            return None
        wanted = targets(message, self.rules, self.names) or ()
        done = self.deliveries.done.get(message.id, ())
        serves = tuple(
            name for name in wanted if name not in done and self._channel_for(message, name, wanted, now) == channel
        )
        return _Entry(message, serves) if serves else None

    def _channel_for(self, message: Message, name: str, wanted: Sequence[str], now: datetime) -> str | None:
        """The channel on which a message goes now that is to go to another, which may be away or refuse it."""
        way = self.deliveries.way(name)
        cannot = name in self._refused(message) or is_about(message, name)
        if not cannot and way.is_ready(now):
            return name
        if not cannot and not way.is_away_for(self.rules.away, now):
            return None
        return next(iter(self._others(message, wanted, healthy_at=now)), None)

    def _others(self, message: Message, wanted: Sequence[str], healthy_at: datetime | None) -> list[str]:
        """Channels that can take a message in place of one of its own."""
        if message.recipients:
            return []
        never = {*wanted, *self._refused(message), *self.deliveries.done.get(message.id, ())}
        others = [name for name in self.order if name not in never]
        if healthy_at is None:
            return others
        ready = [name for name in others if self.deliveries.way(name).is_ready(healthy_at)]
        return sorted(ready, key=lambda name: self.deliveries.way(name).away_since is not None)

    def _refused(self, message: Message) -> tuple[str, ...]:
        return self.deliveries.refused.get(message.id, ())

    def _first_send(self, channel: str, entries: Sequence[_Entry]) -> Send:
        """The first send of what waits for a channel."""
        threads: dict[str, list[_Entry]] = {}
        for entry in entries:
            threads.setdefault(entry.message.thread, []).append(entry)
        groups = [self._of_thread(group) for group in threads.values()]
        listed = [group for group in groups if can_be_listed(group[0])]
        quiet = [group for group in listed if self._has_been_quiet(group)]
        many = listed[: max(0, len(listed) - MOST_AT_ONCE)]
        together = quiet if len(quiet) > len(many) else many
        # It may be the first message that a channel chokes on, and not the channel that is away: others pass it by.
        aside = len(groups) > 1 and self.deliveries.way(channel).is_tried_aside
        if not aside and len(together) > 1 and can_be_listed(groups[0][0]):
            message = as_a_list([message for message, _ in together], self.rules)
            return _as_send(channel, message, [entry for _, group in together for entry in group])
        message, group = groups[1 if aside else 0]
        return _as_send(channel, message, group)

    def _of_thread(self, entries: Sequence[_Entry]) -> tuple[Message, Sequence[_Entry]]:
        """What is sent of the messages of an incident that wait together."""
        first = entries[0].message
        if first.change is Change.TOLD or not can_be_listed(first):
            return first, entries[:1]
        return of_one_incident([entry.message for entry in entries], self.rules), entries

    def _has_been_quiet(self, group: tuple[Message, Sequence[_Entry]]) -> bool:
        return any(is_held(entry.message, self.rules, entry.message.at) for entry in group[1])


def _as_send(channel: str, message: Message, entries: Sequence[_Entry]) -> Send:
    return Send(channel, message, {entry.message.id: (channel, *entry.serves) for entry in entries})
