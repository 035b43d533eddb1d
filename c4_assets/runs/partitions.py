"""The partitions: days of imaging and weeks of human scoring, both UTC and both including the current one."""

import warnings
from datetime import UTC, datetime, timedelta

import dagster as dg

from c4_assets.deployment import SETTINGS

DAYS = dg.DailyPartitionsDefinition(start_date=SETTINGS.start_date.isoformat(), end_offset=1)

# Dagster warns for each asset at every import that backfill policies are beta.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

SEVERAL_DAYS = dg.BackfillPolicy.multi_run(SETTINGS.backfill_days)
"""A backfill makes runs of several days: starting a run and loading the model cost as much as scoring an inspection."""

WEEKS = dg.WeeklyPartitionsDefinition(start_date=SETTINGS.start_date.isoformat(), end_offset=1, day_offset=1)
"""Weeks begin on Monday; the key is the date of that Monday."""


def week_of(context: dg.AssetExecutionContext) -> tuple[datetime, datetime]:
    """The first moment of a run's week and of the next one, UTC."""
    start = datetime.fromisoformat(context.partition_key).replace(tzinfo=UTC)
    return start, start + timedelta(weeks=1)
