"""The jobs and their schedules. Runs for new inspections are requested by the sensor in ``sensors/``."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from c4_assets.runs.log_lines import TICK_TAG, new_tick
from c4_assets.runs.partitions import DAYS, WEEKS
from c4_assets.runs.step_failures import WAITS
from resources.redaction import without_secrets
from resources.settings.freshness import SETTLES_AT_HOUR

log = logging.getLogger("c4.sensor")

PRIORITY_RUN_TAGS = {"dagster/priority": "10", "dagster/retry_on_asset_or_op_failure": "false"}
"""Tags of runs that somebody waits for: they overtake backfills, which have no priority, in queue and pools.
Dagster repeats a run whose process dies. One that fails is not repeated; the sensor requests it again. Who requests a
run gives it these tags. A job has none, because the runs of a backfill of the job would inherit them."""

# Dagster's signatures of what declares jobs and schedules leave the parameter of a generic type open (``PathLike``).
_dagster = cast("Any", dg)


def _asset_job(name: str, assets: Sequence[str], description: str) -> UnresolvedAssetJobDefinition:
    return _dagster.define_asset_job(name, selection=assets, description=description)


def schedule(
    job: dg.JobDefinition | UnresolvedAssetJobDefinition, cron_schedule: str, time_zone: str = "UTC"
) -> Callable[[Callable[..., dg.RunRequest | dg.SkipReason]], dg.ScheduleDefinition]:
    """Decorates a function that asks for a run of the job. The schedule is on until an operator turns it off.

    What the function raises is shown as that of a :func:`sensor`.
    """

    def made(function: Callable[..., dg.RunRequest | dg.SkipReason]) -> dg.ScheduleDefinition:
        return _dagster.schedule(
            job=job,
            cron_schedule=cron_schedule,
            execution_timezone=time_zone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )(_with_failures_logged("schedule", function))

    return made


def requested_run(partition: str | None = None, **tags: str) -> dg.RunRequest:
    """A scheduled run, with the tick that asks for it. Nobody asks for it again, so it waits for services."""
    return dg.RunRequest(partition_key=partition, tags={**PRIORITY_RUN_TAGS, **WAITS, TICK_TAG: new_tick(), **tags})


Tick: TypeAlias = dg.SensorResult | dg.SkipReason


def sensor(**options: Any) -> Callable[[Callable[..., Tick]], dg.SensorDefinition]:
    """Decorates a function that is called again and again: ``dg.sensor``, on until an operator turns it off.

    Dagster shows an error of the function with all its causes, so secrets are taken out of it. It is logged as well.
    """

    def made(function: Callable[..., Tick]) -> dg.SensorDefinition:
        tick = _with_failures_logged("sensor", function)
        return _dagster.sensor(default_status=dg.DefaultSensorStatus.RUNNING, **options)(tick)

    return made


Given = ParamSpec("Given")
Asked = TypeVar("Asked")


def _with_failures_logged(kind: str, function: Callable[Given, Asked]) -> Callable[Given, Asked]:
    @wraps(function)
    def tick(*arguments: Given.args, **named: Given.kwargs) -> Asked:
        try:
            return function(*arguments, **named)
        except Exception as error:
            shown = without_secrets(error)
            log.error("the %s %s has failed: %s: %s", kind, function.__name__, type(error).__name__, error)
            if shown is error:
                raise
            raise shown from None

    return tick


score_images = _asset_job(
    "score_images",
    ["raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores"],
    "Scores every image of a day that has no score yet.",
)

collect_disagreements = _asset_job(
    "collect_disagreements",
    ["human_labels", "ashes_disagreements"],
    "Collects what people scored in a week and see otherwise than the machine.",
)


@schedule(score_images, f"0 {SETTLES_AT_HOUR} * * *")
def settle_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """In the morning, runs the day before once more: images that were still uploading in its last run are judged now.

    If nothing is new, the run scores nothing and takes seconds.
    """
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return requested_run(DAYS.get_partition_key_for_timestamp(yesterday.timestamp()))


count_backlog = _asset_job("count_backlog", ["backlog_coverage"], "Counts how much of history is scored.")


@schedule(count_backlog, "0 7 * * *")
def daily_coverage() -> dg.RunRequest:
    """In the morning, how far history is scored, so that Dagster plots it over time."""
    return requested_run()


@schedule(collect_disagreements, "0 5 * * 1")
def weekly_ashes(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """On Monday morning, runs Ashes for the week that has just ended."""
    last_week = context.scheduled_execution_time - timedelta(weeks=1)
    return requested_run(WEEKS.get_partition_key_for_timestamp(last_week.timestamp()))
