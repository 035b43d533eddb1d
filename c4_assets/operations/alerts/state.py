"""What is known of incidents, on disk: one writer at a time, and a commit that holds state and messages together."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from c4_assets.operations.alerts.incident import Incident
from c4_assets.operations.alerts.incidents import State, advance
from c4_assets.operations.alerts.outbox import Outbox
from c4_assets.operations.alerts.records import Condition, Message, Observation, Subject
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.stored import from_json, to_json, unreadable, write_whole
from resources.file_lock import locked
from resources.redaction import redacted

log = logging.getLogger("c4.alerts")

VERSION = 1

FILE, LOCK, OUTBOX = "state.json", "state.lock", "outbox"

LONGEST_WAIT_S = 20
"""Seconds to wait for another writer: a look takes milliseconds, and a sensor's tick a minute."""


@dataclass(frozen=True)
class KeptAlerts:
    """What stands in the file.

    Attributes:
        state: incidents.
        messages: what the last look had to tell. They are put into the outbox after the file was written, and by the
            next look once more, in case the process died in between: the outbox takes no message twice.
        seen: cursors of those who look, which move on in the same write.
    """

    version: int = VERSION
    state: State = field(default_factory=State)
    messages: tuple[Message, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict[str, str])


def alerts_folder(home: Path) -> Path:
    """Where a deployment keeps its incidents and messages, given its home."""
    return home / "alerts"


def outbox_of(folder: Path) -> Outbox:
    """The outbox of a deployment, given its folder of alerts."""
    return Outbox(folder / OUTBOX)


def load(folder: Path, as_writer: bool = False) -> KeptAlerts:
    """What is known; nothing if there is no file, or with a warning one that cannot be read.

    Args:
        as_writer: whether this process holds the lock: see :func:`c4_assets.operations.alerts.stored.unreadable`.
    """
    file = folder / FILE
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return KeptAlerts()
    try:
        kept = from_json(KeptAlerts, text)
        if kept.version != VERSION:
            raise ValueError(f"it is of version {kept.version}, not {VERSION}")
    except (ValueError, RecursionError) as error:
        unreadable(file, error, as_writer)
        return KeptAlerts()
    return kept


def tell(
    folder: Path, observation: Observation, rules: Rules, now: datetime, seen: Mapping[str, str] | None = None
) -> tuple[Message, ...]:
    """Takes what a look has seen, and puts what is to be told into the outbox.

    State, cursors and messages are one write: whenever the process dies, none is lost and none doubled.

    Args:
        folder: see :func:`alerts_folder`.
        seen: cursors of who has looked. Others stay as they are.

    Raises:
        TimeoutError: another process holds the state for longer than 20 s. Look again later.
        NoRoom: the disk is full. What was seen is to be observed again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outbox = outbox_of(folder)
    with locked(folder / LOCK, LONGEST_WAIT_S):
        kept = load(folder, as_writer=True)
        outbox.put(kept.messages)
        state, messages = advance(kept.state, without_secrets(observation), rules, now)
        after = replace(kept, state=state, messages=messages, seen={**kept.seen, **(seen or {})})
        if after != kept:
            write_whole(folder / FILE, to_json(after))
            _log_changes(kept.state, state)
        outbox.put(messages)
    return messages


def _log_changes(before: State, after: State) -> None:
    """One line for each incident that a look has opened or ended. Its id is the thread of its messages."""
    known = {incident.id: incident for incident in before.incidents}
    current = {incident.id: incident for incident in after.incidents}
    for incident in current.values():
        if incident.id not in known:
            log.info("incident opened: %s", incident.condition.summary, extra=_ids(incident))
        if incident.ended and not _has_ended(known.get(incident.id)):
            log.info("incident ended: %s", incident.condition.summary, extra=_ids(incident))
    for incident in known.values():
        if incident.id not in current and not _has_ended(incident):
            log.info("incident forgotten: %s", incident.condition.summary, extra=_ids(incident))


def _has_ended(incident: Incident | None) -> bool:
    return incident is not None and incident.ended is not None


def _ids(incident: Incident) -> dict[str, str]:
    condition = incident.condition
    return {"message_thread": incident.id, "alert": condition.event.value, "severity": condition.severity.value}


def remember(folder: Path, seen: Mapping[str, str]) -> None:
    """Moves cursors on of which nothing is told. Others stay as they are.

    Args:
        folder: see :func:`alerts_folder`.

    Raises:
        TimeoutError, NoRoom: see :func:`tell`.
    """
    with locked(folder / LOCK, LONGEST_WAIT_S):
        kept = load(folder, as_writer=True)
        write_whole(folder / FILE, to_json(replace(kept, seen={**kept.seen, **seen})))


def without_secrets(observation: Observation) -> Observation:
    """What a look has seen without the secrets that stand in its texts: reasons of drivers may hold an address.

    It comes before anything is cut: half a secret is not recognised.
    """
    return replace(
        observation,
        holding=tuple(map(_without_secrets, observation.holding)),
        occurred=tuple(map(_without_secrets, observation.occurred)),
    )


def _without_secrets(condition: Condition) -> Condition:
    return replace(
        condition,
        summary=redacted(condition.summary),
        advice=redacted(condition.advice),
        subjects=tuple(Subject(redacted(each.name), redacted(each.url)) for each in condition.subjects),
    )
