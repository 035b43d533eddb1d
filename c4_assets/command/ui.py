"""``c4 ui``: Dagster's webserver and daemon over this deployment."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from c4_assets.command.console import console
from c4_assets.command.database import ready
from resources.errors import ConfigurationError
from resources.settings import Settings

SHORT_PLANS_VARIABLE = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"
"""Has the daemon store what a run of several days will make as one event an asset, and not one a day, which halves
the events of a queued run of seven days. The price is that Dagster marks no day of a failed run as failed: it stays
missing, and the days that were done are materialised by the step (``c4_assets/days.py``)."""


def ui(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Dagster's UI has no login: keep it local.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Start Dagster's UI, sensor and schedule (dagster dev) until it is interrupted."""
    settings = Settings.from_environment()
    ready(settings)
    prepare_dagster_home(settings)
    console.print(f"Lineage: http://{host}:{port}/asset-groups — stop with Ctrl-C.")
    sys.stdout.flush()
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ.setdefault(SHORT_PLANS_VARIABLE, "true")
    dagster = Path(sys.executable).with_name("dagster")
    os.execv(  # noqa: S606 - the webserver takes this process's place, so that Ctrl-C reaches it
        dagster, [str(dagster), "dev", "--workspace", str(shipped("workspace.yaml")), "-h", host, "-p", str(port)]
    )


def prepare_dagster_home(settings: Settings) -> None:
    """Makes DAGSTER_HOME with the shipped ``dagster.yaml``, unless the site has its own, and sets the pools' limits."""
    import dagster as dg

    from c4_assets.pools import set_pool_limits

    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.unlink(missing_ok=True)  # a link to a checkout that has moved
        config.symlink_to(shipped("dagster.yaml"))
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        set_pool_limits(instance)


def shipped(name: str) -> Path:
    """A file at the top of the checkout that C4 runs from.

    Raises:
        ConfigurationError: C4 was installed without its checkout.
    """
    file = Path(__file__).parents[2] / name
    if not file.is_file():
        raise ConfigurationError(
            f"{file} is missing: run C4 from its checkout, or set DAGSTER_HOME to a prepared folder."
        )
    return file
