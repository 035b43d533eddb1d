"""Sends what waits in the outbox of alerts: a thin sensor over ``c4_assets/runs/watch/watching.py``."""

from datetime import UTC, datetime

import dagster as dg

from c4_assets.operations.channels import open_channels
from c4_assets.runs.jobs import sensor
from c4_assets.runs.watch.watching import deliver
from resources.redaction import beginning
from resources.settings import Settings

INTERVAL_S = 15


@sensor(minimum_interval_seconds=INTERVAL_S)
def messages(_context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SkipReason:
    """Sends messages that wait. What a channel does not take waits on disk, or goes to the next one."""
    if not open_channels(settings.alerts):
        return dg.SkipReason("No channel is set up (section alerts), so nothing is sent.")
    done = deliver(settings, datetime.now(UTC))
    away = "".join(f" {name} takes no messages: {done.errors.get(name, '')}" for name in done.away)
    return dg.SkipReason(beginning(f"{done.sent} messages were sent, {done.waiting} wait.{away}", 2000))
