"""``c4 doctor``: whether the set-up is well, a line a check, and what to do where it is not."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.findings import print_sections
from c4_assets.operations.doctor.configuration import SECTION as CONFIGURATION
from c4_assets.operations.doctor.configuration import configuration_checks, read_settings
from c4_assets.operations.doctor.examine import EACH_S, TOGETHER_S, Check, Examined, examine, mend
from c4_assets.operations.doctor.render import as_json, by_section, exit_status, summary
from c4_assets.operations.doctor.versions import version_checks
from resources.findings import Finding, Verdict
from resources.redaction import redacted
from resources.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from c4_assets.runs.instance_health import OpenedInstance

WITHIN_S, LEAST_S = 9.5, 3.0
"""The command ends within so many seconds of its start, and looks for so many at least."""

NODES_PATIENCE_S = 180
"""Seconds that a job on a compute node may wait and run."""


def doctor(
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what is safe to mend, say what was done, and look again.")
    ] = False,
    nodes: Annotated[bool, typer.Option("--nodes", help="Also look from compute nodes, by small Slurm jobs.")] = False,
    send_test: Annotated[bool, typer.Option("--send-test", help="Send a test message through each channel.")] = False,
    patience: Annotated[float, typer.Option(min=0.1, help="Seconds that one check may take.")] = EACH_S,
) -> None:
    """Say whether the set-up is well, and what to do where it is not.

    It ends with status 0 where all is well, 1 where something is to be mended, 2 where something could not be seen.
    """
    logging.getLogger("c4").propagate = False  # what is tried again is told by the lines, when it has failed
    logging.getLogger("c4").addHandler(logging.NullHandler())
    console = _console()
    left, mended = _left if patience == EACH_S else None, None
    if fix:
        # Jobs and messages are sent once, when all is mended.
        examined = look_around(patience=patience, left=left)
        mended = mend(examined)
        if mended or nodes or send_test:
            examined = look_around(nodes, patience, send_test)
    else:
        examined = look_around(nodes, patience, send_test, left)
    findings = [finding for each in examined for finding in each.findings]
    if as_json_:
        typer.echo(as_json(findings, redacted, mended))
    else:
        _print_mended(console, mended)
        print_sections(console, by_section(examined))
        console.print(summary(findings))
    _end(exit_status(findings))


def _left() -> float:
    """Seconds that the checks may take so that the command ends within ten, however long it took to start."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    running = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return min(TOGETHER_S, max(LEAST_S, WITHIN_S - running))


def _console() -> "Console":
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def _end(status: int) -> None:
    """Ends the command. A thread that still waits for a host that hangs must not keep the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith("doctor ") for thread in threading.enumerate()):
        os._exit(status)
    raise typer.Exit(status)


def _print_mended(console: "Console", mended: Sequence[str] | None) -> None:
    for each in mended or ():
        console.print(f"Mended: {redacted(each)}", soft_wrap=True)
    if mended is not None:
        console.print("Nothing was there that is safe to mend.\n" if not mended else "")


def look_around(
    nodes: bool = False,
    patience: float = EACH_S,
    send_test: bool = False,
    left: Callable[[], float] | None = None,
) -> list[Examined]:
    """Everything that was found. See the options of :func:`doctor`.

    Args:
        left: seconds that all checks may take, asked when they begin; without it, in proportion to the patience.
    """
    settings, problem = read_settings()
    checks = [*configuration_checks(settings, problem), *version_checks(settings)]
    if settings is not None:
        checks += [*_checks_of(settings, patience), *_channel_checks(settings, send_test)]
    checks = [replace(check, patience=patience) for check in checks]
    examined = examine(checks, left() if left else patience * TOGETHER_S / EACH_S)
    if nodes and settings is not None and settings.slurm is not None:
        examined += examine([_nodes_check(settings)], 3 * NODES_PATIENCE_S)
    return examined


def _checks_of(settings: Settings, patience: float) -> list[Check]:
    """The checks for which the settings must be known. What they import is imported before the time runs."""
    from c4_assets.deployment_home import dagster_instance_to_read, prepare_dagster_home, ready, shipped_dagster_yaml
    from c4_assets.models.active import ActiveModels
    from c4_assets.operations.doctor.databases import database_checks
    from c4_assets.operations.doctor.folders import folder_checks
    from c4_assets.operations.doctor.images import image_checks
    from c4_assets.runs.instance_health import OpenedInstance, instance_checks
    from resources.errors import ConfigurationError
    from resources.image_store import open_image_store
    from resources.imaging_database import ImagingDatabase

    checks = folder_checks(settings)
    opened = OpenedInstance(lambda: dagster_instance_to_read(settings))
    # Before the database: its tables are not brought up to date while a dead run counts as being at work.
    checks += instance_checks(
        settings.dagster_home,
        lambda: shipped_dagster_yaml(settings),
        opened,
        lambda: prepare_dagster_home(settings),
        lambda: datetime.now(UTC),
    )
    hasty = settings.model_copy(update={"timeout_seconds": max(1, int(patience) - 1)})
    try:
        database = ImagingDatabase.of(hasty)
        store = open_image_store(settings.store.url, hasty.ssh)
    except ConfigurationError as error:
        checks.append(_broken(str(error)))
    else:
        computes_here = settings.runs.executor != "slurm"
        models = ActiveModels(hasty, database)
        checks += database_checks(database, settings.freshness, lambda: ready(settings))
        checks += image_checks(hasty, database, store, models, computes_here=computes_here)
    if settings.slurm is not None:
        checks.append(_slurm_check(settings, opened))
    return checks


def _channel_checks(settings: Settings, send_test: bool) -> list[Check]:
    from c4_assets.command.alerts import NO_CHANNEL, opened_channels, test_message
    from c4_assets.operations.alerts.rules import for_subscribers
    from c4_assets.operations.alerts.state import alerts_folder, outbox_of
    from c4_assets.operations.doctor.channels import channel_checks

    return channel_checks(
        lambda: opened_channels(settings),
        lambda: outbox_of(alerts_folder(settings.home)).load().ways,
        NO_CHANNEL,
        test_message if send_test else None,
        for_subscribers(settings.alerts),
    )


def _broken(problem: str) -> Check:
    found = Finding("configuration.addresses", "an address of the settings cannot be used", Verdict.FAILED, problem)
    return Check("configuration.addresses", CONFIGURATION, "addresses", lambda: [found])


def _slurm_check(settings: Settings, opened: "OpenedInstance") -> Check:
    from resources.executors.slurm.check import check_site
    from resources.executors.slurm.site import configured_site

    def look() -> Iterable[Finding]:
        return check_site(configured_site(settings.slurm), settings, opened(), (), 0)

    silence = "See whether the login node and slurmctld answer: `sinfo` there."
    return Check("slurm", "Slurm, from here", "Slurm", look, ("dagster.storage",), silence=silence)


def _nodes_check(settings: Settings) -> Check:
    from c4_assets.command.slurm import used_on_nodes
    from c4_assets.deployment_home import dagster_instance_to_read
    from resources.executors.slurm.check import check_site
    from resources.executors.slurm.site import configured_site

    def look() -> Iterable[Finding]:
        site = configured_site(settings.slurm)
        with dagster_instance_to_read(settings) as instance:
            yield from check_site(site, settings, instance, ("cpu", "gpu"), NODES_PATIENCE_S, used_on_nodes(site))

    return Check("slurm.nodes", "Slurm, from compute nodes", "compute nodes", look, patience=2.5 * NODES_PATIENCE_S)
