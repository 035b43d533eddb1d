"""Daemons without a sign of life, and sensors and schedules whose ticks fail or do not come.

A look from a sensor can tell only of the others: where the daemon of sensors or the host is dead, nobody looks. That is
what the address is for that is asked for while all is well (:mod:`c4_assets.runs.watch.heartbeat`).
"""

from datetime import UTC, datetime

import dagster as dg

from c4_assets.operations.alerts.conditions import FAILED_TICK_KEYS, ticks_failed, ticks_wrong
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity, Subject
from c4_assets.runs.ticking import SILENT_AFTER, Ticking, all_kept, in_use
from resources.wording import duration

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
        summary=f"Dagster's daemon has given no sign of life for {duration(longest)}: {named}.",
        advice="Restart the daemon and read its log: nothing is scored without it.",
        subjects=tuple(Subject(name) for name in sorted(dead)),
        since=now - longest,
    )
    return Observation(holding=(condition,), looked_at=frozenset({SILENT_KEY}))


def look_at_ticks(instance: dg.DagsterInstance, now: datetime, url: str = "") -> Observation:
    """Which of C4's sensors and schedules fail, or do not tick though they are on."""
    holding = [
        condition
        for each in in_use(all_kept(instance))
        if each.state.is_running and (condition := _trouble(each, now, url))
    ]
    return Observation(holding=tuple(holding), looked_at=frozenset({FAILED_TICK_KEYS}))


def _trouble(of: Ticking, now: datetime, url: str) -> Condition | None:
    """What is wrong with one sensor or schedule."""
    state, failed = of.state, of.failed_in_a_row
    kind, where = ("sensor", "sensors") if of.is_sensor else ("schedule", "schedules")
    link = f"{url}/locations/{state.origin.location_name}/{where}/{state.name}" if url else ""
    if of.is_failing:
        since = datetime.fromtimestamp(failed[-1].timestamp, UTC)
        return ticks_failed(kind, state.name, len(failed), of.why_failed or "it was ended", since, link)
    if of.is_sensor and (since := _stalled_since(of, now)):
        words = f"The sensor {state.name} has not looked for {duration(now - since)}."
        return ticks_wrong(state.name, words, since, link)
    return None


def _stalled_since(sensor: Ticking, now: datetime) -> datetime | None:
    """When a sensor has last begun to look, if that is too long ago. One that never did has just been turned on."""
    last = datetime.fromtimestamp(sensor.last, UTC)
    return last if sensor.ticks and now - last > max(LATE_AFTER * sensor.every, SILENT_AFTER) else None
