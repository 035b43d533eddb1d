"""``c4 ui``: Dagster's webserver and daemon over this deployment."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from c4_assets.command.console import console
from c4_assets.command.site import report_lost_runs
from c4_assets.demo.home import enter_demo_home
from c4_assets.deployment_home import prepare_dagster_home, ready, shipped
from resources.settings import Settings

SHORT_PLANS_VARIABLE = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"
"""Has the daemon store what a run of several days will make as one event an asset, and not one a day, which halves
the events of a queued run of seven days. The price is that Dagster marks no day of a failed run as failed: it stays
missing, and the days that were done are materialised by the step (``c4_assets/runs/days.py``)."""


def ui(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Dagster's UI has no login: keep it local.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
    demo: Annotated[bool, typer.Option("--demo", help="Over what `c4 demo` has made, not over the site.")] = False,
) -> None:
    """Start Dagster's UI, sensor and schedule (dagster dev) until it is interrupted."""
    settings = enter_demo_home() if demo else Settings.from_environment()
    ready(settings)
    prepare_dagster_home(settings)
    report_lost_runs(settings)
    console.print(f"Lineage: http://{host}:{port}/asset-groups — stop with Ctrl-C.")
    sys.stdout.flush()
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ.setdefault(SHORT_PLANS_VARIABLE, "true")
    dagster = Path(sys.executable).with_name("dagster")
    os.execv(  # noqa: S606 - the webserver takes this process's place, so that Ctrl-C reaches it
        dagster, [str(dagster), "dev", "--workspace", str(shipped("workspace.yaml")), "-h", host, "-p", str(port)]
    )
