"""Adds what ended runs did to the totals of the metrics: outcomes, images, and how long their steps took."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from c4_assets.backlog.limits import CLASSIFY, FETCH, PREDICT, STEPS, WRITE
from c4_assets.operations.metrics.catalogue import Sample
from c4_assets.operations.metrics.counted import Kept, Totals
from c4_assets.runs.metadata import IMAGES_FAILED_KEY, IMAGES_SCORED_KEY, IMAGES_STAGED_KEY, ROWS_WRITTEN_KEY
from c4_assets.runs.own_runs import is_of_c4

FIRST_LOOK = timedelta(hours=1)
"""How far back the first look goes: a new exporter has something to show, and does not read months of runs."""

RUNS_A_LOOK = 40
"""Runs whose events are read at one look, each in some ten milliseconds. What is left is read at the next."""

RUNS_A_PAGE = 200
"""Runs that are asked for at once, to find those that are not known yet."""

OVERLAP_S = 60.0
"""By so much a look goes back behind the last one: Dagster may set a time before it writes it."""

NAMES = {FETCH: "fetch", CLASSIFY: "classify", PREDICT: "predict", WRITE: "write"}
"""What the steps are called in labels."""

COUNTED = {
    FETCH: {IMAGES_STAGED_KEY: "c4_images_fetched_total"},
    CLASSIFY: {IMAGES_SCORED_KEY: "c4_images_classified_total"},
    WRITE: {ROWS_WRITTEN_KEY: "c4_images_written_total", IMAGES_FAILED_KEY: "c4_image_failures_total"},
}
"""Numbers in the metadata of materialisations, of the current model, and the metric that each adds to."""


def total_samples(instance: dg.DagsterInstance, kept: Kept) -> Iterator[Sample]:
    """The totals, after runs that have ended since the last look were added."""
    with kept.changing() as counted:
        add_ended_runs(instance, counted.totals, datetime.now(UTC))
        totals = counted.totals
    for metrics in COUNTED.values():
        yield from (Sample(metric, totals.images.get(metric, 0)) for metric in metrics.values())
    for job, outcomes in totals.ended.items():
        yield from (Sample("c4_runs_ended_total", number, (job, outcome)) for outcome, number in outcomes.items())
    for step in STEPS:
        times = totals.of_step(NAMES[step])
        yield Sample("c4_step_duration_seconds", times.counts, (NAMES[step],))
        yield Sample("c4_step_failures_total", times.failures, (NAMES[step],))
    yield Sample("c4_runs_counted_timestamp_seconds", totals.until)


def add_ended_runs(instance: dg.DagsterInstance, totals: Totals, now: datetime) -> int:
    """Adds the oldest ended runs that are not in the totals yet, at most :data:`RUNS_A_LOOK`. Returns how many."""
    if not totals.until:
        totals.until = (now - FIRST_LOOK).timestamp()
    new = _not_known(instance, totals)
    for record in new[:RUNS_A_LOOK]:
        _add(instance, totals, record.dagster_run, now)
    totals.until = now.timestamp() if len(new) <= RUNS_A_LOOK else new[RUNS_A_LOOK - 1].update_timestamp.timestamp()
    return min(len(new), RUNS_A_LOOK)


def _not_known(instance: dg.DagsterInstance, totals: Totals) -> list[dg.RunRecord]:
    """The oldest ended runs that are not counted yet: at least one more than a look reads, or all."""
    since = datetime.fromtimestamp(totals.until - OVERLAP_S, UTC)
    found: list[dg.RunRecord] = []
    while True:
        ended = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_after=since)
        page = instance.get_run_records(ended, RUNS_A_PAGE, order_by="update_timestamp", ascending=True)
        found += [record for record in page if record.dagster_run.run_id not in totals.known]
        if len(page) < RUNS_A_PAGE or len(found) > RUNS_A_LOOK:
            return found
        since = page[-1].update_timestamp


def _add(instance: dg.DagsterInstance, totals: Totals, run: dg.DagsterRun, now: datetime) -> None:
    job = "backfill" if run.job_name == "__ASSET_JOB" else run.job_name
    totals.add_run(run.run_id, job if is_of_c4(run) else "other", run.status.value.lower(), now.timestamp())
    if not is_of_c4(run):
        return
    for step in instance.get_run_step_stats(run.run_id):
        if step.step_key not in NAMES:
            continue
        times = totals.of_step(NAMES[step.step_key])
        times.failures += step.status is not None and step.status.value == "FAILURE"
        if step.start_time is not None and step.end_time is not None:
            times.add(step.end_time - step.start_time)
        for event in step.materialization_events or ():
            materialization = event.asset_materialization
            for key, metric in COUNTED.get(step.step_key, {}).items():
                totals.add_images(metric, _number(materialization.metadata if materialization else {}, key))


def _number(metadata: Mapping[str, dg.MetadataValue[Any]], key: str) -> int:
    value = metadata[key].value if key in metadata else None
    return int(value) if isinstance(value, int | float) else 0
