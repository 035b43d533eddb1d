"""Why a run failed, in plain words, from its events."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster import DagsterEventType as Event

from c4_assets.operations.alerts.reasons import KILLED, Reason
from c4_assets.runs.watch.outages import SERVICE_KEY
from resources.redaction import redacted

MAX_REASON = 500

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
        kind, words = _innermost(error)
        return Reason("", kind, _short(words))
    if not words or MARKED_FROM_OUTSIDE in words:
        # What ended it has written that beside: the launcher, the monitor, the orchestrator of containers.
        words = next(_told_beside(events), words)
    return Reason("", KILLED, _short(words or "The run ended without a word."))


def _of_step(event: dg.DagsterEvent) -> Reason:
    data = event.step_failure_data
    kind, words = _innermost(data.error) if data.error else (KILLED, event.message or "")
    said = data.user_failure_data.description if data.user_failure_data else None
    service = data.user_failure_data.metadata.get(SERVICE_KEY) if data.user_failure_data else None
    return Reason(event.step_key or "", kind, _short(said or words), str(service.value) if service else "")


def _told_beside(events: list[dg.DagsterEvent]) -> Iterator[str]:
    for event in reversed(events):
        if event.event_type is Event.ENGINE_EVENT:
            error: Any = getattr(event.event_specific_data, "error", None)
            if error is not None:
                yield _innermost(error)[1]
            elif event.message:
                yield event.message


def _innermost(error: Any) -> tuple[str, str]:
    """Class and message of what an error was raised from. Dagster wraps what a step raises."""
    while error.cause is not None:
        error = error.cause
    message = str(error.message).strip()
    name = str(error.cls_name or "Error")
    _, _, words = message.partition(f"{name}: ")
    return name, words or message


def _short(words: str) -> str:
    one_line = redacted(" ".join(words.split()))  # before it is cut
    return one_line if len(one_line) <= MAX_REASON else f"{one_line[: MAX_REASON - 1]}…"
