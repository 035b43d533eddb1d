"""``c4 run``: scores days now, in this process or, where the steps are jobs of a cluster, through Dagster's queue."""

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.console import console, print_error, progress, work_shown
from c4_assets.command.model import models_at_hand
from c4_assets.command.run_in_progress import RunInProgress
from c4_assets.command.run_through_queue import refuse_without_daemon, score_days_through_queue
from c4_assets.command.signals import run_until_signalled
from c4_assets.command.site import day_of, open_site, report_lost_runs
from c4_assets.deployment_home import dagster_instance
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import day_bounds, pending_of_all
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def run(
    pending: Annotated[bool, typer.Option("--pending", help="Every day that has images without a score.")] = False,
    day: Annotated[list[str] | None, typer.Option("--date", help="A day of imaging (UTC); may be repeated.")] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Compute on this machine, where the steps would be jobs of a cluster.")
    ] = False,
) -> None:
    """Score images now, without a daemon. The runs show in Dagster's UI like any other.

    Where C4_RUNS_EXECUTOR is slurm, the daemon queues them and this command shows their progress; --here needs no
    daemon.
    """
    if pending == bool(day):
        raise ConfigurationError("Say which days: --pending, or --date 2026-03-31.")
    asked = sorted(day_of("--date", text) for text in day or ())
    current = RunInProgress()
    if Settings.from_environment().runs.executor == "slurm" and not here:
        written = _through_queue(asked)
    else:
        written = run_until_signalled(lambda: _here(asked, current), current.cancel)
    if not written:
        console.print("Nothing to score: every image is scored, failed or withheld (`c4 status`).")
        return
    failed = [each for each, rows in written.items() if rows is None]
    rows = sum(count or 0 for count in written.values())
    console.print(f"{rows} scores were written. `c4 status` tells what is left.")
    if not rows and not failed:
        print_error("Nothing was scored", "`c4 status --failures` says why.")
    if failed or not rows:
        raise typer.Exit(1)


def _here(asked: list[date], current: RunInProgress) -> dict[date, int | None]:
    settings, database, active = open_site()
    report_lost_runs(settings)
    models = active.read()
    chosen = _pending(asked, settings, database, [model.version.name for model in models])
    if not chosen:
        return {}
    models_at_hand(settings, models)
    return score_days(settings, chosen, current)


def _through_queue(asked: list[date]) -> dict[date, int | None]:
    settings, database, active = open_site()
    report_lost_runs(settings)
    with dagster_instance(settings) as instance:
        refuse_without_daemon(instance)
        chosen = _pending(asked, settings, database, [model.version.name for model in active.read()])
        written, inside = _without_partition(chosen, settings)
        return {**written, **score_days_through_queue(instance, inside)}


def _pending(asked: list[date], settings: Settings, database: ImagingDatabase, versions: list[str]) -> dict[date, int]:
    """Pending images by day, of the days that were asked for or of all; empty if there is nothing to score."""
    span = (day_bounds(asked[0])[0], day_bounds(asked[-1])[1]) if asked else (None, None)
    waiting = pending_of_all(database, versions, settings.runs.max_attempts, *span, compare_places=True)
    chosen = {each: waiting.get(each, 0) for each in asked or waiting}
    return chosen if any(chosen.values()) else {}


def score_days(
    settings: Settings, days: Mapping[date, int], current: RunInProgress | None = None
) -> dict[date, int | None]:
    """Runs the ``score_images`` job for every day in this process, oldest first, with a progress bar.

    Args:
        days: pending images by day.
        current: is told which run is in progress.

    Returns:
        Rows written by day; ``None`` for a day whose run failed or that is no partition (the reason is printed).
    """
    from c4_assets.definitions import defs

    written, days = _without_partition(days, settings)
    job = defs.resolve_job_def("score_images")
    current = current or RunInProgress()
    with dagster_instance(settings) as instance, progress() as bar, work_shown(bar):
        current.bar = bar
        task = bar.add_task("scoring", total=sum(days.values()))
        for each in sorted(days):
            started = time.monotonic()
            bar.update(task, description=f"scoring {each}")
            written[each] = _score_day(job, each, instance, current)
            bar.advance(task, days[each])
            if written[each] is not None:
                took = time.monotonic() - started
                bar.console.print(f"{each}: {written[each]} scores written in {took:.0f} s")
    return written


def _without_partition(days: Mapping[date, int], settings: Settings) -> tuple[dict[date, int | None], dict[date, int]]:
    """The days that cannot be scored, which are printed with the reason, and the others."""
    outside = {each: reason for each in sorted(days) if (reason := _no_partition(each, settings))}
    for each, reason in outside.items():
        print_error(f"{each} was left out", reason)
    return dict.fromkeys(outside), {each: images for each, images in days.items() if each not in outside}


def _score_day(
    job: "dg.JobDefinition", day: date, instance: "dg.DagsterInstance", current: RunInProgress
) -> int | None:
    from c4_assets.runs.metadata import IMAGES_LEFT_KEY, ROWS_WRITTEN_KEY

    rows, left_before = 0, None
    while True:  # a day for which staging has no room at once takes several runs
        result = execute(job, day.isoformat(), instance, current)
        if not result.success:
            print_error(f"{day} failed", failure_reason(result))
            return None
        rows += _number(result, "db_scores", ROWS_WRITTEN_KEY)
        left = _number(result, "raw_inspection_images", IMAGES_LEFT_KEY)
        if not left or left == left_before:
            return rows
        left_before = left


def _no_partition(day: date, settings: Settings) -> str | None:
    if day < settings.runs.start_date:
        first = settings.runs.start_date
        return f"it lies before C4_RUNS_START_DATE ({first}). Set an earlier one, or correct the inspection."
    if day > datetime.now(UTC).date():
        return "it lies in the future. Check the imager's clock; it is scored when its day has come."
    return None


def execute(
    job: "dg.JobDefinition", partition: str, instance: "dg.DagsterInstance", current: RunInProgress | None = None
) -> "dg.ExecuteInProcessResult":
    """Runs one partition of a job in this process. A failure is in the result and is not raised."""
    from c4_assets.runs.own_runs import STARTED_BY_TAG
    from c4_assets.runs.run_processes import process_noted

    # Dagster's console log is for engineers; operators see the progress bar.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    run_id = str(uuid.uuid4())
    with process_noted(instance, run_id), (current or RunInProgress()).being(instance, run_id):
        return job.execute_in_process(
            partition_key=partition,
            instance=instance,
            raise_on_error=False,
            run_config=quiet,
            run_id=run_id,
            tags={STARTED_BY_TAG: "c4 run"},
        )


def failure_reason(result: "dg.ExecuteInProcessResult") -> str:
    """The reason of a failed run, in the words of the step that failed."""
    from c4_assets.runs.outcomes import failure_of_step

    for event in result.all_events:
        if event.is_step_failure:
            return failure_of_step(event)
    return "see the run in Dagster's UI (`c4 ui`)"


def _number(result: "dg.ExecuteInProcessResult", asset: str, name: str) -> int:
    for event in result.get_asset_materialization_events():
        if event.asset_key and event.asset_key.path[-1] == asset:
            value = event.materialization.metadata[name].value
            return value if isinstance(value, int) else 0
    return 0
