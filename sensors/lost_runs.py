"""Looks for runs whose process is gone: a thin sensor over ``c4_assets/runs/lost_runs.py``."""

import dagster as dg

from c4_assets.runs.jobs import sensor
from c4_assets.runs.lost_runs import end_lost_runs

INTERVAL_S = 60


@sensor(minimum_interval_seconds=INTERVAL_S)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Marks runs as failed whose process was killed or ended with its machine, so that nothing waits for them."""
    ended = end_lost_runs(context.instance)
    return dg.SkipReason(" ".join(ended) or "Every run that is started has its process.")
