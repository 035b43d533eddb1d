"""One look at a deployment: everything that is watched, each part on its own, so that none keeps the others from it."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from c4_assets.operations.alerts.incidents import merged
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity
from c4_assets.operations.disks import Room, filling, places, room_of, staging_full
from c4_assets.runs.watch.bounded import answers_within
from c4_assets.runs.watch.daemons import look_at_daemons, look_at_ticks
from c4_assets.runs.watch.idle import look_at_imaging
from c4_assets.runs.watch.run_ends import look_at_ends
from c4_assets.runs.watch.services import look_at_services
from c4_assets.runs.watch.slow_runs import look_at_slow_runs
from resources.archive.staging import Staging
from resources.settings import Settings

log = logging.getLogger("c4.watch")

Cursors = Mapping[str, str]
"""What each part that has one remembers from the last look, by the part's name."""

DISK_S = 5
"""Longest wait for what a disk says, in seconds: a share of a host that is gone says nothing."""

WATCHED_POLICIES = ("db_scores", "ashes_disagreements", "backlog_coverage")
"""Assets whose freshness is told. That of ``inspections`` is not: what the facility's rhythm leads to expect is."""

STALE_KEYS = f"{Event.ASSET_STALE}:"

Part = Callable[[str], tuple[Observation, str]]


@dataclass(frozen=True)
class Seen:
    """What one look has seen, and what the next one starts from."""

    observation: Observation
    cursors: Cursors


def look(instance: dg.DagsterInstance, settings: Settings, cursors: Cursors, now: datetime) -> Seen:
    """Looks at everything once. It takes seconds, and half a minute at most where everything hangs.

    Args:
        cursors: of the last look; empty for the first one.
    """
    url = (settings.alerts.ui_url or "").rstrip("/")

    def ends(cursor: str) -> tuple[Observation, str]:
        window = timedelta(days=settings.runs.window_days)
        seen, after = look_at_ends(instance, json.loads(cursor or "{}"), now, url, window)
        return seen, json.dumps(after)

    def services(cursor: str) -> tuple[Observation, str]:
        seen, after = look_at_services(instance, settings, json.loads(cursor or "{}"), now, url)
        return seen, json.dumps(after)

    parts: dict[str, Part] = {
        "services": services,
        "runs": ends,
        "imaging": lambda cursor: look_at_imaging(settings, cursor, now),
        "daemons": lambda _: (look_at_daemons(instance, now), ""),
        "ticks": lambda _: (look_at_ticks(instance, now, url), ""),
        "slow runs": lambda _: (look_at_slow_runs(instance, now, url), ""),
        "disks": lambda _: (look_at_disks(settings), ""),
        "staging": lambda _: (look_at_staging(settings, now), ""),
        "freshness": lambda _: (look_at_freshness(instance, url), ""),
    }
    seen: list[Observation] = []
    after: dict[str, str] = {}
    for name, part in parts.items():
        observation, after[name] = _guarded(name, part, cursors.get(name, ""))
        seen.append(observation)
    return Seen(merged(*seen), after)


def _guarded(name: str, part: Part, cursor: str) -> tuple[Observation, str]:
    """What a part sees. One that fails is itself something to tell, and starts again from where it was."""
    key = f"{Event.SENSOR_FAILED}:run_alerts, {name}"
    try:
        seen, after = part(cursor)
    except Exception as error:
        log.exception("the watch cannot look at %s", name)
        condition = Condition(
            key=key,
            event=Event.SENSOR_FAILED,
            severity=Severity.ERROR,
            summary=f"The alerts cannot look at {name}: {type(error).__name__}: {error}",
            advice="Its error is in the log of the sensor run_alerts. Until it is mended, nothing is told of this.",
        )
        return Observation(holding=(condition,), looked_at=frozenset({key})), cursor
    return merged(seen, Observation(looked_at=frozenset({key}))), after


def look_at_disks(settings: Settings) -> Observation:
    """Which folders' disks are filling. A folder that cannot be looked at is not told of."""
    folders = places(settings)
    rooms: dict[str, tuple[Path, Room]] = {}
    told: set[int] = set()
    found = answers_within(DISK_S, {f"disk {name}": _room(folder) for name, folder in folders.items()})
    for name, folder in folders.items():
        room = found[f"disk {name}"]
        # Folders on one disk are told of once.
        if not isinstance(room, Exception) and room.device not in told:
            told.add(room.device)
            rooms[name] = folder, room
    looked = {f"{Event.DISK_FILLING}:{name}" for name in folders if not isinstance(found[f"disk {name}"], Exception)}
    return Observation(holding=tuple(filling(rooms)), looked_at=frozenset(looked))


def _room(folder: Path) -> Callable[[], Room]:
    return lambda: room_of(folder)


def look_at_staging(settings: Settings, now: datetime) -> Observation:
    """Whether staging is full and stands still. Where it cannot be looked at, nothing is told of it."""
    staging, limit = Staging(settings.staging), round(settings.scratch_gigabytes * 1e9)
    found = answers_within(DISK_S, {"staging": lambda: (staging.size(), staging.changed_at())})["staging"]
    if isinstance(found, Exception):
        return Observation()
    size, changed = found
    holding = tuple(staging_full(settings.staging, size, limit, changed, now))
    return Observation(holding, frozenset({str(Event.STAGING_FULL)}))


def look_at_freshness(instance: dg.DagsterInstance, url: str = "") -> Observation:
    """Which assets Dagster says are out of date by their freshness policies."""
    states = instance.get_freshness_state_records([dg.AssetKey(name) for name in WATCHED_POLICIES])
    stale = [(key, state) for key, state in states.items() if state.freshness_state.value == "FAIL"]
    conditions = tuple(
        Condition(
            key=f"{STALE_KEYS}{key.to_user_string()}",
            event=Event.ASSET_STALE,
            severity=Severity.WARNING,
            summary=f"{key.to_user_string()} is out of date: nothing has made it for longer than its policy allows.",
            advice="See on the asset's page which run should have made it, and whether the daemon runs."
            + (f" {url}/assets/{'/'.join(key.path)}" if url else ""),
            since=state.updated_at,
        )
        for key, state in stale
    )
    return Observation(holding=conditions, looked_at=frozenset({STALE_KEYS}))
