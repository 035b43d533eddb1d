"""Requests a run of every day that has pending images: a thin sensor over a pure decision."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus as Status

from c4_assets.deployment import SETTINGS
from c4_assets.models.active import ActiveModels
from c4_assets.runs.freshness import inspections_seen, seen
from c4_assets.runs.jobs import PRIORITY_RUN_TAGS, Tick, collect_disagreements, score_images, sensor
from c4_assets.runs.log_lines import TICK_TAG, new_tick
from c4_assets.runs.lost_runs import end_lost_runs
from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.pools import set_pool_limits
from c4_assets.runs.step_failures import in_backfill
from resources.errors import C4Error
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.lost_files import days_to_look_again
from resources.imaging_database.work import day_bounds, newest_inspection, pending_of_all
from resources.settings import Settings

log = logging.getLogger("c4.sensor")

# A run that is being cancelled may still write. Its day waits for its end, or two runs would do the same work.
UNFINISHED_STATUSES = [Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING]

WEEKLY_ASSETS = {dg.AssetKey("human_labels"), dg.AssetKey("ashes_disagreements")}

MOST_OLD_DAYS = 3
"""Days before the window that one poll asks for, because a file that was given up there is looked for once a week."""

PARTITION_TAG = "dagster/partition"
FAILED_POLLS_BORNE = 2
"""Polls in a row that may fail because the database does not answer. From the next one on the tick fails, too, so that
Dagster's UI shows it in red. What only an operator can mend fails at once."""

NEWEST_KEY = "newest"
"""In the cursor: the time of the newest inspection that Dagster was told of."""

RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True)
class Decision:
    """Days to request runs for, newest first, and a message for the operator on why the others wait."""

    requests: Sequence[date]
    explanation: str


def decide(pending: Mapping[date, int], in_flight: Collection[date], today: date, first_day: date) -> Decision:
    """Decides which days with pending images get a run now.

    The newest day comes first, because crystallographers look at what was imaged today. A day whose run failed is
    requested again at every tick: only what is pending counts, and earlier requests are not remembered.

    Args:
        pending: number of pending images, by day of imaging.
        in_flight: days of queued or running runs.
        today: the newest day that is a partition. An imager whose clock is ahead causes later ones.
        first_day: the oldest day that is a partition (``C4_RUNS_START_DATE``).
    """
    running = sorted(day for day in pending if day in in_flight)
    future = sorted(day for day in pending if day > today)
    past = sorted(day for day in pending if day < first_day)
    requests = sorted(set(pending) - set(running) - set(future) - set(past), reverse=True)
    parts: list[str] = []
    if requests:
        images = sum(pending[day] for day in requests)
        parts.append(f"{images} images to score, imaged on {_listed(requests)}")
    if running:
        parts.append(f"waiting for the runs of {_listed(running)}")
    if future:
        images = sum(pending[day] for day in future)
        parts.append(f"{images} images are dated in the future ({_listed(future)}): check the imager's clock")
    if past:
        parts.append(f"{_listed(past)} lies before C4_RUNS_START_DATE ({first_day})")
    return Decision(requests, "; ".join(parts) or "nothing to score")


def _listed(days: Sequence[date], most: int = 5) -> str:
    named = ", ".join(day.isoformat() for day in days[:most])
    return named if len(days) <= most else f"{named} and {len(days) - most} more days"


def days_in_flight(instance: dg.DagsterInstance, pending: Collection[date]) -> set[date]:
    """The pending days that an unfinished run is about, whoever started it (sensor, person or backfill).

    Queued runs of backfills do not count: they may wait for weeks, and find nothing to do when their turn comes. So the
    query stays small, however long the queue is.
    """
    keys = [day.isoformat() for day in pending]
    of_a_day: Sequence[dg.DagsterRun] = (
        instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES, tags={PARTITION_TAG: keys})) if keys else []
    )
    at_work = instance.get_runs(
        dg.RunsFilter(statuses=[status for status in UNFINISHED_STATUSES if status != Status.QUEUED])
    )
    days = {
        date.fromisoformat(run.tags[PARTITION_TAG])
        for run in of_a_day
        if _about_a_day(run) and not (run.status == Status.QUEUED and in_backfill(run.tags))
    }
    several = [run for run in at_work if RANGE_TAGS[0] in run.tags and _about_a_day(run)]
    spans = [(run.tags[RANGE_TAGS[0]], run.tags[RANGE_TAGS[1]]) for run in several]
    return days | {day for day in pending if any(first <= day.isoformat() <= last for first, last in spans)}


