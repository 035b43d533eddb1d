"""The job and schedule of the daily digest, and what it asks of Dagster."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster import DagsterRunStatus as Status
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from c4_assets.deployment import SETTINGS
from c4_assets.models.active import ActiveModels
from c4_assets.operations.alerts.state import alerts_folder, outbox_of
from c4_assets.operations.channels import operators_channels
from c4_assets.operations.digest import CLASSIFYING, DIGEST_SPAN, MOST_PICTURES, Backlog, DigestFacts, Work, digest
from c4_assets.runs.crystal_mails import pictures_of
from c4_assets.runs.executors import EXECUTORS
from c4_assets.runs.jobs import requested_run, schedule
from c4_assets.runs.metadata import (
    COMPUTED_BY_KEY,
    DAYS_LEFT_KEY,
    IMAGES_PENDING_KEY,
    MODEL_COMPUTED_KEY,
    PER_CENT_DONE_KEY,
)
from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.crystals import crystals_scored
from resources.imaging_database.day_numbers import day_numbers
from resources.imaging_database.work import pending_of_all
from resources.settings import Settings

MOST_RUNS_READ = 500
"""Of a day: hourly runs are 24 or some more, and a backfill's as many as its daemon starts."""

UNTIL_TAG = "c4/digest_until"
"""Tag of a scheduled digest's run: the end of the day that it tells of, however late the run is."""


def work_of(instance: dg.DagsterInstance, since: datetime, until: datetime) -> Work:
    """What the runs of C4 did that ended from ``since`` to ``until``; of their steps, what lies in that span."""
    records = instance.get_run_records(
        dg.RunsFilter(statuses=FINISHED_STATUSES, updated_after=since, updated_before=until),
        limit=MOST_RUNS_READ,
        order_by="update_timestamp",
    )
    runs = [record.dagster_run for record in records if is_of_c4(record.dagster_run)]
    seconds: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        for step in instance.get_run_step_stats(run.run_id):
            if step.start_time and step.end_time:
                took = min(step.end_time, until.timestamp()) - max(step.start_time, since.timestamp())
                seconds[step.step_key] += max(0.0, took)
    network, computed_by = _network(instance, since, until)
    failed = sum(run.status is Status.FAILURE for run in runs)
    return Work(dict(seconds), network, computed_by, len(runs), failed, len(records) == MOST_RUNS_READ)


def _network(instance: dg.DagsterInstance, since: datetime, until: datetime) -> tuple[float, str]:
    """Seconds that the network computed, and what it computed by."""
    wanted = dg.AssetRecordsFilter(
        dg.AssetKey(CLASSIFYING), after_timestamp=since.timestamp(), before_timestamp=until.timestamp()
    )
    seconds, computed_by = 0.0, ""
    for record in instance.fetch_materializations(wanted, limit=MOST_RUNS_READ).records:
        if (materialization := record.asset_materialization) is None:
            continue
        found = {name: value.value for name, value in materialization.metadata.items()}
        computed, by = found.get(MODEL_COMPUTED_KEY), found.get(COMPUTED_BY_KEY)
        seconds += computed if isinstance(computed, int | float) else 0.0
        computed_by = computed_by or (by if isinstance(by, str) else "")
    return seconds, computed_by


def backlog_of(instance: dg.DagsterInstance) -> Backlog | None:
    """What the asset ``backlog_coverage`` counted last: counting history anew takes minutes in a large database."""
    event = instance.get_latest_materialization_event(dg.AssetKey("backlog_coverage"))
    if event is None or event.asset_materialization is None:
        return None
    found = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    pending, done = found.get(IMAGES_PENDING_KEY), found.get(PER_CENT_DONE_KEY)
    if not isinstance(pending, int) or not isinstance(done, int | float):
        return None
    left = found.get(DAYS_LEFT_KEY)
    days_left = float(left) if isinstance(left, int | float) else None
    return Backlog(pending, done, datetime.fromtimestamp(event.timestamp, UTC), days_left)


def facts_of(
    instance: dg.DagsterInstance,
    database: ImagingDatabase,
    models: ActiveModels,
    settings: Settings,
    until: datetime,
) -> DigestFacts:
    """What there is to tell of the day that ends at a time.

    Pictures are the archive's thumbnails alone, which it has of each day's likeliest crystals: the storage host is not
    asked.

    Raises:
        Unavailable, ConfigurationError: the database cannot be asked.
    """
    model, attempts = models.peek()[0], settings.runs.max_attempts
    version = model.version.name
    window = until - timedelta(days=settings.runs.window_days)
    likeliest = crystals_scored(database, version, until - DIGEST_SPAN, until, MOST_PICTURES)
    return DigestFacts(
        day_numbers(database, version, attempts, until - DIGEST_SPAN, until),
        sum(pending_of_all(database, [version], attempts, window, until).values()),
        work_of(instance, until - DIGEST_SPAN, until),
        backlog_of(instance),
        list(zip(likeliest, pictures_of(models.archive(model), None)(likeliest), strict=True)),
    )


@dg.op(retry_policy=CPU_RETRIES)
def write_digest(
    context: dg.OpExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Puts the digest of 24 hours into the outbox that others empty: one a day, however often and late it runs."""
    asked = context.run.tags.get(UNTIL_TAG)
    until = datetime.fromisoformat(asked) if asked else datetime.now(UTC)
    with translate_errors(context):
        facts = facts_of(context.instance, imaging_database, models, settings, until)
        message = digest(facts, until, ZoneInfo(settings.alerts.time_zone), settings.alerts.ui_url)
        outbox_of(alerts_folder(settings.home)).put([message])
    context.log.info(message.title)
    context.add_output_metadata(dict(message.facts))


tell_digest = dg.JobDefinition(
    graph_def=dg.GraphDefinition("tell_digest", node_defs=[write_digest]),
    executor_def=EXECUTORS["in_process"],
    description="Tells operators what was imaged, found, given up and is left. Runs where the run worker does.",
)


@schedule(tell_digest, f"0 {SETTINGS.alerts.digest_at} * * *", SETTINGS.alerts.time_zone)
def daily_digest(
    context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.RunRequest | dg.SkipReason:
    """Each morning, the digest of the last 24 hours, where there is a channel for it."""
    if not operators_channels(settings.alerts):
        return dg.SkipReason("No channel is set up (section alerts), so there is nobody to tell.")
    return requested_run(**{UNTIL_TAG: context.scheduled_execution_time.isoformat()})
