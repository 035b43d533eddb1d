"""Requests the runs that ``c4 run`` has asked for: a thin sensor over ``c4_assets/runs/requested_days.py``."""

import dagster as dg

from c4_assets.runs.jobs import score_images, sensor
from c4_assets.runs.requested_days import run_requests

INTERVAL_S = 15


@sensor(job=score_images, minimum_interval_seconds=INTERVAL_S)
def requested_days(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Requests a run of every day that ``c4 run`` has asked for, where the steps are jobs of a cluster."""
    requests = run_requests(context.instance)
    return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("`c4 run` has asked for nothing.")
