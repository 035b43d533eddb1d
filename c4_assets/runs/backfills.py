"""Finds, starts, pauses and resumes the backfills of the backlog, which are Dagster's own.

A backfill that was started in the UI is treated like any other. Its days are read from its target. How many of them are
done is always counted in the imaging database and never read from Dagster.
"""

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.errors import DagsterDefinitionChangedDeserializationError
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._core.utils import make_new_backfill_id
from sqlalchemy.exc import IntegrityError

from c4_assets.backlog.backfill import Backfill, span
from c4_assets.backlog.limits import STEPS
from c4_assets.runs.own_runs import STARTED_BY_TAG
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import BACKFILL_TAG
from resources.errors import ConfigurationError, Unavailable

DAILY_ASSETS = [dg.AssetKey(name) for name in STEPS]
SCORING_JOB = "score_images"

PAUSED_TAG, RESUMES_TAG = "c4/paused", "c4/resumes"
"""Tags: the days that a paused backfill has left to resume, and the backfill that this one resumes."""

STARTED_STATUSES = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
WAITING_STATUSES = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
FAILED_STATUSES = [dg.DagsterRunStatus.FAILURE]


PAUSE_ATTEMPTS = 10


def backfills(instance: dg.DagsterInstance) -> list[Backfill]:
    """The running backfills of daily assets, and those that are paused and not resumed, oldest first."""
    active = instance.get_backfills(
        BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    )
    ended = instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.CANCELED]))
    paused = [each for each in ended if PAUSED_TAG in each.tags and not _is_resumed(instance, each.backfill_id)]
    described = [_described(instance, each) for each in (*active, *paused)]
    return sorted((each for each in described if each.days), key=lambda each: each.started_at)


