"""``c4 alerts``: are operators reached, what is wrong now, and which messages wait."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from c4_assets.command.console import console, print_error
from c4_assets.command.findings import print_findings
from resources.errors import ConfigurationError
from resources.findings import Finding, Verdict
from resources.settings import Settings
from resources.wording import counted

if TYPE_CHECKING:
    from c4_assets.operations.alerts.channel import Channel
    from c4_assets.operations.alerts.deliveries import Way
    from c4_assets.operations.alerts.incident import Incident
    from c4_assets.operations.alerts.records import Message

NO_CHANNEL = (
    "No channel is set up, so nobody hears of anything. Set alerts.slack_webhook, alerts.email, alerts.webhook or "
    "alerts.apprise: docs/channels.md says how."
)

NOTHING_SENT = "set up; nothing was sent yet, tests apart"

log = logging.getLogger("c4.alerts")

app = typer.Typer(help="Look after messages to operators: Slack, e-mail and others.", no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """Look after messages to operators: Slack, e-mail and others."""


@app.command()
def test(
    channel: Annotated[
        str | None, typer.Option(help="Only this one: slack, email, webhook, apprise, or apprise-2 for its second.")
    ] = None,
) -> None:
    """Send a test message through each channel now, and say what happened."""
    from c4_assets.operations.alerts.records import ChannelAway
    from c4_assets.operations.channels.sending import MessageRefused

    settings = Settings.from_environment()
    channels = _chosen(opened_channels(settings), channel)
    failed = 0
    for name, each in channels.items():
        try:
            each.send(test_message(name, datetime.now(UTC)))
        except (ChannelAway, MessageRefused) as error:
            failed += 1
            after = error.retry_after if isinstance(error, ChannelAway) else None
            told = f"{error}" + (f" It wants to be asked again in {after:.0f} s." if after else "")
            found = Finding(f"channels.{name}", told, Verdict.FAILED)
            log.info("a test message has failed: %s", told, extra={"channel": name})
        else:
            found = Finding(f"channels.{name}", f"{name}: sent")
            log.info("%s has taken a test message", name, extra={"channel": name})
        print_findings(console, [found])
    if failed < len(channels) and (handbook := settings.alerts.handbook_url):
        _say_where_the_message_links(handbook)
    if failed:
        raise typer.Exit(1)


@app.command("list")
def list_() -> None:
    """Show what is wrong now as it was told, the messages that wait, and how the channels are."""
    from c4_assets.operations.alerts.state import alerts_folder, load, outbox_of
    from c4_assets.operations.channels.words import clean

    settings = Settings.from_environment()
    folder = alerts_folder(settings.home)
    zone = ZoneInfo(settings.alerts.time_zone)
    incidents = [each for each in load(folder).state.incidents if each.ended is None]
    typer.echo(f"{counted(len(incidents), 'incident')} open." if incidents else "Nothing is wrong that C4 knows of.")
    for incident in incidents:
        typer.echo(f"  {_incident(incident, zone)}")
    outbox = outbox_of(folder)
    waiting = outbox.waiting()
    typer.echo(f"{counted(len(waiting), 'message')} waiting." if waiting else "No message waits.")
    for message in waiting:
        typer.echo(f"  {_minute(message.at, zone)}  {message.severity.value:8}  {clean(message.title)}")
    ways, channels = outbox.load().ways, opened_channels(settings)
    if not channels:
        typer.echo(NO_CHANNEL)
    for name in channels:
        typer.echo(f"  {name:10}  {_way(ways.get(name), zone)}")


@app.command()
def send() -> None:
    """Send now what waits and is due, as the sensor `messages` does. Quiet hours and routes hold."""
    from c4_assets.operations.alerts.rules import Rules
    from c4_assets.operations.alerts.state import alerts_folder, outbox_of

    settings = Settings.from_environment()
    outbox = outbox_of(alerts_folder(settings.home))
    channels = opened_channels(settings)
    if not channels:
        raise ConfigurationError(f"{NO_CHANNEL} {counted(outbox.count(), 'message')} waiting.")
    done = outbox.deliver(list(channels.values()), Rules.of(settings.alerts), datetime.now(UTC))
    if done.busy:
        typer.echo(f"Another process is sending. {counted(done.waiting, 'message')} waiting.")
        return
    typer.echo(f"{counted(done.sent, 'message')} sent, {done.waiting} waiting, {done.refused} that no channel takes.")
    for error in done.errors.values():
        print_error("Away", error)
    if done.errors or done.refused:
        raise typer.Exit(1)


def opened_channels(settings: Settings) -> Mapping[str, "Channel"]:
    """The channels that are set up, by name."""
    from c4_assets.operations.alerts.state import alerts_folder
    from c4_assets.operations.channels import open_channels

    return open_channels(settings.alerts, alerts_folder(settings.home))


def _chosen(channels: Mapping[str, "Channel"], channel: str | None) -> Mapping[str, "Channel"]:
    from c4_assets.operations.alerts.routing import expanded

    if not channels:
        raise ConfigurationError(NO_CHANNEL)
    names = expanded((channel,), channels) if channel else tuple(channels)
    if not names:
        raise ConfigurationError(f"There is no channel {channel}. Those that are set up: {', '.join(channels)}.")
    return {name: channels[name] for name in names}


def test_message(channel: str, now: datetime) -> "Message":
    """A message of its own each time: it is no news that is told once."""
    import socket

    from c4_assets.operations.alerts.records import Change, Event, Message, Severity

    key = f"test:{channel}:{now.isoformat()}"
    return Message(
        id=key,
        thread=key,
        change=Change.TOLD,
        event=Event.TEST,
        severity=Severity.PROGRESS,
        at=now,
        title="A test: messages of C4 arrive here",
        lines=(f"Somebody ran `c4 alerts test` on {socket.gethostname()}. Nothing is wrong.",),
        page=Event.TEST.value,
    )


def _say_where_the_message_links(handbook: str) -> None:
    from c4_assets.operations.alerts.records import Event
    from c4_assets.operations.channels.words import Place

    page = Place(handbook).page(Event.TEST.value)
    said = f"The message links to {page}: see that it opens." if page else "alerts.handbook_url is no web address."
    console.print(said, soft_wrap=True, markup=False, highlight=False)


def _incident(incident: "Incident", zone: ZoneInfo) -> str:
    from c4_assets.operations.channels.words import clean

    condition = incident.condition
    counted = f", {incident.count:,} times" if incident.count > 1 and not incident.holds else ""
    told = "told" if incident.told else "not told yet"
    since = _minute(incident.opened, zone)
    return f"{since}  {condition.severity.value:8}  {clean(condition.summary)} ({condition.key}{counted}, {told})"


def _way(way: "Way | None", zone: ZoneInfo) -> str:
    if way is None:
        return NOTHING_SENT
    if way.away_since is None:
        return f"last sent {_minute(way.last_sent, zone)}" if way.last_sent else NOTHING_SENT
    again = f"; asked again at {_minute(way.next_try, zone)}" if way.next_try else ""
    return f"away since {_minute(way.away_since, zone)}{again}: {way.error}"


def _minute(time: datetime, zone: ZoneInfo) -> str:
    from c4_assets.operations.channels.words import Place

    return Place(zone=zone).minute(time)
