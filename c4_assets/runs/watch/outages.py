"""Since when a service does not answer: noted by whoever meets that, on whatever machine, and by the watch itself.

A database that is away fails no run of a backfill, whose steps wait for days, and no tick of the sensor at first. So
nothing that Dagster keeps says since when it is away.
"""

import json
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import dagster as dg

from c4_assets.runs.dagster_storage import forget_values, values_below
from resources.errors import Service

log = logging.getLogger("c4.watch")

OUTAGE_KEYS = "c4/outage/"

SERVICE_KEY = "service that does not answer"
"""In the metadata of a step's failure."""

Observer = Literal["watch", "steps"]
"""Who has met it: the watch, beside the daemon, or steps, which may run on machines that reach less."""

OUTAGE_OBSERVERS: tuple[Observer, ...] = ("watch", "steps")

BELIEVED_FOR = timedelta(minutes=15)
"""Time for which a note of a step is believed: a step that waits looks again after five minutes at most. The
clock of its machine may be ahead."""


@dataclass(frozen=True)
class Outage:
    """A service that does not answer."""

    service: Service
    observer: Observer
    since: datetime
    last: datetime
    why: str


def met(instance: dg.DagsterInstance, service: Service, observer: Observer, why: str, now: datetime) -> Outage:
    """Notes that a service did not answer. An outage that goes on keeps the time at which it began."""
    key = f"{OUTAGE_KEYS}{service}/{observer}"
    before = _outage(key, instance.run_storage.get_cursor_values({key}).get(key, ""))
    goes_on = before is not None and (observer == "watch" or abs(now - before.last) <= BELIEVED_FOR)
    outage = Outage(service, observer, before.since if before and goes_on else now, now, why)
    value = {"since": outage.since.isoformat(), "last": now.isoformat(), "why": why[:1000]}
    instance.run_storage.set_cursor_values({key: json.dumps(value)})
    return outage


def answered(instance: dg.DagsterInstance, services: Collection[Service], observer: Observer) -> None:
    """Notes that services answer. It costs one look where nothing is noted."""
    keys = {f"{OUTAGE_KEYS}{service}/{observer}" for service in services}
    if keys and (there := instance.run_storage.get_cursor_values(keys)):
        forget_values(instance, sorted(there))


def outages(instance: dg.DagsterInstance, now: datetime) -> list[Outage]:
    """The outages that are noted and to be believed, in the order of services."""
    found = [_outage(key, value) for key, value in sorted(values_below(instance, OUTAGE_KEYS).items())]
    return [each for each in found if each and (each.observer == "watch" or abs(now - each.last) <= BELIEVED_FOR)]


def met_by_step(instance: dg.DagsterInstance, service: Service | None, why: str) -> None:
    """Notes what a step has met. That it cannot be noted must not hide what is to be noted."""
    if service is not None:
        try:
            met(instance, service, "steps", why, datetime.now(UTC))
        except Exception as error:  # Dagster's storages raise whatever their drivers do
            log.warning("that %s did not answer could not be noted: %s", service, error)


def answered_to_step(instance: dg.DagsterInstance, pool: str | None) -> None:
    """Notes that the database has answered a step of a pool, all of which ask it.

    A note that the store does not answer goes by its age alone: a step with nothing to fetch has not asked it.
    """
    if pool is not None:
        with suppress(Exception):  # the note is believed for a quarter of an hour only
            answered(instance, ["database"], "steps")


def _outage(key: str, value: str) -> Outage | None:
    with suppress(ValueError, TypeError, KeyError):
        noted = json.loads(value)
        service, _, observer = key.removeprefix(OUTAGE_KEYS).partition("/")
        since, last = (datetime.fromisoformat(noted[name]) for name in ("since", "last"))
        return Outage(cast("Service", service), cast("Observer", observer), since, last, str(noted["why"]))
    return None
