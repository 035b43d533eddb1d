"""Ends runs whose process is gone: killed, or ended with its machine, before it could say how the run ended.

Dagster's default launcher cannot look at the processes that it has started. Without this, such a run would stay started
for ever, and so would what waits for it: its days, its place in the queue, its slots of the pools.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from dagster import DagsterEventType as Event
from dagster import DagsterRunStatus as Status

from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.run_processes import (
    SIGN_OF_LIFE_S,
    SUSPECTED_KEY,
    RunProcess,
    forget_processes,
    processes_of,
)

log = logging.getLogger("c4.runs")

AT_WORK = [Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING]
"""Statuses of a run that has a process, or is about to have one. A queued run has none."""

SILENT_AFTER = timedelta(minutes=10)
"""Silence from which a process that cannot be looked at is suspected to be gone."""

SURE_AFTER = timedelta(minutes=3)
"""Time for which it must then give no sign of life. Where Dagster's database was away, every process was silent; back
again, those that live give a sign within half a minute."""

RESTARTED_AFTER = timedelta(seconds=2 * SIGN_OF_LIFE_S)
"""Silence from which a machine that has started anew is believed to be the one on which the process was: copies of a
machine may share its name and its id."""

BEGUN_AFTER = timedelta(minutes=10)
"""Time after which a started run without a process and without a step has died in between."""

STEP_EVENTS = {Event.STEP_WORKER_STARTING, Event.STEP_WORKER_STARTED, Event.STEP_START}

WHAT_NOW = (
    "What it had finished stays, and its slots of the pools are free again. Days with pending images are asked for "
    "again: by Dagster, by the sensor, or with `c4 run`."
)


@dataclass(frozen=True)
class LostRun:
    """A run that is not over, and why its process must be gone."""

    run: dg.DagsterRun
    reason: str

    def __str__(self) -> str:
        return f"Run {self.run.run_id[:8]} ({self.run.job_name}): {self.reason}"


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks the runs as failed whose process is gone, with the reason, and frees their slots of the pools.

    A run that lives is never touched, nor is one of another code location, nor any where Dagster itself asks the
    launcher for the health of run workers (Kubernetes, Docker with run monitoring). May be called at any time, by
    several processes at once.

    Returns:
        A sentence for each run that was ended.
    """
    ended: list[str] = []
    for lost in _lost(instance, note=True):
        if _ended(instance, lost.run.run_id, lost.reason):
            ended.append(str(lost))
            log.warning("%s", ended[-1])
    return ended


def find_lost_runs(instance: dg.DagsterInstance) -> list[LostRun]:
    """The runs that :func:`end_lost_runs` would end now. Nothing is written."""
    return list(_lost(instance, note=False))


def _lost(instance: dg.DagsterInstance, *, note: bool) -> Iterator[LostRun]:
    """The runs whose process is gone.

    Args:
        note: whether to note which processes are suspected, so that a later look can be sure.
    """
    if instance.run_monitoring_enabled and instance.run_launcher.supports_check_run_worker_health:
        return
    records = instance.get_run_records(dg.RunsFilter(statuses=AT_WORK))
    noted = processes_of(instance, [record.dagster_run.run_id for record in records])
    for record in records:
        run = record.dagster_run
        if process := noted.get(run.run_id):
            reason = _reason(instance, run.run_id, process, note=note)
        else:
            reason = _reason_without_process(instance, record)
        if reason:
            yield LostRun(run, reason)


def _ended(instance: dg.DagsterInstance, run_id: str, reason: str) -> bool:
    """Ends a run, unless it has ended by itself in this moment."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in AT_WORK:
        return False
    if run.status == Status.CANCELING:
        instance.report_run_canceled(run, f"{reason} It was being cancelled.")
    else:
        instance.report_run_failed(run, f"{reason} {WHAT_NOW}")
    free_slots(instance, run_id)
    forget_processes(instance, [run_id])
    return True


def mark_cancelled(instance: dg.DagsterInstance, run_id: str, reason: str) -> None:
    """Marks a run of this process as cancelled, unless it is over, and frees its slots of the pools."""
    run = instance.get_run_by_id(run_id)
    if run and run.status in AT_WORK:
        instance.report_run_canceled(run, reason)
    free_slots(instance, run_id)
    forget_processes(instance, [run_id])


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Gives back the slots of the pools that a run holds or waits for."""
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _reason(instance: dg.DagsterInstance, run_id: str, noted: RunProcess, *, note: bool) -> str | None:
    """Why the process of a run must be gone, or None where it lives or may live."""
    process, fate = noted.process, noted.process.fate()
    silent = time.time() - noted.alive_at
    if fate == "is gone":
        return f"The {process} that worked on this run was killed."
    if fate == "went with its machine" and silent > RESTARTED_AFTER.total_seconds():
        return f"The {process} that worked on this run ended when the machine was switched off or restarted."
    if fate == "cannot be looked at" and _stays_silent(instance, run_id, noted, silent, note=note):
        return f"The {process} that worked on this run has given no sign of life for {silent / 60:.0f} minutes."
    return None


def _stays_silent(instance: dg.DagsterInstance, run_id: str, noted: RunProcess, silent: float, *, note: bool) -> bool:
    """Whether a process has been silent for long, and was seen to be so before, by this process or another one."""
    if silent < SILENT_AFTER.total_seconds():
        return False
    key = SUSPECTED_KEY.format(run_id=run_id)
    suspected = instance.run_storage.get_cursor_values({key}).get(key, "")
    with suppress(ValueError, TypeError, KeyError):
        before = json.loads(suspected)
        if before["alive_at"] == noted.alive_at:
            return time.time() - before["since"] >= SURE_AFTER.total_seconds()
    if not note:
        return False
    now = json.dumps({"alive_at": noted.alive_at, "since": time.time()})
    instance.run_storage.set_cursor_values({key: now})
    return False


def _reason_without_process(instance: dg.DagsterInstance, record: dg.RunRecord) -> str | None:
    """Why a run must have died between its start and its first step: a process is noted before any step begins."""
    run = record.dagster_run
    if run.status != Status.STARTED or not run.job_code_origin or not is_of_c4(run):
        return None
    if record.start_time is None or time.time() - record.start_time < BEGUN_AFTER.total_seconds():
        return None
    if any(_is_of_a_step(entry) for entry in instance.all_logs(run.run_id, of_type={*STEP_EVENTS, Event.ENGINE_EVENT})):
        return None  # an executor that notes no process: of an earlier release, or of the site
    return "The process of this run ended before its first step."


def _is_of_a_step(entry: dg.EventLogEntry) -> bool:
    """Whether a step has begun, or waits for a slot of its pool."""
    event = entry.dagster_event
    return event is not None and (event.event_type in STEP_EVENTS or event.step_key is not None)
