"""The jobs and their schedules. Runs for new inspections are requested by the sensor in ``sensors/``."""

from datetime import timedelta

import dagster as dg

from c4_assets.runs.partitions import DAYS, WEEKS

PRIORITY_RUN_TAGS = {"dagster/priority": "10", "dagster/retry_on_asset_or_op_failure": "false"}
"""Run tags of jobs that somebody waits for: they overtake backfills, which have no priority, in queue and pools.
Dagster repeats a run whose process dies. One that fails is not repeated; the sensor requests it again."""

score_images = dg.define_asset_job(
    "score_images",
    selection=["raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores"],
    description="Scores every image of a day that has no score yet.",
    tags=PRIORITY_RUN_TAGS,
)

collect_disagreements = dg.define_asset_job(
    "collect_disagreements",
    selection=["human_labels", "ashes_disagreements"],
    description="Collects what people scored in a week and see otherwise than the machine.",
    tags=PRIORITY_RUN_TAGS,
)


@dg.schedule(
    job=score_images,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def settle_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """In the morning, runs the day before once more: images that were still uploading in its last run are judged now.

    If nothing is new, the run scores nothing and takes seconds.
    """
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return dg.RunRequest(partition_key=DAYS.get_partition_key_for_timestamp(yesterday.timestamp()))


count_backlog = dg.define_asset_job(
    "count_backlog",
    selection=["backlog_coverage"],
    description="Counts how much of history is scored.",
    tags=PRIORITY_RUN_TAGS,
)

daily_coverage = dg.ScheduleDefinition(
    name="daily_coverage",
    job=count_backlog,
    cron_schedule="0 7 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="In the morning, how far history is scored, so that Dagster plots it over time.",
)


@dg.schedule(
    job=collect_disagreements,
    cron_schedule="0 5 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def weekly_ashes(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """On Monday morning, runs Ashes for the week that has just ended."""
    last_week = context.scheduled_execution_time - timedelta(weeks=1)
    return dg.RunRequest(partition_key=WEEKS.get_partition_key_for_timestamp(last_week.timestamp()))
