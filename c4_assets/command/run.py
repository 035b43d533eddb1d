"""``c4 run``: runs the sensor's Dagster job in this process."""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.console import console, print_error, progress, work_shown
from c4_assets.command.model import models_at_hand
from c4_assets.command.site import day_of, open_site
from c4_assets.deployment_home import dagster_instance
from resources.errors import ConfigurationError
from resources.imaging_database.work import day_bounds, pending_of_all
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def run(
    pending: Annotated[bool, typer.Option("--pending", help="Every day that has images without a score.")] = False,
    day: Annotated[list[str] | None, typer.Option("--date", help="A day of imaging (UTC); may be repeated.")] = None,
) -> None:
    """Score images now, without a daemon. The runs show in Dagster's UI like any other."""
    if pending == bool(day):
        raise ConfigurationError("Say which days: --pending, or --date 2026-03-31.")
    asked = sorted(day_of("--date", text) for text in day or ())
    span = (day_bounds(asked[0])[0], day_bounds(asked[-1])[1]) if asked else (None, None)
    settings, database, active = open_site()
    models = active.read()
    waiting = pending_of_all(
        database, [model.version.name for model in models], settings.runs.max_attempts, *span, compare_places=True
    )
    days = dict.fromkeys(asked, 0) if asked else dict(waiting)
    chosen = {each: waiting.get(each, 0) for each in days}
    if not any(chosen.values()):
        console.print("Nothing to score: every image is scored, failed or withheld (`c4 status`).")
        return
    models_at_hand(settings, models)
    written = score_days(settings, chosen)
    failed = [each for each, rows in written.items() if rows is None]
    rows = sum(count or 0 for count in written.values())
    console.print(f"{rows} scores were written. `c4 status` tells what is left.")
    if not rows and not failed:
        print_error("Nothing was scored", "`c4 status --failures` says why.")
    if failed or not rows:
        raise typer.Exit(1)


def score_days(settings: Settings, days: Mapping[date, int]) -> dict[date, int | None]:
    """Runs the ``score_images`` job for every day, oldest first, with a progress bar.

    Args:
        days: pending images by day.

    Returns:
        Rows written by day; ``None`` for a day whose run failed or that is no partition (the reason is printed).
    """
    from c4_assets.definitions import defs

    outside = {each: reason for each in sorted(days) if (reason := _no_partition(each, settings))}
    for each, reason in outside.items():
        print_error(f"{each} was left out", reason)
    days = {each: images for each, images in days.items() if each not in outside}
    written: dict[date, int | None] = dict.fromkeys(outside)
    job = defs.resolve_job_def("score_images")
    with dagster_instance(settings) as instance, progress() as bar, work_shown(bar):
        task = bar.add_task("scoring", total=sum(days.values()))
        for each in sorted(days):
            started = time.monotonic()
            bar.update(task, description=f"scoring {each}")
            written[each] = _score_day(job, each, instance)
            bar.advance(task, days[each])
            if written[each] is not None:
                took = time.monotonic() - started
                bar.console.print(f"{each}: {written[each]} scores written in {took:.0f} s")
    return written


def _score_day(job: "dg.JobDefinition", day: date, instance: "dg.DagsterInstance") -> int | None:
    from c4_assets.runs.metadata import IMAGES_LEFT_KEY, ROWS_WRITTEN_KEY

    rows, left_before = 0, None
    while True:  # a day for which staging has no room at once takes several runs
        result = execute(job, day.isoformat(), instance)
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


def execute(job: "dg.JobDefinition", partition: str, instance: "dg.DagsterInstance") -> "dg.ExecuteInProcessResult":
    """Runs one partition of a job in this process. A failure is in the result and is not raised."""
    # Dagster's console log is for engineers; operators see the progress bar.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return job.execute_in_process(
        partition_key=partition,
        instance=instance,
        raise_on_error=False,
        run_config=quiet,
        tags={"c4/started_by": "c4 run"},
    )


def failure_reason(result: "dg.ExecuteInProcessResult") -> str:
    """The reason of a failed run, in the words of the step that failed."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            if data.error:
                cause = data.error.cause or data.error
                return f"{event.step_key}: {cause.message.strip()}"
    return "see the run in Dagster's UI (`c4 ui`)"


def _number(result: "dg.ExecuteInProcessResult", asset: str, name: str) -> int:
    for event in result.get_asset_materialization_events():
        if event.asset_key and event.asset_key.path[-1] == asset:
            value = event.materialization.metadata[name].value
            return value if isinstance(value, int) else 0
    return 0
