"""The ways on which messages leave: Slack, e-mail, a webhook, and all that Apprise knows (docs/channels.md)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from c4_assets.operations.alerts.channel import Channel
    from resources.settings.alerts import Alerts


def open_channels(alerts: "Alerts", folder: Path | None = None) -> Mapping[str, "Channel"]:
    """The channels that the settings name, by their names, in the order of the settings. Nothing is asked yet.

    Args:
        folder: where threads of Slack are remembered; without, there are none.
    """
    from c4_assets.operations.channels.apprise_channel import AppriseChannel
    from c4_assets.operations.channels.slack import SlackBot, SlackWebhook, thread_file
    from c4_assets.operations.channels.smtp import Mailer
    from c4_assets.operations.channels.threads import Threads
    from c4_assets.operations.channels.webhook import Webhook
    from c4_assets.operations.channels.words import Place

    place = Place(alerts.handbook_url or "", ZoneInfo(alerts.time_zone))
    found: list[Channel] = []
    if alerts.slack_token is not None and alerts.slack_channel:
        threads = Threads(thread_file(folder)) if folder else None
        found.append(SlackBot("slack", alerts.slack_token, alerts.slack_channel, place, threads))
    elif alerts.slack_webhook is not None:
        found.append(SlackWebhook("slack", alerts.slack_webhook, place))
    if alerts.email is not None:
        found.append(Mailer("email", alerts.email, place))
    if alerts.webhook is not None:
        found.append(Webhook("webhook", alerts.webhook, alerts.webhook_secret, place))
    numbered = len(alerts.apprise) > 1
    for number, url in enumerate(alerts.apprise, 1):
        found.append(AppriseChannel(f"apprise-{number}" if numbered else "apprise", url, place))
    return {each.name: each for each in sorted(found, key=lambda each: _place_in(alerts.order, each.name))}


def operators_channels(alerts: "Alerts") -> tuple[str, ...]:
    """Names of the channels that operators read, in the order of the settings: not a mail server for subscribers."""
    from c4_assets.operations.alerts.rules import for_subscribers

    return tuple(name for name in open_channels(alerts) if name not in for_subscribers(alerts))


def _place_in(order: tuple[str, ...], name: str) -> int:
    kind = name.partition("-")[0]
    return next((place for place, each in enumerate(order) if each in (name, kind)), len(order))
