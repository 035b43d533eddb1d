"""Why a run failed, in plain words, from its events."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster import DagsterEventType as Event

from c4_assets.operations.alerts.reasons import KILLED, Reason
from c4_assets.runs.causes import cause_of, on_one_line
from c4_assets.runs.watch.outages import SERVICE_KEY

MARKED_FROM_OUTSIDE = "marked as failed from outside"
"""In Dagster's own message of a run that was marked as failed and says nothing of why."""


def reason_of(instance: dg.DagsterInstance, run_id: str) -> Reason:
    """Why a run failed: what its first failed step says, or else what ended it."""
    entries = instance.all_logs(run_id, of_type={Event.STEP_FAILURE, Event.RUN_FAILURE, Event.ENGINE_EVENT})
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    for event in events:
        if event.event_type is Event.STEP_FAILURE:
            return _of_step(event)
    end = next((event for event in reversed(events) if event.event_type is Event.RUN_FAILURE), None)
    words = (end and end.message) or ""
    if end and (error := getattr(end.event_specific_data, "error", None)):
        kind, words = cause_of(error)
        return Reason("", kind, words)
    if not words or MARKED_FROM_OUTSIDE in words:
        # What ended it has written that beside: the launcher, the monitor, the orchestrator of containers.
        words = next(_told_beside(events), words)
    return Reason("", KILLED, on_one_line(words or "The run ended without a word."))


def _of_step(event: dg.DagsterEvent) -> Reason:
    data = event.step_failure_data
    kind, words = cause_of(data.error) if data.error else (KILLED, event.message or "")
    said = data.user_failure_data.description if data.user_failure_data else None
    service = data.user_failure_data.metadata.get(SERVICE_KEY) if data.user_failure_data else None
    return Reason(event.step_key or "", kind, on_one_line(said or words), str(service.value) if service else "")


def _told_beside(events: list[dg.DagsterEvent]) -> Iterator[str]:
    for event in reversed(events):
        if event.event_type is Event.ENGINE_EVENT:
            error: Any = getattr(event.event_specific_data, "error", None)
            if error is not None:
                yield cause_of(error)[1]
            elif event.message:
                yield event.message
