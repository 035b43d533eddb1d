"""What a site decides of its messages: how long things wait, which channels they go to, when it is quiet."""

from dataclasses import dataclass
from datetime import UTC, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from resources.settings.alerts import CHANNELS, Alerts, Route, hours_of


@dataclass(frozen=True)
class Rules:
    """How incidents are told. The words for times are those of Prometheus' Alertmanager.

    Attributes:
        group_wait: how long an incident waits for what belongs to it.
        group_interval: shortest time between two messages of a growing incident.
        repeat_interval: when what still holds is told again.
        away: how long something must be unreachable before it is told.
        quiet: first and last time of the quiet hours, in ``zone``.
        for_subscribers: channels that have no readers of their own: they take only what is for certain people.
    """

    group_wait: timedelta = timedelta(seconds=60)
    group_interval: timedelta = timedelta(minutes=15)
    repeat_interval: timedelta = timedelta(hours=12)
    away: timedelta = timedelta(minutes=10)
    routes: tuple[Route, ...] = ()
    order: tuple[str, ...] = CHANNELS
    quiet: tuple[time, time] | None = None
    zone: tzinfo = UTC
    for_subscribers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Alerts) -> "Rules":
        """The rules that the settings state."""
        return cls(
            group_wait=timedelta(seconds=settings.group_wait_seconds),
            group_interval=timedelta(minutes=settings.group_interval_minutes),
            repeat_interval=timedelta(hours=settings.repeat_hours),
            away=timedelta(minutes=settings.away_minutes),
            routes=settings.routes,
            order=settings.order,
            quiet=hours_of(settings.quiet_hours) if settings.quiet_hours else None,
            zone=ZoneInfo(settings.time_zone),
            for_subscribers=for_subscribers(settings),
        )


def for_subscribers(settings: Alerts) -> frozenset[str]:
    """The channels that no operator reads: a mail server without recipients, which is there for subscribers alone."""
    return frozenset({"email"} if settings.email is not None and not settings.email.recipients else ())
