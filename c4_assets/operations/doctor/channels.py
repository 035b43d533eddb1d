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
    try:
        opened = channels()
    except C4Error:  # that is said by the check before
        return [seen]
    tests = [_test(name, channel, test_message) for name, channel in opened.items() if name not in for_subscribers]
    return [seen, *tests]


def _test(name: str, channel: Channel, make: Callable[[str, datetime], Message]) -> Check:
    """A channel is tested by itself, so that one that hangs keeps no other from it."""
    id_ = f"channels.{name}"

    def send() -> Iterator[Finding]:
        try:
            channel.send(make(name, datetime.now(UTC)))
        except Exception as error:  # it is away, or refuses
            why = str(error) or type(error).__name__
            yield Finding(id_, f"the test message to {name} was not taken", Verdict.FAILED, why)
        else:
            yield Finding(id_, f"a test message was sent to {name}: see that it has arrived")

    silence = "It takes connections and says nothing, or is not reached: see whether its server is up."
    return Check(id_, SECTION, f"a test message to {name}", send, ("channels",), silence=silence)


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
