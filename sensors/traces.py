"""Sends traces of ended runs: a thin sensor over ``c4_assets/runs/traces.py``, idle where traces are off."""

from datetime import UTC, datetime

import dagster as dg

from c4_assets.deployment import SETTINGS
from c4_assets.runs.jobs import sensor
from c4_assets.runs.traces import tell
from resources import tracing

INTERVAL_S = 60


@sensor(minimum_interval_seconds=INTERVAL_S)
def traces(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Sends spans of ended runs, their steps, and the ticks that have asked for them, to the collector."""
    if SETTINGS.tracing.endpoint is None:
        return dg.SkipReason("Traces are off: tracing.endpoint is not set.")
    now = datetime.now(UTC)
    since = min(datetime.fromisoformat(context.cursor), now) if context.cursor else now
    told = tell(context.instance, tracing.sender(SETTINGS.tracing.endpoint), since)
    context.update_cursor(told.until.isoformat())
    lost = f" The collector did not take {told.lost} spans." if told.lost else ""
    return dg.SkipReason(f"{told.runs} ended runs.{lost}")