def _about_a_day(run: dg.DagsterRun) -> bool:
    # A week's partition key looks like a day's. A run that was started by hand may be of the weekly assets, and one of
    # another code location of anything.
    selected = run.asset_selection
    return is_of_c4(run) and not (
        run.job_name == collect_disagreements.name or (bool(selected) and selected <= WEEKLY_ASSETS)
    )


@sensor(job=score_images, minimum_interval_seconds=SETTINGS.runs.poll_minutes * 60)
def new_inspections(
    context: dg.SensorEvaluationContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
) -> Tick:
    """Looks for pending images in the imaging database and requests a run of each of their days.

    The requests have no run key: Dagster remembers keys for ever and would drop a second request for a day whose
    first run failed. Asking Dagster which days are in flight ensures that no day has two runs.

    A newer inspection makes the asset ``inspections`` fresh, whether it has anything to score or not.
    """
    set_pool_limits(context.instance)  # the daemon's first tick precedes its first run
    end_lost_runs(context.instance)  # their days need not wait for them
    now = datetime.now(UTC)
    try:
        versions = [model.version.name for model in models.read()]
        since = now - timedelta(days=settings.runs.window_days)
        first, _ = day_bounds(settings.runs.start_date)
        lost = days_to_look_again(imaging_database, versions, since, MOST_OLD_DAYS, first)
        pending = lost | pending_of_all(imaging_database, versions, settings.runs.max_attempts, since, due_only=True)
        newest = newest_inspection(imaging_database, now)
    except C4Error as error:
        log.warning("%s", error)
        return _skipped(context, error)
    decision = decide(pending, days_in_flight(context.instance, pending), now.date(), settings.runs.start_date)
    told_before = _newest_told(context.cursor)
    new = seen(newest, told_before, now, settings.freshness)
    cursor = {"polled_at": now.isoformat(timespec="seconds"), "saw": decision.explanation, **_told(new or told_before)}
    tick = new_tick()
    if decision.requests:
        context.log.info(decision.explanation)
    level = logging.INFO if decision.requests else logging.DEBUG
    log.log(level, "%s", decision.explanation, extra={"correlation": tick})
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                partition_key=day.isoformat(),
                tags={**PRIORITY_RUN_TAGS, TICK_TAG: tick, "c4/pending_images": str(pending[day])},
            )
            for day in decision.requests
        ],
        skip_reason=None if decision.requests else f"{decision.explanation} (last {settings.runs.window_days} days)",
        cursor=json.dumps(cursor),
        asset_events=[inspections_seen(new)] if new else [],
    )


def _told(newest: datetime | None) -> dict[str, str]:
    return {NEWEST_KEY: newest.isoformat()} if newest else {}


def _newest_told(cursor: str | None) -> datetime | None:
    """The newest inspection that Dagster was told of, as an earlier tick left it in the cursor."""
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        return datetime.fromisoformat(json.loads(cursor or "{}")[NEWEST_KEY])
    return None


def _skipped(context: dg.SensorEvaluationContext, error: C4Error) -> dg.SkipReason:
    """A tick that tells the error in its history and lets the next one try again.

    Raises:
        C4Error: the error itself, if waiting does not help, or has not helped for several polls.
    """
    before = 0
    with suppress(ValueError, TypeError, AttributeError):
        before = int(json.loads(context.cursor or "{}").get("failed_polls", 0))
    if not error.retryable or before >= FAILED_POLLS_BORNE:
        raise error from None
    told = _told(_newest_told(context.cursor))
    context.update_cursor(json.dumps({"failed_polls": before + 1, "saw": str(error), **told}))
    return dg.SkipReason(str(error))
