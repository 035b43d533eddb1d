"""Puts a backup back into an empty deployment, or aside of one that has something."""

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from c4_assets.operations.backup.databases import (
    SIDE_FILES,
    PostgresAccess,
    has_rows,
    move_tables_aside,
    restore_postgres,
    tables_of_dump,
)
from c4_assets.operations.backup.saving import (
    ARCHIVE,
    DAGSTER,
    DAGSTER_DUMP,
    DATA_DOCS,
    DATABASE_DUMP,
    DATABASE_FILE,
    PEOPLE,
    SUBSCRIPTIONS,
    Part,
    Places,
)
from c4_assets.operations.backup.snapshot import files_below, sync_folders
from resources.atomic_write import atomic_write, full_disk_named, sync
from resources.errors import ConfigurationError

STAGED = ".restoring"
ASIDE = ".before-restore-{now:%Y%m%dT%H%M%SZ}"
NOTE = ".c4-restoring"
"""In C4's home while a backup is put back: the backup, and the places that are done."""

IMAGING_TABLES, RUN_TABLES = ("plates", "images", "scores"), ("runs",)
"""Tables one row of which makes a deployment one that has something. A LIMS's own, which no dump has, do not count."""


@dataclass(frozen=True)
class Move:
    """A file or folder of a backup, and the place where it belongs."""

    part: Part
    source: Path
    target: Path


@dataclass(frozen=True)
class Dump:
    """A dump of a backup, and the database where it belongs."""

    part: Part
    source: Path
    access: PostgresAccess


@dataclass(frozen=True)
class Restored:
    """What of a backup is in its place now.

    Attributes:
        places: each part that was put back, by an interrupted call before or by this one, and where.
        missing: parts that were asked for and are not in the backup.
        moved: what was moved aside, and where to, a sentence each.
    """

    places: tuple[tuple[Part, str], ...]
    missing: tuple[Part, ...]
    moved: tuple[str, ...]


def restore(backup: Path, places: Places, home: Path, now: datetime, parts: Collection[Part], force: bool) -> Restored:
    """Puts parts of a backup where they belong. Interrupted, the same call goes on where it was.

    Args:
        home: where what is done is noted meanwhile.
        force: what is there is moved aside, and never removed.

    Raises:
        ConfigurationError: the deployment has something, is of another kind than the backup, or has a folder within
            another one that is put back. Nothing was changed.
    """
    steps = [step for step in _steps(backup, places) if step.part in parts]
    _refuse_within_one_another(steps, (backup, home), places)
    note = home / NOTE
    done = _done(note, backup)
    if done is None and not force and (there := [what for step in steps if (what := _occupied(step))]):
        raise ConfigurationError(
            f"This deployment has something: {'; '.join(there)}. Nothing has been changed. With --force it is moved "
            "aside, beside its place, before the backup takes it."
        )
    moved: list[str] = []
    finished = done or []
    home.mkdir(parents=True, exist_ok=True)
    for step in steps:
        if (place := _place(step)) in finished:
            continue
        _write_note(note, backup, finished)
        moved += _put(step, now)
        finished.append(place)
    note.unlink(missing_ok=True)
    there = {step.part for step in steps}
    missing = tuple(part for part in Part if part in parts and part not in there)
    return Restored(tuple((step.part, _place(step)) for step in steps), missing, tuple(moved))


def _place(step: Move | Dump) -> str:
    return str(step.target) if isinstance(step, Move) else step.access.address


def _steps(backup: Path, places: Places) -> Iterator[Move | Dump]:
    moves = (
        Move(Part.ARCHIVE, backup / ARCHIVE, places.archive),
        Move(Part.ARCHIVE, backup / DATA_DOCS, places.data_docs),
        Move(Part.ARCHIVE, backup / SUBSCRIPTIONS, places.subscriptions),
        Move(Part.ARCHIVE, backup / PEOPLE, places.people),
        Move(Part.DAGSTER, backup / DAGSTER, places.dagster_home),
    )
    yield from (move for move in moves if move.source.exists())
    file, dump = backup / DATABASE_FILE, backup / DATABASE_DUMP
    if file.is_file():
        if not isinstance(places.database, Path):
            raise _other_kind("imaging database", "SQLite", places.database_address)
        yield Move(Part.DATABASE, file, places.database)
    elif dump.is_file():
        if not isinstance(places.database, PostgresAccess):
            raise _other_kind("imaging database", "PostgreSQL", places.database_address)
        yield Dump(Part.DATABASE, dump, places.database)
    if (of_dagster := backup / DAGSTER_DUMP).is_file():
        if not places.dagster_database:
            raise _other_kind("Dagster's storage", "PostgreSQL", "SQLite (runs.dagster_storage)")
        yield Dump(Part.DAGSTER, of_dagster, places.dagster_database)


