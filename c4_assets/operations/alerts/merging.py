"""Messages that have waited: those of one incident become one, and many become a list. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from c4_assets.operations.alerts.records import Change, Event, Message
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.wording import clock

MOST_AT_ONCE = 10
"""Messages that a channel gets one by one after it was away; the older ones become one."""

MESSAGES_LISTED = 25
"""Messages that a list names. A channel may cut it further."""


def can_be_listed(message: Message) -> bool:
    """Whether a message may become a line of a list: not where people want to see it whole."""
    whole = message.event in (Event.DIGEST, Event.CRYSTALS_FOUND, Event.TEST)
    return not (whole or message.recipients or message.pictures)


def of_one_incident(messages: Sequence[Message], rules: Rules) -> Message:
    """The last of an incident's messages, which tells what those before it would have told.

    An incident that people have not heard of is opened by it, or was over before they heard.
    """
    first, last = messages[0], messages[-1]
    if len(messages) == 1:
        return last
    change = Change.OPENED if first.change is Change.OPENED and last.change is not Change.RECOVERED else last.change
    before = f"{clock(first.at, rules.zone)}: {first.title}"
    severity = max((message.severity for message in messages), key=lambda each: each.rank)
    return replace(last, change=change, severity=severity, lines=(before, *last.lines))


def as_a_list(messages: Sequence[Message], rules: Rules) -> Message:
    """Many messages as one that names the titles of the newest."""
    if len(messages) == 1:
        return messages[0]
    worst = max(messages, key=lambda message: message.severity.rank)
    events = {message.event for message in messages}
    named = [f"{clock(message.at, rules.zone)}: {message.title}" for message in messages[-MESSAGES_LISTED:]]
    left = len(messages) - len(named)
    name = f"list.{messages[-1].id}"
    return Message(
        id=name,
        thread=name,
        change=Change.TOLD,
        event=worst.event,
        severity=worst.severity,
        at=messages[-1].at,
        title=f"{len(messages)} messages have waited",
        lines=(*((f"{left} older ones are not named.",) if left else ()), *named),
        page=worst.page if len(events) == 1 else "",
    )
