"""What a message says of its incident, in plain words."""

from collections.abc import Callable
from datetime import datetime, tzinfo

from c4_assets.operations.alerts.incident import Incident
from c4_assets.operations.alerts.records import Change, Event, Message
from c4_assets.operations.alerts.rules import Rules
from resources.wording import counted, duration

TITLE_CHARACTERS = 100

COUNTED_NOUNS = {
    Event.RUN_FAILED: ("run failed", "runs failed"),
    Event.CHECK_FAILED: ("check failed", "checks failed"),
    Event.IMAGES_GIVEN_UP: ("image was given up", "images were given up"),
}
"""What is counted of what has happened, one and several."""

WAITED_FOR = frozenset({Event.DATABASE_AWAY, Event.STORE_AWAY, Event.SLURM_AWAY})
"""Conditions whose subjects are runs that wait for their end."""

WELL_AGAIN = {
    Event.RUN_FAILED: "Runs succeed again",
    Event.CHECK_FAILED: "Checks pass again",
    Event.DATABASE_AWAY: "The imaging database answers again",
    Event.STORE_AWAY: "The image store answers again",
    Event.SLURM_AWAY: "Slurm answers again",
    Event.NOTHING_IMAGED: "Imaging goes on",
    Event.SENSOR_FAILED: "Ticks succeed again",
    Event.DAEMON_SILENT: "Dagster's daemon is heard again",
    Event.DISK_FILLING: "There is room again",
    Event.STAGING_FULL: "Staging takes images again",
    Event.ASSET_STALE: "Fresh again",
    Event.CHANNEL_AWAY: "Messages pass again",
}

CONDITION_ENDED = {Event.RUN_FAILED: "The run has ended"}
"""What is said instead of that where the incident is of a condition that held: a run that was slow."""


def message_of(incident: Incident, change: Change, rules: Rules, now: datetime) -> Message:
    """The next message of an incident."""
    title, lines = _WORDS[change](incident, rules.zone, now)
    over = change is Change.RECOVERED
    short = title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1].rstrip() + "…"
    condition = incident.condition
    return Message(
        id=f"{incident.id}.{incident.sequence + 1:03d}",
        thread=incident.id,
        change=change,
        event=condition.event,
        severity=max(condition.severity, incident.worst_told or condition.severity, key=lambda each: each.rank),
        at=now,
        title=short,
        lines=tuple(dict.fromkeys((*((title,) if short != title else ()), *lines))),
        advice="" if over else condition.advice,
        subjects=incident.subjects,
        more=max(0, incident.subject_count - len(incident.subjects)),
        page=condition.event.value,
    )


def _opened(incident: Incident, zone: tzinfo, _now: datetime) -> tuple[str, tuple[str, ...]]:
    summary = incident.condition.summary
    if incident.holds:
        return summary, (f"{_since(incident, zone)}.", *_waiting(incident))
    if incident.count == incident.condition.count:  # the newest is the only one
        return summary, (f"On {clock(incident.last, zone)}.",)
    return _counted(incident), (f"The last: {summary}", _span(incident, zone))


def _grew(incident: Incident, zone: tzinfo, _now: datetime) -> tuple[str, tuple[str, ...]]:
    summary = incident.condition.summary
    if incident.holds:
        return f"Worse: {summary}", (f"{_since(incident, zone)}.", *_waiting(incident))
    more = incident.count - incident.told_count
    said = f"{_counted(incident)}, {more:,} of them since the last message" if more else f"Worse: {_counted(incident)}"
    return said, (f"The last: {summary}", _span(incident, zone))


def _repeated(incident: Incident, zone: tzinfo, now: datetime) -> tuple[str, tuple[str, ...]]:
    lasted = duration(now - incident.opened)
    return (
        f"Still: {incident.condition.summary}",
        (f"{_since(incident, zone)}, {lasted} ago.", *_waiting(incident)),
    )


def _recovered(incident: Incident, zone: tzinfo, now: datetime) -> tuple[str, tuple[str, ...]]:
    condition, ended = incident.condition, incident.ended or now
    what = condition.key.partition(":")[2]
    well = WELL_AGAIN.get(condition.event, "Well again")
    well = CONDITION_ENDED.get(condition.event, well) if incident.holds else well
    title = well + (f": {what}" if what else "")
    when = f"from {clock(incident.opened, zone)} to {clock(ended, zone)}"
    lasted = f"Recovered after {duration(ended - incident.opened)}, {when}."
    if not incident.holds:
        return title, (lasted, f"{_counted(incident)}.", f"The last: {condition.summary}")
    waited = counted(incident.count, "run") + " waited."  # the most at once
    return title, (lasted, *((waited,) if incident.count and condition.event in WAITED_FOR else ()))


_WORDS: dict[Change, Callable[[Incident, tzinfo, datetime], tuple[str, tuple[str, ...]]]] = {
    Change.OPENED: _opened,
    Change.GREW: _grew,
    Change.REPEATED: _repeated,
    Change.RECOVERED: _recovered,
}


def _since(incident: Incident, zone: tzinfo) -> str:
    """When it began. A service or channel is asked at intervals: it may be away for longer than is known."""
    asked = incident.condition.event in (*WAITED_FOR, Event.CHANNEL_AWAY)
    return f"{'First noticed' if asked else 'Since'} {clock(incident.opened, zone)}"


def _counted(incident: Incident) -> str:
    return counted(incident.count, *COUNTED_NOUNS.get(incident.condition.event, ("time", "times")))


def _waiting(incident: Incident) -> tuple[str, ...]:
    if not incident.subject_count or incident.condition.event not in WAITED_FOR:
        return ()
    return (counted(incident.subject_count, "run waits for it.", "runs wait for it."),)


def _span(incident: Incident, zone: tzinfo) -> str:
    first, last = clock(incident.opened, zone), clock(incident.last, zone)
    return f"On {first}." if first == last else f"Between {first} and {last}."


def clock(moment: datetime, zone: tzinfo) -> str:
    """A moment as operators read it: ``26 Nov 02:10 UTC``."""
    local = moment.astimezone(zone)
    return f"{local.day} {local:%b %H:%M %Z}".rstrip()
