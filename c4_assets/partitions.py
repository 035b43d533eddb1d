"""The two partitionings: days of imaging and weeks of human scoring, both UTC and both including the current one."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from c4_assets.shared import SETTINGS

DAYS = dg.DailyPartitionsDefinition(start_date=SETTINGS.start_date.isoformat(), end_offset=1)

WEEKS = dg.WeeklyPartitionsDefinition(start_date=SETTINGS.start_date.isoformat(), end_offset=1, day_offset=1)
"""Weeks begin on Monday; the key is the date of that Monday."""


def day_of(context: dg.AssetExecutionContext) -> date:
    """The day that a run of a daily asset is about."""
    return date.fromisoformat(context.partition_key)


def week_of(context: dg.AssetExecutionContext) -> tuple[datetime, datetime]:
    """The first moment of the week that a run is about, and of the next one, UTC."""
    start = datetime.fromisoformat(context.partition_key).replace(tzinfo=UTC)
    return start, start + timedelta(weeks=1)
