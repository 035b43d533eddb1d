"""Runs that take far longer than runs of their job do."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus as Status

from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity
from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.step_failures import in_backfill
from c4_assets.runs.watch.subjects import name_of, partitions_of, subject_of
from resources.wording import duration

AT_LEAST = timedelta(hours=3)
"""Time that any run may take: a day of many plates, or one that waits behind others for a slot of a pool."""

TIMES_THE_LONGEST = 3
"""So many times the longest of the newest runs of its job that ended well."""

RUNS_COMPARED = 20

SLOW_RUN_KEYS = "run-slow:"


def look_at_slow_runs(instance: dg.DagsterInstance, now: datetime, url: str = "") -> Observation:
    """Which started runs take far longer than others of their job.

    Runs of backfills are left out: they wait for days where a service is away, by design. A job of which no run has
    ended well is not judged.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=[Status.STARTED, Status.CANCELING]), limit=500)
    long = [
        (record, now - datetime.fromtimestamp(record.start_time, UTC))
        for record in records
        if record.start_time and not in_backfill(record.dagster_run.tags) and is_of_c4(record.dagster_run)
    ]
    holding: list[Condition] = []
    by_job: dict[str, list[tuple[dg.RunRecord, timedelta]]] = {}
    for record, lasted in long:
        if lasted > AT_LEAST:
            by_job.setdefault(record.dagster_run.job_name, []).append((record, lasted))
    for job, slow in by_job.items():
        usual = _longest_of_newest(instance, job)
        if usual is not None and (found := [each for each in slow if each[1] > TIMES_THE_LONGEST * usual]):
            holding.append(_condition(job, found, usual, now, url))
    return Observation(holding=tuple(holding), looked_at=frozenset({SLOW_RUN_KEYS}))


def _longest_of_newest(instance: dg.DagsterInstance, job: str) -> timedelta | None:
    ended = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=[Status.SUCCESS]), limit=RUNS_COMPARED)
    spans = [record.end_time - record.start_time for record in ended if record.end_time and record.start_time]
    return timedelta(seconds=max(spans)) if spans else None


def _condition(
    job: str, slow: list[tuple[dg.RunRecord, timedelta]], usual: timedelta, now: datetime, url: str
) -> Condition:
    record, lasted = max(slow, key=lambda each: each[1])
    run = record.dagster_run
    about = " of ".join(part for part in (name_of(run), partitions_of(run)) if part)
    return Condition(
        key=f"{SLOW_RUN_KEYS}{job}",
        event=Event.RUN_FAILED,
        severity=Severity.WARNING,
        summary=f"{about} has been running for {duration(lasted)}. None of the last ones took more than "
        f"{duration(usual)}.",
        advice="See in its log what it waits for. Terminated in the UI, it loses nothing that it has finished.",
        subjects=tuple(subject_of(each.dagster_run, url) for each, _ in slow),
        since=now - lasted,
    )