def _other_kind(what: str, saved: str, here: str) -> ConfigurationError:
    return ConfigurationError(f"The backup has the {what} of {saved}, and this deployment's is {here}.")


def _refuse_within_one_another(steps: Collection[Move | Dump], roots: Collection[Path], places: Places) -> None:
    """A folder is put back as a whole, and would take what else is within it aside.

    Args:
        roots: folders that are no part of a backup themselves.
    """
    database = (places.database,) if isinstance(places.database, Path) else ()
    for target in (step.target for step in steps if isinstance(step, Move)):
        others = [each for each in (*places.folders, places.people, *database) if each != target]
        for other in (*roots, *others):
            if other.resolve().is_relative_to(target.resolve()):
                raise ConfigurationError(
                    f"{target} is put back as a whole, and {other} is within it: let the settings name a folder for "
                    "each (DAGSTER_HOME, C4_HOME), or choose parts with --only. Nothing has been changed."
                )


def _occupied(step: Move | Dump) -> str:
    """What is in the place of a step, if it has anything that would be missed."""
    if isinstance(step, Dump):
        telling = [table for table in tables_of_dump(step.source) if table in (*IMAGING_TABLES, *RUN_TABLES)]
        return f"{step.access.address} has rows" if has_rows(step.access, telling) else ""
    target = step.target
    if step.part is Part.DATABASE:
        return f"{target} has rows" if _has_rows(target, IMAGING_TABLES) else ""
    if step.part is Part.DAGSTER:
        return f"{target} has runs" if _has_rows(target / "history" / "runs.db", RUN_TABLES) else ""
    if target.is_dir():
        return f"{target} has files" if any(files_below(target)) else ""
    return f"{target} is there" if target.exists() else ""


def _has_rows(file: Path, tables: Collection[str]) -> bool:
    if not file.is_file() or not file.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(file)) as connection:
            there = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
            return any(
                connection.execute(f"select exists (select 1 from {table})").fetchone()[0]  # noqa: S608 (names of ours)
                for table in tables
                if table in there
            )
    except sqlite3.DatabaseError:  # damaged, perhaps just why it is restored: it is not thrown away unasked
        return True


def _put(step: Move | Dump, now: datetime) -> list[str]:
    if isinstance(step, Dump):
        schema = f"before_restore_{now:%Y%m%dt%H%M%Sz}"
        moved = move_tables_aside(step.access, schema, tables_of_dump(step.source))
        restore_postgres(step.source, step.access)
        return [f"tables of {step.access.address}, to its schema {schema}"] if moved else []
    staged = step.target.with_name(f"{step.target.name}{STAGED}")
    staged.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_named(step.target):
        _copy(step.source, staged)
    moved = [
        f"{path}, to {_move_aside(path, now)}"
        for path in (step.target, *(step.target.with_name(step.target.name + end) for end in SIDE_FILES))
        if os.path.lexists(path)
    ]
    os.replace(staged, step.target)
    sync(step.target.parent)
    return moved


def _move_aside(path: Path, now: datetime) -> Path:
    aside = path.with_name(f"{path.name}{ASIDE.format(now=now)}")
    os.replace(path, aside)
    return aside


def _copy(source: Path, target: Path) -> None:
    """Copies a file or folder with its times, which the next backup goes by. What is there in whole is kept, and what
    another backup has left there goes.
    """
    if source.is_file():
        shutil.copy2(source, target)
        sync(target)
        return
    target.mkdir(exist_ok=True)
    for left in list(files_below(target)):
        if not (source / left.relative_to(target)).is_file():
            left.unlink()
    for file in files_below(source):
        copy = target / file.relative_to(source)
        found = file.stat()
        if copy.is_file() and (copy.stat().st_size, copy.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
        sync(copy)
    sync_folders(target)


def _done(note: Path, backup: Path) -> list[str] | None:
    """The places that an interrupted call for this backup has done; None if there was none."""
    if not note.is_file():
        return None
    first, *rest = note.read_text(encoding="utf-8").splitlines()
    return rest if first == str(backup.absolute()) else None


def _write_note(note: Path, backup: Path, finished: list[str]) -> None:
    with atomic_write(note) as temporary:
        temporary.write_text("\n".join([str(backup.absolute()), *finished]), encoding="utf-8")
