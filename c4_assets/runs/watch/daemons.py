"""Daemons without a sign of life, and sensors and schedules whose ticks fail or do not come.

A look from a sensor can tell only of the others: where the daemon of sensors or the host is dead, nobody looks. That is
what the address is for that is asked for while all is well (:mod:`c4_assets.runs.watch.heartbeat`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

from c4_assets.operations.alerts.conditions import FAILED_TICK_KEYS, ticks_failed, ticks_wrong
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity, Subject
from c4_assets.runs.own_runs import CODE_LOCATION_MODULE, CODE_LOCATION_NAME

SILENT_AFTER = timedelta(minutes=10)
"""Silence of a daemon that is told. They beat every 30 s; a busy one was seen to take minutes."""

FAILURES_BORNE = 3
"""Failed ticks in a row that are told, of what ticks often: one is over with the next. Of what ticks every ten minutes
or less often, the first is told."""

OFTEN = timedelta(minutes=10)

LATE_AFTER = 4
"""Intervals without a tick after which a sensor has stalled; :data:`SILENT_AFTER` at least."""

SILENT_KEY = str(Event.DAEMON_SILENT)


def look_at_daemons(instance: dg.DagsterInstance, now: datetime) -> Observation:
    """Which of the daemons that this instance needs give no sign of life. One that never did is not there yet."""
    beats = instance.get_daemon_heartbeats()
    needed = instance.get_required_daemon_types()
    silent = {name: now - datetime.fromtimestamp(beats[name].timestamp, UTC) for name in needed if name in beats}
    dead = {name: span for name, span in silent.items() if span > SILENT_AFTER}
    if not dead:
        return Observation(looked_at=frozenset({SILENT_KEY}))
    longest = max(dead.values())
    named = ", ".join(sorted(dead))
    condition = Condition(
        key=SILENT_KEY,
        event=Event.DAEMON_SILENT,
        severity=Severity.ERROR,
        summary=f"Dagster's daemon has given no sign of life for {_minutes(longest)}: {named}.",
        advice="Restart the daemon and read its log: nothing is scored without it.",
        subjects=tuple(Subject(name) for name in sorted(dead)),
        since=now - longest,
    )
    return Observation(holding=(condition,), looked_at=frozenset({SILENT_KEY}))


def look_at_ticks(instance: dg.DagsterInstance, now: datetime, url: str = "") -> Observation:
    """Which of C4's sensors and schedules fail, or do not tick though they are on."""
    if instance.schedule_storage is None:  # an instance in memory, which has no daemon
        return Observation()
    holding = [
        condition
        for state in instance.all_instigator_state()
        if state.is_running and _is_of_c4(state) and (condition := _trouble(instance, state, now, url))
    ]
    return Observation(holding=tuple(holding), looked_at=frozenset({FAILED_TICK_KEYS}))


def _is_of_c4(state: InstigatorState) -> bool:
    return state.origin.location_name in (CODE_LOCATION_NAME, CODE_LOCATION_MODULE)


def _trouble(instance: dg.DagsterInstance, state: InstigatorState, now: datetime, url: str) -> Condition | None:
    """What is wrong with one sensor or schedule."""
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILURES_BORNE + 1)
    ended = [tick for tick in ticks if tick.status is not TickStatus.STARTED]
    failed = _failed_in_a_row(ended)
    is_sensor = state.instigator_type is InstigatorType.SENSOR
    kind, where = ("sensor", "sensors") if is_sensor else ("schedule", "schedules")
    every = _interval(state)
    link = f"{url}/locations/{state.origin.location_name}/{where}/{state.name}" if url else ""
    if failed and (len(failed) >= FAILURES_BORNE or not is_sensor or every >= OFTEN):
        error = failed[0].error
        why = " ".join(error.message.split())[:500] if error else "it was ended"
        return ticks_failed(kind, state.name, len(failed), why, datetime.fromtimestamp(failed[-1].timestamp, UTC), link)
    if is_sensor and (since := _stalled_since(ticks, every, now)):
        words = f"The sensor {state.name} has not looked for {_minutes(now - since)}."
        return ticks_wrong(state.name, words, since, link)
    return None


def _failed_in_a_row(ended: Sequence[InstigatorTick]) -> list[InstigatorTick]:
    """The newest ticks that failed, the newest first, up to the first one that did not."""
    failed: list[InstigatorTick] = []
    for tick in ended:
        if tick.status is not TickStatus.FAILURE:
            break
        failed.append(tick)
    return failed


def _interval(state: InstigatorState) -> timedelta:
    data = state.sensor_instigator_data
    return timedelta(seconds=(data.min_interval if data else None) or 30)


def _stalled_since(ticks: Sequence[InstigatorTick], every: timedelta, now: datetime) -> datetime | None:
    """When a sensor has last begun to look, if that is too long ago. One that never did has just been turned on."""
    if not ticks:
        return None
    last = datetime.fromtimestamp(ticks[0].timestamp, UTC)
    return last if now - last > max(LATE_AFTER * every, SILENT_AFTER) else None


def _minutes(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
