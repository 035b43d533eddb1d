"""From what was observed to incidents, and from incidents to messages. Pure: time is an argument.

The words are those of Prometheus' Alertmanager: *group wait*, *group interval*, *repeat interval*, *inhibition*.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from c4_assets.operations.alerts.incident import Incident
from c4_assets.operations.alerts.records import Change, Event, Message, Observation
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.wording import message_of

INHIBITS: Mapping[Event, frozenset[Event]] = {
    Event.DATABASE_AWAY: frozenset(
        {
            Event.RUN_FAILED,
            Event.CHECK_FAILED,
            Event.IMAGES_GIVEN_UP,
            Event.NOTHING_IMAGED,
            Event.SENSOR_FAILED,
            Event.STAGING_FULL,
            Event.ASSET_STALE,
        }
    ),
    Event.STORE_AWAY: frozenset({Event.RUN_FAILED, Event.ASSET_STALE}),
    Event.SLURM_AWAY: frozenset({Event.RUN_FAILED, Event.STAGING_FULL, Event.ASSET_STALE}),
    Event.DAEMON_SILENT: frozenset({Event.ASSET_STALE}),
}
"""What follows from what: while the cause holds, nothing is told of its consequences."""

AWAY = frozenset({Event.DATABASE_AWAY, Event.STORE_AWAY, Event.SLURM_AWAY, Event.CHANNEL_AWAY})
"""What is told when it is away for longer than the site's rules say."""

LONGEST_SETTLING = timedelta(hours=1)
"""Longest time after a cause's end during which its consequences stay silent: by then the hourly run has been."""

LONGEST_SPACING = timedelta(days=7)
"""What lasts is told of once a week at least."""

CLOSED_AFTER = {Event.IMAGES_GIVEN_UP: timedelta(days=1)}
"""How long after it last happened something is forgotten, which may never be well again."""

CLOSED_AFTER_ELSE = timedelta(days=7)

BURST_FACTOR = 10
"""An incident that has grown by this factor is told without waiting for longer than the group interval."""


@dataclass(frozen=True)
class Ended:
    """A cause that has ended, and how long its consequences stay silent."""

    at: datetime
    silent_until: datetime


@dataclass(frozen=True)
class State:
    """What is known between two looks.

    Attributes:
        incidents: those that are not closed.
        ended: causes that ended lately.
        told: when the last message of a closed incident was made, by its key: the next one of the key keeps a distance.
    """

    incidents: tuple[Incident, ...] = ()
    ended: Mapping[Event, Ended] = field(default_factory=dict[Event, Ended])
    told: Mapping[str, datetime] = field(default_factory=dict[str, datetime])


def merged(*observations: Observation) -> Observation:
    """Several looks at different things as one."""
    return Observation(
        holding=tuple(each for one in observations for each in one.holding),
        looked_at=frozenset(key for one in observations for key in one.looked_at),
        occurred=tuple(each for one in observations for each in one.occurred),
        recovered=frozenset(key for one in observations for key in one.recovered),
        notes=tuple(each for one in observations for each in one.notes),
    )


def advance(state: State, observation: Observation, rules: Rules, now: datetime) -> tuple[State, tuple[Message, ...]]:
    """What is known after a look, and what is to be told.

    A look that sees nothing new is needed, too: it is when what has waited is told. Where the clock was put back, what
    is known of moments that are still to come counts as of ``now``: it must silence nothing until then.
    """
    state = _until(state, now)
    incidents = {incident.key: incident for incident in state.incidents}
    for condition in observation.holding:
        known = incidents.get(condition.key) or Incident.of(condition, True, now)
        incidents[condition.key] = known.held(condition, now)
    for condition in observation.occurred:
        known = incidents.get(condition.key) or Incident.of(condition, False, now)
        incidents[condition.key] = known.happened(condition, now)
    incidents |= _ended(incidents.values(), observation, now)
    silent = _silent_events(incidents.values(), state.ended, now)
    kept: list[Incident] = []
    messages: list[Message] = []
    ended, told = dict(state.ended), dict(state.told)
    over: set[Event] = set()
    for incident in incidents.values():
        change = _change(incident, incident.condition.event in silent, told, rules, now)
        if change:
            messages.append(message_of(incident, change, rules, now))
        after = incident.after(change, now) if change else incident
        if not _is_closed(after, rules, now):
            kept.append(after)
            continue
        if after.told:
            told[after.key] = after.told
        if after.condition.event in INHIBITS and after.ended:
            ended[after.condition.event] = _settling(after, after.ended, rules)
            over |= {after.condition.event} if after.told else set()
    return (
        State(
            tuple(incident for incident in kept if not _went_with(incident, over)),
            {event: each for event, each in ended.items() if now < each.silent_until},
            {key: at for key, at in told.items() if now < at + rules.group_interval},
        ),
        tuple(messages),
    )


