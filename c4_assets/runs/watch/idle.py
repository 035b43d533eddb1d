"""Nothing imaged for longer than this facility's own rhythm leads to expect."""

import json
from datetime import UTC, datetime, timedelta

from c4_assets.operations.alerts.conditions import NOTHING_IMAGED_KEY, nothing_imaged
from c4_assets.operations.alerts.records import Observation
from c4_assets.operations.rhythm import LEAST_SILENCE, WEEK, WEEKS_COMPARED, unusual_silence
from c4_assets.runs.watch.bounded import answers_within
from c4_assets.runs.watch.intervals import is_time
from c4_assets.runs.watch.probes import PROBE_S, probed_database
from resources.errors import ConfigurationError, Unavailable
from resources.imaging_database.throughput import imaging_times
from resources.settings import Settings

IMAGING_READ_EVERY = timedelta(minutes=10)


def look_at_imaging(settings: Settings, cursor: str, now: datetime) -> tuple[Observation, str]:
    """Reads when was imaged, every ten minutes.

    Where the database does not answer or cannot be used, nothing is said of imaging: the watch of services tells that.

    Args:
        cursor: what the last look has returned; empty for the first one.

    Returns:
        What was observed, and the cursor for the next look.

    Raises:
        Exception: what else reading raises.
    """
    if cursor and not is_time(IMAGING_READ_EVERY, json.loads(cursor)["looked"], now):
        return Observation(), cursor
    times = answers_within(PROBE_S, {"imaging times": lambda: _times(settings, now)})["imaging times"]
    if isinstance(times, Unavailable | ConfigurationError | TimeoutError):
        return Observation(), cursor
    if isinstance(times, Exception):
        raise times
    silence = unusual_silence(times, now)
    after = json.dumps({"looked": now.isoformat()})
    if silence is None:
        return Observation(looked_at=frozenset({NOTHING_IMAGED_KEY})), after
    return Observation(holding=(nothing_imaged(silence, now),), looked_at=frozenset({NOTHING_IMAGED_KEY})), after


def _times(settings: Settings, now: datetime) -> list[datetime]:
    span = (WEEKS_COMPARED + 1) * WEEK + LEAST_SILENCE
    database = probed_database(settings)
    if database.is_new():
        return []
    return [moment.astimezone(UTC) for moment in imaging_times(database, now, span)]
