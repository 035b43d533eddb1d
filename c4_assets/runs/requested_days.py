"""Days that somebody asks the daemon to score: `c4 run` writes them down, and a sensor requests their runs.

So the runs are made as those for new inspections are: by the daemon, from its code location, through its queue.
"""

import json
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import date

import dagster as dg

from c4_assets.runs.dagster_storage import forget_values, values_below
from c4_assets.runs.jobs import PRIORITY_RUN_TAGS
from c4_assets.runs.log_lines import TICK_TAG
from c4_assets.runs.own_runs import STARTED_BY_TAG
from c4_assets.runs.partitions import DAYS

REQUEST_TAG = "c4/request"
"""Tag of the runs of one request. A repetition by Dagster inherits it."""

REQUEST_KEYS = "c4/requested_days/"

PARTITION_TAG = "dagster/partition"


def ask_for(instance: dg.DagsterInstance, days: Collection[date]) -> str:
    """Asks for a run of each day, and returns the request's name."""
    request = uuid.uuid4().hex[:12]
    instance.run_storage.set_cursor_values(
        {REQUEST_KEYS + request: json.dumps(sorted(day.isoformat() for day in days))}
    )
    return request


def withdraw(instance: dg.DagsterInstance, request: str) -> None:
    """Takes a request back. Runs that it has already are not touched."""
    forget_values(instance, [REQUEST_KEYS + request])


def is_asked_for(instance: dg.DagsterInstance, request: str) -> bool:
    """Whether the daemon still has runs of a request to make."""
    return REQUEST_KEYS + request in values_below(instance, REQUEST_KEYS)


def run_requests(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """The runs that are to be made. A request is withdrawn when all its runs are there.

    Each has a run key: two ticks over the same request make one run.
    """
    found: list[dg.RunRequest] = []
    for key, text in values_below(instance, REQUEST_KEYS).items():
        request = key.removeprefix(REQUEST_KEYS)
        there = set(newest_runs(instance, request))
        missing = [day for day in _days(text) if day not in there and DAYS.has_partition_key(day.isoformat())]
        if not missing:
            withdraw(instance, request)
        found += [
            dg.RunRequest(
                run_key=f"{request} {day}",
                partition_key=day.isoformat(),
                tags={**PRIORITY_RUN_TAGS, STARTED_BY_TAG: "c4 run", REQUEST_TAG: request, TICK_TAG: request},
            )
            for day in missing
        ]
    return found


def newest_runs(instance: dg.DagsterInstance, request: str) -> dict[date, dg.DagsterRun]:
    """Of each day of a request, the newest run, if there is one."""
    runs: Sequence[dg.DagsterRun] = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request}), ascending=True)
    return {date.fromisoformat(run.tags[PARTITION_TAG]): run for run in runs}


def _days(text: str) -> list[date]:
    with suppress(ValueError, TypeError):
        return [date.fromisoformat(day) for day in json.loads(text)]
    return []
