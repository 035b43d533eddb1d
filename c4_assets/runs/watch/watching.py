"""What the sensors of alerts do: look and tell, and deliver what was told."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import dagster as dg

from c4_assets.operations.alerts.incidents import merged
from c4_assets.operations.alerts.outbox import Delivered
from c4_assets.operations.alerts.records import Event, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, load, outbox_of, remember, tell
from c4_assets.operations.channels import open_channels, operators_channels
from c4_assets.runs.watch.heartbeat import beat, is_due
from c4_assets.runs.watch.look import look
from resources.redaction import beginning
from resources.settings import Settings
from resources.wording import counted

NOT_SET_UP = "No alerts are set up: the section alerts of the settings names no channel and no heartbeat_url."

_CURSOR_PREFIX = "watch/"
"""How the names of the watch's cursors begin, among those that are kept with the incidents."""

_HEARTBEAT = "heartbeat"

DELIVER_S = 15
"""No send begins later than so long after its round of deliveries: a tick may take a minute, and a mail half of it."""


def is_set_up(settings: Settings) -> bool:
    """Whether operators are to hear of anything."""
    return bool(operators_channels(settings.alerts)) or settings.alerts.heartbeat_url is not None


def watch(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> str:
    """Looks once, and puts what is to be told into the outbox. Nothing is sent but the heartbeat, and that last: a
    watch that cannot tell what it sees must not be taken for one that is well.

    Returns:
        What was seen, in a sentence for Dagster's UI.

    Raises:
        TimeoutError, NoRoom: see :func:`c4_assets.operations.alerts.state.tell`. What was seen is seen again.
    """
    folder = alerts_folder(settings.home)
    cursors = _cursors(load(folder).seen)
    seen = look(instance, settings, cursors, now)
    observation = merged(seen.observation, outbox_of(folder).observation(now))
    tell(folder, observation, Rules.of(settings.alerts), now, _named(seen.cursors))
    before = cursors.get(_HEARTBEAT, "")
    if (after := _heartbeat(settings, seen.observation, before, now)) != before:
        remember(folder, _named({_HEARTBEAT: after}))
    return _said(folder, observation)


def _cursors(kept: Mapping[str, str]) -> dict[str, str]:
    """The watch's own cursors among all that are kept, by the names of its parts."""
    return {name.removeprefix(_CURSOR_PREFIX): value for name, value in kept.items() if name.startswith(_CURSOR_PREFIX)}


def _named(cursors: Mapping[str, str]) -> dict[str, str]:
    """The watch's cursors as they are kept."""
    return {f"{_CURSOR_PREFIX}{name}": value for name, value in cursors.items()}


def deliver(settings: Settings, now: datetime) -> Delivered:
    """Sends what waits in the outbox and is due. A channel that is away is asked again later."""
    folder = alerts_folder(settings.home)
    channels = open_channels(settings.alerts, folder)
    return outbox_of(folder).deliver(list(channels.values()), Rules.of(settings.alerts), now, DELIVER_S)


def _heartbeat(settings: Settings, observation: Observation, cursor: str, now: datetime) -> str:
    """Asks for the address of the heartbeat when it is time. One that was not taken is due at the next look again.

    Args:
        cursor: what was said by the last ping that was taken, and when; empty where there is none.

    Returns:
        The cursor for the next look.
    """
    address = settings.alerts.heartbeat_url
    if address is None:
        return ""
    last = json.loads(cursor or "{}")
    well = _is_well(settings, observation, now)
    if not is_due(last.get("at"), last.get("well", True), well, now) or not beat(address, well=well):
        return cursor
    return json.dumps({"at": now.isoformat(), "well": well})


def _is_well(settings: Settings, observation: Observation, now: datetime) -> bool:
    """Whether nothing holds that people are to be told of as an error.

    Failed runs do not count: a check that is down for days, because a day of images cannot be scored, would not notice
    that the host dies.
    """
    patience = Rules.of(settings.alerts).away
    passing = {Event.DATABASE_AWAY, Event.STORE_AWAY, Event.SLURM_AWAY}
    errors = [each for each in observation.holding if each.severity is Severity.ERROR]
    return all(each.event in passing and each.since and now - each.since < patience for each in errors)


def _said(folder: Path, observation: Observation) -> str:
    """What a look has seen, and how the alerts themselves are."""
    state = load(folder).state
    open_now = [incident for incident in state.incidents if incident.ended is None]
    waiting = outbox_of(folder).count()
    said = f"{counted(len(open_now), 'incident')} open" if open_now else "Nothing is wrong"
    if open_now:
        said += f": {'; '.join(incident.condition.summary for incident in open_now[:3])}"
    happened = (
        f" New since the last look: {counted(len(observation.occurred), 'event')}." if observation.occurred else ""
    )
    queue = f" {counted(waiting, 'message')} waiting to be sent." if waiting else ""
    notes = "".join(f" {note}" for note in observation.notes)
    return beginning(f"{said.rstrip('.')}.{happened}{queue}{notes}", 2000)