def _until(state: State, now: datetime) -> State:
    """What is known, without moments that are still to come."""
    return State(
        tuple(incident.until(now) for incident in state.incidents),
        {
            event: Ended(min(each.at, now), min(each.silent_until, now + LONGEST_SETTLING))
            for event, each in state.ended.items()
        },
        {key: min(at, now) for key, at in state.told.items()},
    )


def _went_with(incident: Incident, over: Collection[Event]) -> bool:
    """Whether all of an incident of which nobody knows has happened because of a cause that was told and is over.

    What failed is asked for again, by the sensor or by Dagster; what fails from now on is a new incident.
    """
    return not incident.holds and incident.told is None and incident.condition.because_of in over


def _ended(incidents: Iterable[Incident], observation: Observation, now: datetime) -> dict[str, Incident]:
    """Incidents that are over."""
    held = {condition.key for condition in observation.holding}
    return {
        incident.key: replace(incident, ended=incident.ended or now)
        for incident in incidents
        if (
            incident.key not in held and _looked_at(incident.key, observation.looked_at)
            if incident.holds
            else incident.key in observation.recovered
        )
    }


def _looked_at(key: str, looked_at: Iterable[str]) -> bool:
    return any(key == each or (each.endswith(":") and key.startswith(each)) for each in looked_at)


def _silent_events(incidents: Iterable[Incident], ended: Mapping[Event, Ended], now: datetime) -> set[Event]:
    """Events of which nothing is told, because they follow from what holds, or held until just now."""
    causes = {incident.condition.event for incident in incidents}
    causes |= {event for event, each in ended.items() if now < each.silent_until}
    return {event for cause in causes for event in INHIBITS.get(cause, ())}


def _settling(incident: Incident, at: datetime, rules: Rules) -> Ended:
    """A short outage must not silence for long: one that comes and goes would silence for ever."""
    lasted = at - incident.opened
    return Ended(at, at + min(LONGEST_SETTLING, max(rules.group_wait, lasted)))


def _change(
    incident: Incident, silent: bool, told: Mapping[str, datetime], rules: Rules, now: datetime
) -> Change | None:
    """What is to be told of an incident now."""
    if incident.ended is not None:
        over = now >= incident.ended + rules.group_wait
        return Change.RECOVERED if incident.told and over else None
    if silent:
        return None
    if incident.told is None:
        last = told.get(incident.key)
        early = now < _due(incident, rules) or (last is not None and now < last + rules.group_interval)
        return None if early else Change.OPENED
    return _further(incident, incident.told, rules, now)


def _due(incident: Incident, rules: Rules) -> datetime:
    if incident.condition.event in AWAY:
        return incident.opened + rules.away
    return incident.seen + rules.group_wait


def _further(incident: Incident, told: datetime, rules: Rules, now: datetime) -> Change | None:
    """What is to be told of an incident of which people know."""
    if incident.worst_told and incident.condition.severity.rank > incident.worst_told.rank:
        return Change.GREW
    if incident.holds:
        # What could not be looked at may be over: it is not told that it still holds.
        due = incident.last == now and now >= told + _spacing(rules.repeat_interval, incident.spaced)
        return Change.REPEATED if due else None
    if incident.count == incident.told_count:
        return None
    burst = incident.count >= BURST_FACTOR * incident.told_count
    spacing = rules.group_interval if burst else _spacing(rules.group_interval, incident.spaced)
    return Change.GREW if now >= told + spacing else None


def _spacing(first: timedelta, before: int) -> timedelta:
    """Each message of an incident keeps twice the distance of the last one."""
    return min(first * 2 ** min(before, 20), max(first, LONGEST_SPACING))


def _is_closed(incident: Incident, rules: Rules, now: datetime) -> bool:
    if incident.ended is not None:
        return now >= incident.ended + rules.group_wait
    forgotten = incident.last + CLOSED_AFTER.get(incident.condition.event, CLOSED_AFTER_ELSE)
    return not incident.holds and incident.told is not None and now >= forgotten
