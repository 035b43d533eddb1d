"""Checks of the channels: whether anybody hears of trouble, and whether messages arrive."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime

from c4_assets.operations.alerts.channel import Channel
from c4_assets.operations.alerts.deliveries import Way
from c4_assets.operations.alerts.records import Message
from c4_assets.operations.doctor.examine import Check
from resources.errors import C4Error
from resources.findings import Finding, Verdict

SECTION = "Channels"


def channel_checks(
    channels: Callable[[], Mapping[str, Channel]],
    ways: Callable[[], Mapping[str, Way]],
    nobody: str,
    test_message: Callable[[str, datetime], Message] | None,
    for_subscribers: Collection[str] = (),
) -> list[Check]:
    """The checks of this section.

    Args:
        channels: those that are set up, by name.
        ways: how the outbox has met each.
        nobody: what to do where there is none.
        test_message: makes a message that is then sent through each channel; without it nothing is sent.
        for_subscribers: channels that no operator reads.
    """
    seen = Check("channels", SECTION, "channels", lambda: _set_up(channels, ways, nobody, for_subscribers))
    if test_message is None:
        return [seen]
    make = test_message
    test = Check(
        "channels.test",
        SECTION,
        "a test message",
        lambda: _sent({name: each for name, each in channels().items() if name not in for_subscribers}, make),
        ("channels",),
    )
    return [seen, test]


def _set_up(
    channels: Callable[[], Mapping[str, Channel]],
    ways: Callable[[], Mapping[str, Way]],
    nobody: str,
    for_subscribers: Collection[str],
) -> Iterator[Finding]:
    try:
        names, met = list(channels()), ways()
    except C4Error as error:
        yield Finding("channels", "the channels of messages cannot be used", Verdict.FAILED, str(error))
        return
    operators = [name for name in names if name not in for_subscribers]
    if names and not operators:
        what = "no operator hears of trouble: the mail server has no recipients, and there is no other channel"
        fix = "Set alerts.email.recipients, or another channel (docs/channels.md). Subscribers get their mails."
        yield Finding("channels", what, Verdict.WARNED, fix)
    elif not names:
        yield Finding("channels", "nobody hears of trouble: no channel is set up", Verdict.WARNED, nobody)
    for name in names:
        way = met.get(name)
        if way and way.away_since:
            what = f"the channel {name} has taken no message since {way.away_since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            yield Finding("channels", what, Verdict.WARNED, f"It said: {way.error} `c4 alerts test` tries it again.")
    if operators:
        yield Finding("channels", f"messages go to {', '.join(operators)} (`c4 doctor --send-test` sends one)")


def _sent(channels: Mapping[str, Channel], make: Callable[[str, datetime], Message]) -> Iterator[Finding]:
    for name, channel in channels.items():
        id_ = f"channels.{name}"
        try:
            channel.send(make(name, datetime.now(UTC)))
        except Exception as error:  # it is away, or refuses: the other channels are tried all the same
            why = str(error) or type(error).__name__
            yield Finding(id_, f"the test message to {name} was not taken", Verdict.FAILED, why)
        else:
            yield Finding(id_, f"a test message was sent to {name}: see that it has arrived")
