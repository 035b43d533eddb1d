"""Short questions to the services that a deployment rests on, bounded in time whatever they do."""

from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy import literal, select

from c4_assets.operations.alerts.conditions import NAMES
from c4_assets.runs.watch.bounded import answers_within
from resources.errors import C4Error, Service, Unavailable
from resources.image_store import open_image_store
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.newest import newest_path
from resources.records import Problem
from resources.settings import Settings
from resources.ssh import SshAccess

PROBE_S = 10
"""Longest wait for one answer, and for all of them together, in seconds: a tick of the watch may take 60."""

Probe = Callable[[Settings], None]

_FETCHED: dict[str, str | None] = {}
"""What a store was asked for last; ``None`` where no image was listed. A made-up name is the last resort: S3 refuses it
(403) to who may not list."""


def database_answers(settings: Settings) -> None:
    """Asks the imaging database for nothing.

    Raises:
        Unavailable, ConfigurationError: it does not answer, or does not let C4 in.
    """
    database = probed_database(settings)
    database.refuse_new()
    with database.reading("watch") as connection:
        connection.execute(select(literal(1)))


def store_answers(settings: Settings) -> None:
    """Fetches the newest image. Where the database cannot tell which that is, the one from before or one that is none.

    Where it lists no image, or listed none before it went away, nobody needs the store, and it may be empty.

    Raises:
        Unavailable, ConfigurationError: the store does not answer, refuses, or does not let C4 in.
    """
    try:
        path = _FETCHED[settings.store.url] = _newest_path(settings)
    except C4Error:
        path = _FETCHED.get(settings.store.url, "c4-watch-asks-for-nothing")
    if path is None:
        return
    ssh = SshAccess(settings.store.ssh_key, settings.store.known_hosts, min(PROBE_S, settings.timeout_seconds))
    store = open_image_store(settings.store.url, ssh)
    try:
        for fetched in store.fetch([path]):
            if fetched.problem is Problem.STORE:
                raise Unavailable(f"The image store refuses its files: {fetched.error}")
    finally:
        store.close()


def slurm_answers(settings: Settings) -> None:
    """Asks the cluster for its partitions.

    Raises:
        Unavailable, ConfigurationError: it does not answer, or there is no Slurm where the settings say.
    """
    from resources.executors.slurm.client import SlurmClient
    from resources.executors.slurm.site import open_transport

    if settings.slurm is None:
        return
    transport = open_transport(settings.slurm)
    try:
        SlurmClient(transport, timeout=PROBE_S).partitions()
    finally:
        transport.close()


PROBES: Mapping[Service, Probe] = {"database": database_answers, "store": store_answers, "slurm": slurm_answers}


def ask(probes: Mapping[Service, Probe], settings: Settings, seconds: float = PROBE_S) -> dict[Service, C4Error | None]:
    """Asks services at the same time, and waits for all of them ``seconds`` at most.

    Returns:
        The error of each service, ``None`` where it answers.
    """
    found = answers_within(seconds, {service: partial(probe, settings) for service, probe in probes.items()})
    return {service: _error(service, found[service]) for service in probes}


def _error(service: Service, answer: Exception | None) -> C4Error | None:
    if answer is None or isinstance(answer, C4Error):
        return answer
    # A driver's own error must not end the watch.
    return Unavailable(f"The {NAMES[service]} could not be asked: {answer or type(answer).__name__}.")


def probed_database(settings: Settings) -> ImagingDatabase:
    """The imaging database for short questions."""
    seconds = min(PROBE_S, settings.timeout_seconds)
    return ImagingDatabase.of(settings.model_copy(update={"timeout_seconds": seconds}))


def _newest_path(settings: Settings) -> str | None:
    """Where the newest image is; ``None`` if there is none."""
    database = probed_database(settings)
    if database.is_new():
        return None
    return newest_path(database)
