"""Deletes the runs that Dagster no longer needs, and thumbnails that a site keeps for a limited time.

Deleting a run deletes its materialisations, and a partition without one counts as missing. So a run is deleted only if
something newer exists for everything that it did. Which runs these are is read from the instance each time: pruning may
be interrupted, repeated, or done twice at the same time.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES, IN_PROGRESS_RUN_STATUSES
from dagster._core.storage.tags import BACKFILL_ID_TAG

from c4_assets.checks.catalogue import CHECKS
from c4_assets.runs import dagster_storage
from c4_assets.runs.own_runs import is_of_c4
from resources.archive.thumbnails import Space, Thumbnails
from resources.executors.slurm.job_folders import JobFolders
from resources.settings import Settings

RUNS_PER_BATCH = 50
"""Runs that are deleted between two reports of progress."""

RUNS_READ_AT_ONCE = 500

EVENTS_PER_BATCH = 100
"""Events that are read at once. Each may hold a day's contact sheet."""

CHECK_KEYS = [dg.AssetCheckKey(dg.AssetKey(check.asset), check.name) for check in CHECKS]


@dataclass
class Pruned:
    """What was deleted, or would be in a dry run. ``bytes`` is about what Dagster used for it, without indexes."""

    old: int = 0
    """Finished runs of C4 that are old enough."""
    runs: int = 0
    bytes: int = 0
    returned: int = 0
    """Bytes by which SQLite's files became shorter."""
    thumbnails: Space = field(default_factory=Space)
    """Of thumbnails that were made longer ago than they are kept."""
    thumbnails_left: Space = field(default_factory=Space)
    notes: list[str] = field(default_factory=list[str])


def prune(
    instance: dg.DagsterInstance,
    settings: Settings,
    before: datetime,
    dry_run: bool = False,
    own_run: str | None = None,
    shown: Callable[[int, int], None] = lambda done, of: None,
) -> Pruned:
    """Deletes C4's finished runs that ended before a moment and that nothing needs any more (:func:`needed_runs`).

    Runs of other code locations that share the instance are theirs to delete.

    A run's events, check results, captured output, and the scripts and output of its Slurm jobs are deleted with it.
    The JSON records of the jobs stay. At the end, files of runs that no longer exist are removed as well, and
    thumbnails that are older than the site keeps them (``thumbnails_days``).

    Args:
        own_run: the run that does this, if it is one.
        shown: called with the number of runs that are done, and of all.

    Raises:
        Unavailable: the machine with the folder of Slurm's jobs did not answer; the remaining runs stay.
        ConfigurationError: that folder cannot be used.
    """
    old = old_runs(instance, before)
    needed = needed_runs(instance)
    going = [run_id for run_id in old if run_id not in needed]
    found = Pruned(old=len(old))
    outputs = settings.home / "slurm_jobs"
    with ExitStack() as stack:
        jobs = stack.enter_context(JobFolders(settings.slurm)) if settings.slurm else None
        for start in range(0, len(going), RUNS_PER_BATCH):
            some = going[start : start + RUNS_PER_BATCH]
            beside = [path for run_id in some for path in (outputs / run_id).glob("*.out")]
            found.bytes += dagster_storage.bytes_of(instance, some, CHECK_KEYS) + dagster_storage.size_of(beside)
            if jobs:
                found.bytes += jobs.bytes_of(some)
            if not dry_run:
                dagster_storage.remove(beside)
                if jobs:
                    jobs.remove(some)
                dagster_storage.forget(instance, some, CHECK_KEYS)
            found.runs += len(some)
            shown(found.runs, len(going))
    if not dry_run:
        left = dagster_storage.without_a_run(instance)
        found.bytes += dagster_storage.size_of(left)
        dagster_storage.remove(left)
        _compact(instance, own_run, found)
    thumbnails = Thumbnails(settings.thumbnails)
    if settings.thumbnails_days:
        oldest = datetime.now(UTC) - timedelta(days=settings.thumbnails_days)
        found.thumbnails = thumbnails.remove_older(oldest, dry_run)
    found.thumbnails_left = thumbnails.space()
    return found


def old_runs(instance: dg.DagsterInstance, before: datetime) -> list[str]:
    """C4's finished runs that have not changed since ``before``, oldest first."""
    filters = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=before)
    old: list[str] = []
    cursor: str | None = None
    while some := instance.get_runs(filters, cursor=cursor, limit=RUNS_READ_AT_ONCE):
        old += [run.run_id for run in some if is_of_c4(run)]
        cursor = some[-1].run_id
    return old[::-1]


def needed_runs(instance: dg.DagsterInstance) -> set[str]:
    """Runs that what Dagster shows depends on, and runs of unfinished backfills.

    Of every partition of every asset: the run of the newest materialisation, the newest attempt if it brought none
    (so that a failure stays visible), and the run of the newest result of each check.
    """
    assets = instance.get_asset_keys()
    needed = {run_id for asset in assets for run_id in _newest_runs(instance, asset)}
    needed.update(
        info.latest_planned_run_id for info in instance.event_log_storage.get_asset_check_partition_info(CHECK_KEYS)
    )
    unfinished = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=unfinished)):
        needed.update(instance.get_run_ids(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id})))
    return needed


def _newest_runs(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Iterator[str]:
    storage = instance.event_log_storage
    if event := instance.get_latest_materialization_event(asset):
        yield event.run_id  # the only one of an asset without partitions
    newest = storage.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION)
    for some in _parts(sorted(newest.values())):
        records = dg.AssetRecordsFilter(asset_key=asset, storage_ids=some)
        for record in instance.fetch_materializations(records, limit=len(some)).records:
            yield record.run_id
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
    for run_id, _ in attempts.values():
        yield run_id


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), EVENTS_PER_BATCH):
        yield ids[start : start + EVENTS_PER_BATCH]


def _compact(instance: dg.DagsterInstance, own_run: str | None, found: Pruned) -> None:
    if set(instance.get_run_ids(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES))) - {own_run}:
        # Their events would have to wait while a file is written, and a step whose event waits for 30 s fails.
        found.notes.append("Runs are in progress, so SQLite's files keep their length; empty pages are used again.")
        return
    try:
        found.returned = dagster_storage.compact(instance)
    except sqlite3.OperationalError as error:
        found.notes.append(f"SQLite's files keep their length ({error}); empty pages are used again.")
