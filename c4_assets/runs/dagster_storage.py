"""What Dagster's instance keeps of a run, and what its own API leaves behind when the run is deleted.

``DagsterInstance.delete_run`` removes the run and its events. It leaves the results of the run's checks, the captured
output of its steps and, on SQLite, its tags and its own file of events. No other module names Dagster's tables.
"""

import re
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.schema import KeyValueStoreTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import ColumnElement, and_, delete, func, select

RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""The form of a run's id. Only folders and files that begin with one are taken for a run's."""

MIN_EMPTY_SHARE = 0.1
"""Share of a SQLite file that must be empty before it is compacted."""


def bytes_of(instance: dg.DagsterInstance, run_ids: Sequence[str], checks: Sequence[dg.AssetCheckKey]) -> int:
    """About how many bytes runs take: their events, check results and captured output, without indexes."""
    total = size_of([path for run_id in run_ids for path in (*_shard(instance, run_id), _captured(instance) / run_id)])
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        events, results = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
        with storage.index_connection() as connection:
            total += connection.execute(
                select(func.coalesce(func.sum(func.length(events.event)), 0)).where(events.run_id.in_(run_ids))
            ).scalar_one()
            for of_a_check in _results(checks, run_ids):
                total += connection.execute(
                    select(func.coalesce(func.sum(func.length(results.evaluation_event)), 0)).where(of_a_check)
                ).scalar_one()
    return total


def forget(instance: dg.DagsterInstance, run_ids: Sequence[str], checks: Sequence[dg.AssetCheckKey]) -> None:
    """Deletes runs with all that is stored about them. The run itself goes last, so that it is found again."""
    storage, runs = instance.event_log_storage, instance.run_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            for of_a_check in _results(checks, run_ids):
                connection.execute(delete(AssetCheckExecutionsTable).where(of_a_check))
    if isinstance(runs, SqlRunStorage):
        with runs.connect() as connection:  # PostgreSQL deletes them by itself, SQLite does not
            connection.execute(delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(run_ids)))
    for run_id in run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        storage.delete_events(run_id)
        instance.delete_run(run_id)
        for file in _shard(instance, run_id):
            file.unlink(missing_ok=True)


def values_below(instance: dg.DagsterInstance, prefix: str) -> dict[str, str]:
    """The values whose key begins with a prefix, of those that were stored by ``RunStorage.set_cursor_values``."""
    runs = instance.run_storage
    if not isinstance(runs, SqlRunStorage):
        return {}
    values = KeyValueStoreTable.c
    with runs.connect() as connection:
        found = connection.execute(
            select(values.key, values.value).where(values.key.startswith(prefix, autoescape=True))
        )
        return {row.key: row.value for row in found}


def forget_values(instance: dg.DagsterInstance, keys: Sequence[str]) -> None:
    """Deletes such values."""
    runs = instance.run_storage
    if isinstance(runs, SqlRunStorage):
        with runs.connect() as connection:
            connection.execute(delete(KeyValueStoreTable).where(KeyValueStoreTable.c.key.in_(keys)))


def without_a_run(instance: dg.DagsterInstance) -> list[Path]:
    """Event files and output folders whose run is gone: deleted in the UI, or by a pruning that was interrupted."""
    # Files are listed before the runs are read, because a run that starts meanwhile is stored before its files.
    found = {path: path.name[:36] for path in _files_of_runs(instance) if RUN_ID.fullmatch(path.name[:36])}
    named = sorted(set(found.values()))
    known = {
        run_id
        for start in range(0, len(named), 500)
        for run_id in instance.get_run_ids(dg.RunsFilter(run_ids=named[start : start + 500]))
    }
    return sorted(path for path, run_id in found.items() if run_id not in known)


def size_of(paths: Collection[Path]) -> int:
    """Bytes of files and folders; those that do not exist have none."""
    return sum(_size(path) for path in paths)


def remove(paths: Collection[Path]) -> None:
    """Removes files and folders; those that do not exist are ignored."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def compact(instance: dg.DagsterInstance) -> int:
    """Compacts SQLite's files and returns by how many bytes. PostgreSQL reuses its empty pages by itself.

    VACUUM copies the file in one transaction: if it is killed or the disk is full, nothing has changed. Writers wait
    meanwhile (Dagster's for 30 s).

    Raises:
        sqlite3.OperationalError: the file is in use, or there is no room for the copy. Empty pages are reused anyway.
    """
    return sum(_compact(file) for file in _sqlite_files(instance))


def _compact(file: Path) -> int:
    before = file.stat().st_size
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        [empty] = connection.execute("PRAGMA freelist_count").fetchone()
        if empty < MIN_EMPTY_SHARE * pages:
            return 0
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return max(0, before - file.stat().st_size)


def _sqlite_files(instance: dg.DagsterInstance) -> Iterator[Path]:
    storage, runs = instance.event_log_storage, instance.run_storage
    if isinstance(storage, SqlEventLogStorage) and isinstance(runs, SqlRunStorage):
        for connect in (storage.index_connection, runs.connect):
            with connect() as connection:
                url = connection.engine.url
            if url.get_backend_name() == "sqlite" and url.database and Path(url.database).is_file():
                yield Path(url.database)


def _results(checks: Sequence[dg.AssetCheckKey], run_ids: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Conditions for the results of runs, one per check: with the check's names, the table's index is used."""
    table = AssetCheckExecutionsTable.c
    for check in checks:
        named = and_(table.asset_key == check.asset_key.to_string(), table.check_name == check.name)
        yield and_(named, table.run_id.in_(run_ids))


def _shard(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """On SQLite, the files with a run's events."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    file = Path(storage.path_for_shard(run_id))
    return [file, *(file.with_name(f"{file.name}-{ending}") for ending in ("wal", "shm"))]


def _captured(instance: dg.DagsterInstance) -> Path:
    """The folder with the captured output of steps, one folder per run, unless the site keeps it elsewhere."""
    return Path(instance.storage_directory())


def _files_of_runs(instance: dg.DagsterInstance) -> Iterator[Path]:
    folders = [_captured(instance)]
    if isinstance(instance.event_log_storage, SqliteEventLogStorage):
        folders.append(Path(instance.event_log_storage.path_for_shard("index")).parent)
    for folder in folders:
        if folder.is_dir():
            yield from folder.iterdir()


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(_size(below) for below in path.iterdir())
        return path.stat().st_size
    except FileNotFoundError:
        return 0
