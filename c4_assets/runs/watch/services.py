"""Database, image store and Slurm: asked at intervals, and more often while one does not answer."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus as Status

from c4_assets.operations.alerts.conditions import EVENTS, service_away
from c4_assets.operations.alerts.records import Observation, Subject
from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.watch.intervals import is_time
from c4_assets.runs.watch.outages import OUTAGE_OBSERVERS, Outage, answered, met, outages
from c4_assets.runs.watch.probes import PROBES, Probe, ask
from c4_assets.runs.watch.subjects import subject_of
from resources.errors import Service
from resources.image_store import is_folder
from resources.settings import Settings

ASKED_EVERY: Mapping[Service, timedelta] = {
    "database": timedelta(minutes=1),
    "store": timedelta(minutes=5),
    "slurm": timedelta(minutes=5),
}
"""Intervals while a service answers. A question to the store may be a login over ssh, which its host writes into a log.
While a service does not answer, each look asks it."""

WAITING_STATUSES = [Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED]

COUNTED_RUNS = 10_000
"""Runs that are read at most: as many take a third of a second."""


def services_of(settings: Settings) -> Mapping[Service, Probe]:
    """The services that this deployment has, each with a question to it."""
    return {service: probe for service, probe in PROBES.items() if service != "slurm" or settings.slurm is not None}


def look_at_services(
    instance: dg.DagsterInstance,
    settings: Settings,
    cursor: Mapping[str, str],
    now: datetime,
    url: str = "",
    probes: Mapping[Service, Probe] | None = None,
) -> tuple[Observation, dict[str, str]]:
    """Asks the services whose turn it is, and tells which do not answer, whether the watch or a step has met that.

    Args:
        cursor: when each service was asked last.
        probes: questions; by default those of :func:`services_of`.

    Returns:
        What was observed, and the cursor for the next look.
    """
    had = services_of(settings)
    wanted = had if probes is None else probes
    # A cluster that is taken out of the settings while it is away would be away for ever: nobody asks it.
    gone: list[Service] = [service for service in EVENTS if service not in had]
    if gone:
        for observer in OUTAGE_OBSERVERS:
            answered(instance, gone, observer)
    away = {outage.service for outage in outages(instance, now)}
    due: dict[Service, Probe] = {
        service: probe for service, probe in wanted.items() if service in away or _is_due(service, cursor, now)
    }
    for service, error in ask(due, settings).items():
        if error is None:
            answered(instance, [service], "watch")
        else:
            met(instance, service, "watch", str(error), now)
    asked = {**cursor, **{service: now.isoformat() for service in due}}
    first: dict[Service, Outage] = {}
    for outage in sorted(outages(instance, now), key=lambda each: each.since):
        first.setdefault(outage.service, outage)
    waiting = _waiting_runs(instance, url) if first else ()
    folder: set[Service] = {"store"} if is_folder(settings.store.url) else set()
    return (
        Observation(
            holding=tuple(
                service_away(
                    each.service,
                    each.why,
                    each.since,
                    waiting,
                    at_steps=each.observer == "steps",
                    is_folder=each.service in folder,
                )
                for each in first.values()
            ),
            looked_at=frozenset(str(EVENTS[service]) for service in (*wanted, *gone)),
        ),
        asked,
    )


def _is_due(service: Service, cursor: Mapping[str, str], now: datetime) -> bool:
    last = cursor.get(service)
    return last is None or is_time(ASKED_EVERY[service], last, now)


def _waiting_runs(instance: dg.DagsterInstance, url: str) -> tuple[Subject, ...]:
    """The runs of C4 that are queued or started."""
    runs = instance.get_runs(dg.RunsFilter(statuses=WAITING_STATUSES), limit=COUNTED_RUNS)
    return tuple(subject_of(run, url) for run in runs if is_of_c4(run))