def _described(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> Backfill:
    def runs(statuses: Sequence[dg.DagsterRunStatus], tags: Mapping[str, str] | None = None) -> int:
        of_backfill = {BACKFILL_TAG: backfill.backfill_id, **(tags or {})}
        return instance.get_runs_count(dg.RunsFilter(tags=of_backfill, statuses=statuses))

    cancelling = "pausing" if PAUSED_TAG in backfill.tags else "ending"
    states = {BulkActionStatus.REQUESTED: "running", BulkActionStatus.CANCELING: cancelling}
    return Backfill(
        backfill.backfill_id,
        states.get(backfill.status, "paused"),
        datetime.fromtimestamp(backfill.backfill_timestamp, UTC),
        days_of(backfill),
        backfill.tags.get(RESUMES_TAG),
        runs(WAITING_STATUSES),
        runs(STARTED_STATUSES),
        runs(FAILED_STATUSES) - runs(FAILED_STATUSES, {WILL_RETRY_TAG: "true"}),
    )


def days_of(backfill: PartitionBackfill) -> frozenset[date]:
    """The days of imaging that a backfill is about; none where it is about other assets."""
    if not backfill.is_asset_backfill:
        names = backfill.partition_names if backfill.job_name == SCORING_JOB else ()
        return frozenset(map(date.fromisoformat, names or ()))
    try:
        # The graph's type parameter is missing in Dagster's signature, here and in `start`.
        target = cast("Any", backfill).get_asset_backfill_data(_asset_graph()).target_subset
    except DagsterDefinitionChangedDeserializationError:
        return frozenset()  # of a release with another first day; Dagster cannot continue it either
    keys: set[str] = {
        key
        for asset in DAILY_ASSETS
        if asset in target.asset_keys
        for key in target.get_partitions_subset(asset).get_partition_keys()
    }
    return frozenset(map(date.fromisoformat, keys))


def _asset_graph() -> BaseAssetGraph[Any]:
    """The daily assets as a backfill needs them: with their partitions, each depending on the one before it."""
    chain = [
        dg.AssetSpec(asset, partitions_def=DAYS, deps=DAILY_ASSETS[max(number - 1, 0) : number])
        for number, asset in enumerate(DAILY_ASSETS)
    ]
    return dg.Definitions(assets=chain).resolve_asset_graph()


def days_a_run() -> int:
    """Most days that a backfill puts into one run."""
    return SEVERAL_DAYS.max_partitions_per_run or 10**6


def runs_of(days: Collection[date], a_run: int) -> int:
    """Number of runs of a backfill of these days: Dagster divides each stretch of days without a gap into runs."""
    runs = in_stretch = 0
    before: date | None = None
    for day in sorted(days):
        if before is None or day - before > timedelta(days=1) or in_stretch == a_run:
            runs, in_stretch = runs + 1, 0
        in_stretch, before = in_stretch + 1, day
    return runs


def refuse_where_running(instance: dg.DagsterInstance, days: Collection[date]) -> None:
    """Raises:
    ConfigurationError: a backfill over some of the days is running already.
    """
    for each in backfills(instance):
        if each.state != "paused" and (both := each.days & frozenset(days)):
            raise ConfigurationError(
                f"The backfill {each.backfill_id} is {each.state} over {len(both):,} of these days ({span(both)}): see "
                "`c4 backlog`, choose other days, or pause it first."
            )


def start(
    instance: dg.DagsterInstance, days: Collection[date], tags: Mapping[str, str], backfill_id: str | None = None
) -> str:
    """Starts a backfill of the daily assets over some days, and returns its number.

    Raises:
        IntegrityError: a backfill of that number exists already.
    """
    backfill: PartitionBackfill = cast("Any", PartitionBackfill).from_asset_partitions(
        backfill_id=backfill_id or make_new_backfill_id(),
        asset_graph=_asset_graph(),
        partition_names=[day.isoformat() for day in sorted(days)],
        asset_selection=DAILY_ASSETS,
        backfill_timestamp=time.time(),
        tags=tags,
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=f"Backlog of {span(days)}",
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def pause(instance: dg.DagsterInstance, sure_after_s: float = 0.5) -> list[Backfill]:
    """Cancels the running backfills and marks them as paused. Their runs end, and what is finished stays.

    Args:
        sure_after_s: seconds after which to check that the daemon, which may be writing the backfill's state at the
            same moment, has not overwritten the cancellation.

    Returns:
        The paused backfills. One that was cancelled in the UI is not among them, and stays cancelled.

    Raises:
        Unavailable: a backfill could not be cancelled.
    """
    running = left = [each for each in backfills(instance) if each.state == "running"]
    for _ in range(PAUSE_ATTEMPTS):
        for each in left:
            _cancel(instance, each)
        if left:
            time.sleep(sure_after_s)
        left = [each for each in left if _status(instance, each.backfill_id) is BulkActionStatus.REQUESTED]
        if not left:
            return running
    raise Unavailable(f"The backfill {left[0].backfill_id} cannot be paused now: try again, or cancel it in the UI.")


def _cancel(instance: dg.DagsterInstance, backfill: Backfill) -> None:
    stored = instance.get_backfill(backfill.backfill_id)
    if stored and stored.status is BulkActionStatus.REQUESTED:
        tags = {**stored.tags, PAUSED_TAG: backfill.span}
        # Dagster's own `with_…` methods use `_replace` as well; there is none for tags.
        instance.update_backfill(stored._replace(status=BulkActionStatus.CANCELING, tags=tags))


def _status(instance: dg.DagsterInstance, backfill_id: str) -> BulkActionStatus | None:
    stored = instance.get_backfill(backfill_id)
    return stored.status if stored else None


def resume(instance: dg.DagsterInstance, paused: Backfill, pending: Collection[date]) -> str | None:
    """Starts a backfill over those days of a paused one that are still pending, and returns its number.

    The number is derived from the paused one's, so that resuming twice, even at the same time, starts one backfill.

    Args:
        pending: days that have pending images and belong to no other backfill.

    Returns:
        ``None`` if nothing is left: the paused one is then finished.
    """
    days = paused.days & frozenset(pending)
    if not days:
        if stored := instance.get_backfill(paused.backfill_id):
            left = {name: value for name, value in stored.tags.items() if name != PAUSED_TAG}
            instance.update_backfill(stored._replace(tags=left))
        return None
    number = _resumed_as(paused.backfill_id)
    try:
        return start(instance, days, {STARTED_BY_TAG: "c4 backlog resume", RESUMES_TAG: paused.backfill_id}, number)
    except IntegrityError:
        return number


def _resumed_as(backfill_id: str) -> str:
    return hashlib.sha256(f"{backfill_id} resumed".encode()).hexdigest()[:8]


def _is_resumed(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    return instance.get_backfill(_resumed_as(backfill_id)) is not None
