"""Asks for mails of new crystals: a thin sensor over ``c4_assets/runs/crystal_mails.py``."""

from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterRunStatus as Status

from c4_assets.models.active import ActiveModels
from c4_assets.runs.crystal_mails import NO_MAIL_SERVER, tell_crystals, waiting_news
from c4_assets.runs.jobs import PRIORITY_RUN_TAGS, Tick, sensor
from c4_assets.runs.log_lines import TICK_TAG, new_tick
from resources.errors import C4Error
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings

INTERVAL_S = 300

UNFINISHED_STATUSES = [Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING]


@sensor(job=tell_crystals, minimum_interval_seconds=INTERVAL_S)
def crystals_found(
    context: dg.SensorEvaluationContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
) -> Tick:
    """Asks for a run when an inspection is scored that somebody subscribed to, and that has crystals.

    A database that does not answer is told by others; here it only means a later mail.
    """
    if settings.alerts.email is None:
        return dg.SkipReason(NO_MAIL_SERVER)
    if context.instance.get_runs(dg.RunsFilter(job_name=tell_crystals.name, statuses=UNFINISHED_STATUSES), limit=1):
        return dg.SkipReason("The run that tells of the last ones has not ended.")
    try:
        found = waiting_news(imaging_database, models, settings, datetime.now(UTC))
    except C4Error as error:
        if not error.retryable:
            raise
        return dg.SkipReason(str(error))
    if not found:
        return dg.SkipReason("There is nothing new to tell.")
    context.log.info(f"{len(found)} inspections with crystals to tell of")
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={**PRIORITY_RUN_TAGS, TICK_TAG: new_tick()})])
