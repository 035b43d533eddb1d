"""Traces of runs: the spans of ended runs and their steps from Dagster's event log, and steps that tell of inspections.

The process of a step knows its inspections; what a run and its steps took is in Dagster's log, even of those that were
killed. Both parts give the same ids (``resources/tracing.py``).
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType as Event
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from c4_assets.deployment import SETTINGS
from c4_assets.runs.log_lines import ids_of_run
from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.ticking import all_states
from resources import tracing
from resources.tracing import Span, Step, run_place, step_place, tick_place

TICK_NUMBER_TAG = "dagster/tick"
"""Dagster's tag of a run that a sensor or schedule has asked for: the number of the tick. C4's own tag of it is
:data:`c4_assets.runs.log_lines.TICK_TAG`."""

SHOWN_TAGS = {
    "dagster/partition": "c4.day",
    "dagster/asset_partition_range_start": "c4.first_day",
    "dagster/asset_partition_range_end": "c4.last_day",
    "dagster/backfill": "c4.backfill",
}

LOOK_OVERLAP = timedelta(seconds=60)
"""How far each look reaches back: Dagster may set a time before it writes it, and a tick may have been at work. What
is sent twice has the same ids."""

RUNS_A_LOOK = 50

TICKS_A_LOOK = 50

STEP_BEGINNINGS = {Event.STEP_START, Event.STEP_RESTARTED}
STEP_ENDS = {Event.STEP_SUCCESS, Event.STEP_FAILURE, Event.STEP_UP_FOR_RETRY}


@contextmanager
def traced(context: dg.AssetExecutionContext) -> Generator[None]:
    """The inspections that the block works on become spans of the step, where traces are on.

    Leaving the block waits for two seconds at most until they are sent.
    """
    if SETTINGS.tracing.endpoint is None:
        yield
        return
    sender = tracing.sender(SETTINGS.tracing.endpoint)
    step = Step(sender, context.run.run_id, context.asset_key.path[-1], context.retry_number)
    try:
        with tracing.at_work_on(step):
            yield
    finally:
        sender.flush()


def ended_runs(instance: dg.DagsterInstance, since: datetime) -> Sequence[dg.RunRecord]:
    """C4's runs that have ended after a time, the oldest first, and not more than a look takes."""
    ended = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_after=since)
    return instance.get_run_records(ended, RUNS_A_LOOK, order_by="update_timestamp", ascending=True)


def run_spans(instance: dg.DagsterInstance, record: dg.RunRecord) -> Iterator[Span]:
    """The spans of an ended run and of each attempt at its steps."""
    run = record.dagster_run
    ended = record.end_time or record.update_timestamp.timestamp()
    whole = Span(f"run {run.job_name}", run_place(run.run_id), record.create_timestamp.timestamp(), ended)
    whole.attributes |= {"c4.run_id": run.run_id, "c4.status": run.status.value.lower()}
    whole.attributes |= {name: run.tags[tag] for tag, name in SHOWN_TAGS.items() if tag in run.tags}
    whole.attributes["c4.correlation"] = str(ids_of_run(run.run_id, run.job_name, run.tags)["correlation"])
    if record.start_time:
        whole.attributes["c4.seconds_queued"] = round(record.start_time - whole.start, 3)
    if tick := run.tags.get(TICK_NUMBER_TAG):
        whole.links = (tick_place(tick),)
    if run.status is not dg.DagsterRunStatus.SUCCESS:
        whole.error = run.status.value.lower()
    yield whole
    yield from _steps(instance.all_logs(run.run_id, of_type=STEP_BEGINNINGS | STEP_ENDS), whole)


def _steps(events: Sequence[dg.EventLogEntry], run: Span) -> Iterator[Span]:
    open_: dict[str, Span] = {}
    attempts: dict[str, int] = {}
    run_id = str(run.attributes["c4.run_id"])
    for entry in sorted(events, key=lambda entry: entry.timestamp):
        event = entry.dagster_event
        if event is None or not (key := event.step_key):
            continue
        if event.event_type in STEP_BEGINNINGS:
            attempt = attempts.get(key, 0)
            attempts[key] = attempt + 1
            open_[key] = Span(f"step {key}", step_place(run_id, key, attempt), entry.timestamp, parent=run.place)
            open_[key].attributes |= {"c4.step": key, "c4.attempt": attempt}
        elif span := open_.pop(key, None):
            span.end = entry.timestamp
            span.error = "" if event.event_type is Event.STEP_SUCCESS else event.event_type_value.lower()
            yield span
    for span in open_.values():  # its process was killed
        span.end, span.error = run.end, "no end"
        yield span


def tick_spans(instance: dg.DagsterInstance, since: datetime) -> Iterator[Span]:
    """The ticks of sensors and schedules since a time that have asked for runs."""
    for state in all_states(instance):
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=since.timestamp(), limit=TICKS_A_LOOK
        )
        for tick in ticks:
            if tick.is_completed and tick.run_ids:
                name = f"tick {state.instigator_name}"
                span = Span(name, tick_place(str(tick.tick_id)), tick.timestamp, tick.end_timestamp or tick.timestamp)
                span.attributes["c4.runs"] = len(tick.run_ids)
                span.error = "failure" if tick.is_failure else ""
                yield span


@dataclass(frozen=True)
class Told:
    """How many ended runs a look found, how many spans the collector did not take, and where the next look begins."""

    runs: int
    lost: int
    until: datetime


def tell(instance: dg.DagsterInstance, sender: tracing.Sender, since: datetime) -> Told:
    """Sends the spans of runs that have ended since a time, and of the ticks since then."""
    now = datetime.now(UTC)
    records = ended_runs(instance, since)
    sender.send(tick_spans(instance, since))
    for record in records:
        if is_of_c4(record.dagster_run):
            sender.send(run_spans(instance, record))
    return Told(
        len(records),
        sender.flush(),
        records[-1].update_timestamp if len(records) == RUNS_A_LOOK else now - LOOK_OVERLAP,
    )
