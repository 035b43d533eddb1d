"""The section ``alerts``: who hears of what, how, and when."""

import re
from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from resources.settings.types import Section, Texts, as_in_the_file

EventName = Literal[
    "run-failed",
    "check-failed",
    "images-given-up",
    "database-away",
    "store-away",
    "slurm-away",
    "nothing-imaged",
    "sensor-failed",
    "daemon-silent",
    "disk-filling",
    "staging-full",
    "asset-stale",
    "channel-away",
    "digest",
    "crystals-found",
    "test",
]

CHANNELS = ("slack", "email", "webhook", "apprise")
"""Kinds of channels. ``apprise`` stands for all addresses of that setting, ``apprise-2`` for the second."""


def _addresses(value: object) -> object:
    """Addresses from a variable or a file: a list as in ``c4.toml``, or words, such as one a line."""
    return value.split() if isinstance(value, str) and not value.lstrip().startswith("[") else as_in_the_file(value)


def _web_address(secret: SecretStr | None) -> SecretStr | None:
    if secret is None:
        return None
    address = secret.get_secret_value()
    if not (re.fullmatch(r"https?://[^\s/]+(/\S*)?", address) and address.isprintable()):
        raise ValueError("must be one address, without spaces, that begins with https:// or http://")
    return secret


def _channels(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"slack|email|webhook|apprise(-[1-9]\d*)?", name):
            raise ValueError(f"must be a list of channels: {', '.join(CHANNELS)}, or apprise-2 for its second address")
    return names


def _hours(text: str) -> str:
    try:
        hours_of(text)
    except ValueError:
        raise ValueError('must be two times of day like "22:00-07:00"') from None
    return text


def hours_of(text: str) -> tuple[time, time]:
    """First and last time of a span of hours such as ``22:00-07:00``.

    Raises:
        ValueError: it is none.
    """
    first, last = (time.fromisoformat(part.strip()) for part in text.split("-"))
    if first == last:
        raise ValueError("an empty span")
    return first, last


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("must be a time zone like Europe/London") from None
    return name


WebAddress = Annotated[SecretStr | None, AfterValidator(_web_address)]
Channels = Annotated[Texts, AfterValidator(_channels)]


class Email(Section):
    """The mail server that takes messages, and who gets them."""

    host: str = Field(min_length=1, description="The mail server (SMTP).", examples=["mail.facility.org"])
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Its port. Without: 587, with tls 465, with none 25.",
        examples=[587],
    )
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="How the connection is secured: STARTTLS, TLS from the first byte, or not at all, for a server on "
        "this machine. A password is never sent unsecured.",
    )
    user: str | None = Field(default=None, description="Who logs in. Without: nobody does.", examples=["c4"])
    password: SecretStr | None = Field(default=None, description="Their password.")
    sender: str = Field(description="The address that mails come from.", examples=["c4@facility.org"])
    recipients: Texts = Field(
        default=(),
        description="Addresses of the operators. Mails to those who subscribed to plates go to them, and not here.",
        examples=[["operators@facility.org"]],
    )


class Route(Section):
    """Which messages go where. The first route that fits a message decides."""

    events: Annotated[tuple[EventName, ...], BeforeValidator(as_in_the_file)] = Field(
        default=(), description="Events that it is for. Without: all of them."
    )
    least: Literal["progress", "warning", "error"] = Field(
        default="progress", description="How bad a message must at least be."
    )
    channels: Channels = Field(
        description="Where its messages go: to each of these channels. An empty list: nobody hears of them."
    )
    quiet: bool | None = Field(
        default=None,
        description="Whether quiet hours hold its messages back. Without: all but errors are held back.",
    )


class Alerts(Section):
    """Messages to operators: over which channels, what of, how often."""

    slack_webhook: WebAddress = Field(
        default=None, description="Address of an incoming webhook of Slack, or of what understands the same payload."
    )
    slack_token: SecretStr | None = Field(
        default=None,
        description="Token of a Slack app (xoxb-…), in place of a webhook: it can group an incident's messages in a "
        "thread and show pictures.",
    )
    slack_channel: str | None = Field(
        default=None, description="Where the app with slack_token posts.", examples=["#crystallisation"]
    )
    email: Email | None = Field(default=None, description="The mail server that takes messages, and who gets them.")
    webhook: WebAddress = Field(
        default=None, description="Address that gets each message as JSON (POST), for what a site has of its own."
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="What the webhook's messages are signed with (docs/channels.md)."
    )
    apprise: Annotated[tuple[SecretStr, ...], BeforeValidator(_addresses)] = Field(
        default=(), description="Addresses as Apprise knows them, for Teams and everything else: a list, or one a line."
    )
    order: Channels = Field(
        default=CHANNELS,
        description="The order of channels. A message that no route fits goes to the first that is set up, and one "
        "whose channel is away to the next.",
    )
    routes: Annotated[tuple[Route, ...], BeforeValidator(as_in_the_file)] = Field(
        default=(),
        description="Tables [[alerts.routes]] with events, least, channels and quiet: which messages go where "
        "(docs/alerts.md).",
        examples=[[{"events": ["digest"], "channels": ["email"]}, {"least": "error", "channels": ["slack", "email"]}]],
    )
    quiet_hours: Annotated[str, AfterValidator(_hours)] | None = Field(
        default=None,
        description="When only errors are sent; what is milder waits until their end. Without: never.",
        examples=["22:00-07:00"],
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC",
        description="The time zone of quiet_hours and digest_at, and of times in messages.",
    )
    group_wait_seconds: float = Field(
        default=60, ge=0, description="How long an incident waits before it is told, for what belongs to it to come."
    )
    group_interval_minutes: float = Field(
        default=15,
        gt=0,
        description="Shortest time between two messages of an incident that grows. Each further one waits twice as "
        "long as the last.",
    )
    repeat_hours: float = Field(
        default=12,
        gt=0,
        description="When what still holds is told again. Each further time after twice as long, at most a week.",
    )
    away_minutes: float = Field(
        default=10,
        ge=0,
        description="How long database, store, Slurm or a channel must be unreachable before it is told, and how long "
        "a message waits for its channel before it goes to the next one.",
    )
    heartbeat_url: WebAddress = Field(
        default=None,
        description="Address that is asked for (GET) every five minutes while all is well, such as a monitor "
        "of Healthchecks, which tells people when nobody asks any more: a dead host sends no message.",
    )
    ui_url: str | None = Field(
        default=None,
        description="Where people find Dagster's UI: links in messages lead there.",
        examples=["https://c4.facility.org"],
    )
    handbook_url: str | None = Field(
        default=None,
        description="Where people find the operator's handbook: the address of a page, with {page} for its name "
        "(…/{page}.md where files are served as they are), or the folder of rendered pages. Without: pages are named.",
        examples=["https://docs.facility.org/c4/handbook/{page}.html"],
    )
    digest_at: int = Field(
        default=8, ge=0, le=23, description="The hour of the daily digest. It is sent where a channel is set up."
    )
