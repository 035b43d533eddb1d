"""Looks at everything that operators are to hear of: a thin sensor over ``c4_assets/runs/watch``."""

from datetime import UTC, datetime

import dagster as dg

from c4_assets.runs.jobs import sensor
from c4_assets.runs.watch.watching import NOT_SET_UP, is_set_up, watch
from resources.settings import Settings

INTERVAL_S = 30


@sensor(minimum_interval_seconds=INTERVAL_S)
def run_alerts(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SkipReason:
    """Looks at runs, checks, services, disks and the daemon, and puts what operators are to hear of into the outbox.

    It sends nothing itself, so that a channel that hangs keeps nobody from looking.
    """
    if not is_set_up(settings):
        return dg.SkipReason(NOT_SET_UP)
    return dg.SkipReason(watch(context.instance, settings, datetime.now(UTC)))
