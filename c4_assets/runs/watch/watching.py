"""What the sensors of alerts do: look and tell, and deliver what was told."""

import json
from datetime import datetime
from pathlib import Path

import dagster as dg

from c4_assets.operations.alerts.incidents import merged
from c4_assets.operations.alerts.outbox import Delivered
from c4_assets.operations.alerts.records import Event, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, load, outbox_of, tell
from c4_assets.operations.channels import open_channels, operators_channels
from c4_assets.runs.watch.heartbeat import beat, is_due
from c4_assets.runs.watch.look import look
from resources.redaction import beginning
from resources.settings import Settings

NOT_SET_UP = "No alerts are set up: the section alerts of the settings names no channel and no heartbeat_url."

PART_KEYS = "watch/"
"""Before the names of parts of the watch, among the cursors that are kept with the incidents."""

HEARTBEAT = "heartbeat"

DELIVER_S = 15
"""No send begins later than so long after its round of deliveries: a tick may take a minute, and a mail half of it."""


def is_set_up(settings: Settings) -> bool:
    """Whether operators are to hear of anything."""
    return bool(operators_channels(settings.alerts)) or settings.alerts.heartbeat_url is not None


def watch(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> str:
    """Looks once, and puts what is to be told into the outbox. Nothing is sent but the heartbeat.

    Returns:
        What was seen, in a sentence for Dagster's UI.

    Raises:
        TimeoutError, NoRoom: see :func:`c4_assets.operations.alerts.state.tell`. What was seen is seen again.
    """
    folder = alerts_folder(settings.home)
    kept = load(folder)
    cursors = {name.removeprefix(PART_KEYS): value for name, value in kept.seen.items() if name.startswith(PART_KEYS)}
    seen = look(instance, settings, cursors, now)
    observation = merged(seen.observation, outbox_of(folder).observation(now))
    after = {f"{PART_KEYS}{name}": value for name, value in seen.cursors.items()}
    after[f"{PART_KEYS}{HEARTBEAT}"] = _heartbeat(settings, seen.observation, cursors.get(HEARTBEAT, ""), now)
    tell(folder, observation, Rules.of(settings.alerts), now, after)
    return _said(folder, observation)


def deliver(settings: Settings, now: datetime) -> Delivered:
    """Sends what waits in the outbox and is due. A channel that is away is asked again later."""
    folder = alerts_folder(settings.home)
    channels = open_channels(settings.alerts, folder)
    return outbox_of(folder).deliver(list(channels.values()), Rules.of(settings.alerts), now, DELIVER_S)


def _heartbeat(settings: Settings, observation: Observation, cursor: str, now: datetime) -> str:
    """Asks for the address of the heartbeat when it is time."""
    address = settings.alerts.heartbeat_url
    if address is None:
        return ""
    last = json.loads(cursor or "{}")
    well = _is_well(settings, observation, now)
    if not is_due(last.get("at"), last.get("well", True), well, now):
        return cursor
    taken = beat(address, well=well)
    failed = 0 if taken else int(last.get("failed", 0)) + 1
    # One that was not taken is tried by the next look.
    at = now.isoformat() if taken else last.get("at")
    return json.dumps({"at": at, "well": well, "failed": failed})


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
    waiting = len(outbox_of(folder).waiting())
    said = f"{len(open_now)} incidents are open" if open_now else "Nothing is wrong"
    if open_now:
        said += f": {'; '.join(incident.condition.summary for incident in open_now[:3])}"
    happened = f" {len(observation.occurred)} things have happened since the last look." if observation.occurred else ""
    queue = f" {waiting} messages wait to be sent." if waiting else ""
    notes = "".join(f" {note}" for note in observation.notes)
    return beginning(f"{said.rstrip('.')}.{happened}{queue}{notes}", 2000)
