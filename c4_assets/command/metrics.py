"""``c4 metrics``: what Prometheus scrapes, or a file for node_exporter."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.console import console
from c4_assets.deployment_home import dagster_instance
from c4_assets.models.active import ActiveModels
from c4_assets.operations.disks import places
from c4_assets.operations.metrics.catalogue import Sample
from c4_assets.operations.metrics.counted import Kept
from c4_assets.operations.metrics.disks import room
from c4_assets.operations.metrics.images import HISTORY_EVERY_S, WINDOW_EVERY_S, ImageFigures
from c4_assets.operations.metrics.messages import alert_samples
from c4_assets.operations.metrics.sources import CACHE_S, Source, Sources
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

PROBE_EVERY_S = 60.0
"""How often the image store and Slurm are asked whether they are there: each time is a connection of its own."""

SSH_PROBE_EVERY_S = 300.0
"""The same over ssh, where each question is a login, which the host writes into a log."""

ANSWER_S = 10
"""Longest wait for an answer of the imaging database to a quick question, in seconds."""

HISTORY = "history"

RETRY_HISTORY_S = 600.0
"""How often it is looked whether history is to be counted again."""


def metrics(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Whoever reaches it reads all metrics.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 9464,
    textfile: Annotated[
        Path | None, typer.Option(help="Write this file, for node_exporter's textfile collector, and end.")
    ] = None,
) -> None:
    """Serve metrics for Prometheus (docs/metrics.md) until it is interrupted."""
    sources = all_sources(Settings.from_environment())
    if textfile is None:
        _serve(Sources(sources), host, port)
        return
    from c4_assets.operations.metrics.exposition import write_textfile

    # What images are counted from is counted first, where it is old.
    for _ in Sources([source for source in sources if source.name == HISTORY]).samples(math.inf):
        pass
    write_textfile(textfile, told(Sources(sources), math.inf))


def _serve(sources: Sources, host: str, port: int) -> None:
    from prometheus_client import start_http_server

    from c4_assets.operations.metrics.exposition import registry

    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ended.set()

    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, end)
    try:
        server, _ = start_http_server(port, host, registry(lambda: told(sources)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"Nothing can listen on {host}, port {port}: {reason}. Try --port.") from None
    name = f"[{host}]" if ":" in host else host
    console.print(f"Metrics: http://{name}:{server.server_port}/metrics — stop with Ctrl-C.")
    for _ in sources.samples(0):
        pass  # asks all at once, so that the first scrape finds most answers
    ended.wait()
    server.shutdown()


def told(sources: Sources, patience_s: float | None = None) -> Iterator[Sample]:
    """All samples of a scrape."""
    from importlib.metadata import version

    yield Sample("c4_build_info", 1.0, (version("c4"),))
    yield from sources.samples() if patience_s is None else sources.samples(patience_s)


class _Dagster:
    """The deployment's Dagster instance, opened when it is asked first, and again after that has failed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()

    @cached_property
    def _instance(self) -> "dg.DagsterInstance":
        return dagster_instance(self._settings)

    @property
    def instance(self) -> "dg.DagsterInstance":
        with self._lock:
            return self._instance


def all_sources(settings: Settings) -> list[Source]:
    """What a deployment's metrics come from."""
    from c4_assets.runs.metrics import check_samples, dagster_samples
    from c4_assets.runs.run_totals import total_samples
    from c4_assets.runs.watch.probes import slurm_answers, store_answers

    patient = ImagingDatabase.of(settings)
    quick = settings.model_copy(update={"timeout_seconds": min(ANSWER_S, settings.timeout_seconds)})
    database, kept = ImagingDatabase.of(quick), Kept(settings.home)
    models = ActiveModels(settings, database)
    figures = ImageFigures(settings, database, patient, lambda: models.peek()[0].version.name, kept)
    by_ssh = settings.store.url.startswith(("ssh://", "sftp://"))
    dagster = _Dagster(settings)
    return [
        Source("database", figures.newest, up="c4_database_up"),
        Source("images", figures.by_state, WINDOW_EVERY_S),
        Source(HISTORY, figures.count_history, RETRY_HISTORY_S, RETRY_HISTORY_S, longest_s=HISTORY_EVERY_S),
        Source(
            "store",
            partial(_asked, store_answers, settings),
            SSH_PROBE_EVERY_S if by_ssh else PROBE_EVERY_S,
            SSH_PROBE_EVERY_S if by_ssh else CACHE_S,  # each question is a login
            up="c4_store_up",
        ),
        *(
            [Source("slurm", partial(_asked, slurm_answers, settings), PROBE_EVERY_S, up="c4_slurm_up")]
            if settings.slurm
            else []
        ),
        Source("dagster", lambda: dagster_samples(dagster.instance), up="c4_dagster_up"),
        Source("runs", lambda: total_samples(dagster.instance, kept)),
        Source("checks", lambda: check_samples(dagster.instance), every_s=WINDOW_EVERY_S),
        Source("alerts", lambda: alert_samples(settings.home)),
        *(Source(f"disk-{place}", _room(place, folder)) for place, folder in places(settings).items()),
    ]


def _room(place: str, folder: Path) -> Callable[[], Iterator[Sample]]:
    return lambda: room(place, folder)


def _asked(probe: Callable[[Settings], None], settings: Settings) -> Iterator[Sample]:
    """Asks a service, and tells nothing itself.

    Raises:
        C4Error: it does not answer.
    """
    probe(settings)
    return iter(())
