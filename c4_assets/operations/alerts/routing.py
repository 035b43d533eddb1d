"""Which channels a message goes to, and whether it is sent now or waits for the end of quiet hours. Pure."""

from collections.abc import Collection, Iterable
from datetime import datetime

from c4_assets.operations.alerts.records import Change, Event, Message, Severity
from c4_assets.operations.alerts.rules import Rules
from resources.settings.alerts import Route


def expanded(kinds: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Channels by their kinds, in the kinds' order: ``apprise`` stands for ``apprise-1`` and ``apprise-2``."""
    there = tuple(names)
    found = [name for kind in kinds for name in there if name == kind or name.partition("-")[0] == kind]
    return tuple(dict.fromkeys(found))


def in_order(rules: Rules, names: Iterable[str]) -> tuple[str, ...]:
    """The operators' channels in the order of falling back; as they come, if the order names none of them."""
    there = tuple(name for name in names if name not in rules.for_subscribers)
    return expanded(rules.order, there) or there


def route_of(message: Message, rules: Rules) -> Route | None:
    """The first route that fits a message."""
    for route in rules.routes:
        bad_enough = message.severity.rank >= Severity(route.least).rank
        if bad_enough and (not route.events or message.event in route.events):
            return route
    return None


def targets(message: Message, rules: Rules, names: Collection[str]) -> tuple[str, ...] | None:
    """The channels that a message is to go to: none if the site wants it told to nobody, ``None`` if there is no way.

    What is for certain people goes by mail, or not at all: other channels have readers of their own. A channel that has
    none takes nothing else.
    """
    route = route_of(message, rules)
    if route and not route.channels:
        return ()
    if message.recipients:
        return expanded(("email",), names) or None
    operators = in_order(rules, names)
    named = [name for name in expanded(route.channels, names) if name not in rules.for_subscribers] if route else ()
    return tuple(named) or operators[:1] or None


def is_quiet(now: datetime, rules: Rules) -> bool:
    """Whether a moment is within quiet hours. Where clocks are put back or forward, the wall clock counts."""
    if rules.quiet is None:
        return False
    first, last = rules.quiet
    clock = now.astimezone(rules.zone).time()
    return first <= clock < last if first < last else clock >= first or clock < last


def is_held(message: Message, rules: Rules, now: datetime) -> bool:
    """Whether a message waits for the end of quiet hours.

    Errors pass, and what is for certain people, and tests, unless a route says otherwise.
    """
    if not is_quiet(now, rules) or message.event is Event.TEST:
        return False
    route = route_of(message, rules)
    if route and route.quiet is not None:
        return route.quiet
    return message.severity is not Severity.ERROR and not message.recipients


def is_about(message: Message, channel: str) -> bool:
    """Whether a message tells that a channel has gone away: it makes no sense on this channel."""
    named = {subject.name for subject in message.subjects}
    return message.event is Event.CHANNEL_AWAY and message.change is not Change.RECOVERED and channel in named
