"""What of a deployment is saved, in which order, and what must hold of a backup."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.operations.backup.databases import (
    PostgresAccess,
    copy_sqlite,
    dump_fault,
    dump_postgres,
    rows_of_dump,
    sqlite_fault,
)
from c4_assets.operations.backup.scores import (
    FoundAgain,
    WrittenScore,
    find_scores,
    scores_of_rows,
    scores_of_sqlite,
)
from c4_assets.operations.backup.snapshot import (
    Manifest,
    Snapshot,
    damaged_files,
    new_snapshot,
    read_manifest,
    write_manifest,
)
from resources.errors import ConfigurationError


class Part(StrEnum):
    """A part of a deployment that is restored by itself."""

    DATABASE = "database"
    ARCHIVE = "archive"
    DAGSTER = "dagster"


DATABASE_FILE, DATABASE_DUMP = "database/imaging.db", "database/imaging.dump"
DAGSTER_DUMP = "dagster-database/dagster.dump"
ARCHIVE, DATA_DOCS, SUBSCRIPTIONS, DAGSTER = "archive", "data-docs", "subscriptions", "dagster"
PEOPLE, SITE_FILE = "people.json", "c4.toml"


@dataclass(frozen=True)
class Places:
    """Where the parts of a deployment are.

    Attributes:
        database: a SQLite file, or how PostgreSQL is reached; ``None`` where its own administrator saves it.
        database_address: without a password.
        tables: the tables of the imaging database that are C4's and are there, on PostgreSQL.
        dagster_database: where Dagster keeps its runs if not below ``dagster_home``.
    """

    database: Path | PostgresAccess | None
    database_address: str
    tables: tuple[str, ...]
    archive: Path
    data_docs: Path
    subscriptions: Path
    people: Path
    site_file: Path | None
    dagster_home: Path
    dagster_database: PostgresAccess | None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of which a backup takes what is in them."""
        return self.archive, self.data_docs, self.subscriptions, self.dagster_home


@dataclass(frozen=True)
class Saved:
    """A backup that was made."""

    folder: Path
    files: int
    new: int
    new_bytes: int
    unsaved: tuple[str, ...]


def save(folder: Path, places: Places, release: str, now: datetime, full: bool = False) -> Saved:
    """Makes a backup of a deployment, whatever runs meanwhile.

    The archive is copied after the database, because runs write to it before: so each score of the backup's database
    is in its archive. Dagster's memory of its runs comes first: what it does not know is only looked at again.

    Raises:
        ConfigurationError: a program is missing, another backup is being made, or the folder is within one that is
            saved, so that each backup would hold all earlier ones.
        Unavailable: a database cannot be read, or the disk is full. Earlier backups are as they were.
    """
    for saved in places.folders:
        if folder.resolve().is_relative_to(saved.resolve()):
            raise ConfigurationError(f"{folder} is within {saved}, which is saved: keep backups in a folder elsewhere.")
    with new_snapshot(folder, now, full) as snapshot:
        parts = {
            Part.DAGSTER: _save_dagster(snapshot, places),
            Part.DATABASE: _save_database(snapshot, places),
            Part.ARCHIVE: str(places.archive),
        }
        snapshot.add_tree(f"{ARCHIVE}/checkpoints", places.archive / "checkpoints")  # they become days' files
        snapshot.add_tree(ARCHIVE, places.archive)
        snapshot.add_tree(DATA_DOCS, places.data_docs)
        snapshot.add_tree(SUBSCRIPTIONS, places.subscriptions)
        snapshot.add(PEOPLE, places.people)
        if places.site_file:
            snapshot.add(SITE_FILE, places.site_file)
        write_manifest(
            snapshot, Manifest(now.isoformat(), release, {str(k): v for k, v in parts.items()}, snapshot.files)
        )
    unsaved = () if _has_database(places) else (parts[Part.DATABASE],)
    return Saved(snapshot.place, len(snapshot.files), snapshot.new, snapshot.new_bytes, unsaved)


def _has_database(places: Places) -> bool:
    return isinstance(places.database, Path) or bool(places.database and places.tables)


def _save_database(snapshot: Snapshot, places: Places) -> str:
    if isinstance(places.database, Path):
        copy_sqlite(snapshot, DATABASE_FILE, places.database)
    elif places.database and places.tables:
        dump_postgres(snapshot, DATABASE_DUMP, places.database, places.tables)
    elif places.database:
        return f"{places.database_address} has none of C4's tables yet: `c4 db upgrade` or its administrator makes them"
    else:
        return _left_to_a_dba(places)
    return places.database_address


def _left_to_a_dba(places: Places) -> str:
    return (
        f"{places.database_address} is saved by its administrator: the tables scores and c4_… (Oracle: `expdp` with "
        "TABLES=…, or RMAN), before this backup's time or as near to it as can be"
    )


def _save_dagster(snapshot: Snapshot, places: Places) -> str:
    home = places.dagster_home
    snapshot.add(f"{DAGSTER}/dagster.yaml", home / "dagster.yaml")
    if places.dagster_database:
        dump_postgres(snapshot, DAGSTER_DUMP, places.dagster_database)
        return places.dagster_database.address
    for file in sorted(home.rglob("*.db")):
        copy_sqlite(snapshot, f"{DAGSTER}/{file.relative_to(home).as_posix()}", file)
    return str(home)


@dataclass(frozen=True)
class Verified:
    """What reading a whole backup has shown.

    Attributes:
        faults: what is wrong, a sentence each.
        scores: what of the scores was found again; ``None`` where the database is in other hands or damaged.
    """

    manifest: Manifest
    faults: tuple[str, ...]
    scores: FoundAgain | None

    @property
    def well(self) -> bool:
        """Whether the backup can be restored as it is, with each score in both places."""
        return not self.faults and (self.scores is None or self.scores.well)


def verify(backup: Path) -> Verified:
    """Reads all of a backup: sums, databases, and every score in database and archive.

    Raises:
        ConfigurationError: it is no backup, or a program for its dumps is missing.
    """
    manifest = read_manifest(backup)
    faults = damaged_files(backup, manifest)
    for name in manifest.files:
        check = sqlite_fault if name.endswith(".db") else dump_fault if name.endswith(".dump") else None
        if check and (backup / name).is_file() and (fault := check(backup / name)):
            faults.append(f"{name}: {fault}")
    has_database = any(name in manifest.files for name in (DATABASE_FILE, DATABASE_DUMP))
    damaged = any(fault.startswith("database/") for fault in faults)
    found = find_scores(backup / ARCHIVE, _scores(backup), _versions(backup)) if has_database and not damaged else None
    return Verified(manifest, tuple(faults), found)


def _scores(backup: Path) -> Iterator[WrittenScore]:
    if (backup / DATABASE_FILE).is_file():
        return scores_of_sqlite(backup / DATABASE_FILE)
    return scores_of_rows(rows_of_dump(backup / DATABASE_DUMP, "scores"))


def _versions(backup: Path) -> dict[str, str]:
    return {version.name: version.model_version for version in map(_version, _rows_of_versions(backup))}


def _rows_of_versions(backup: Path) -> Iterator[Mapping[str, Any]]:
    if not (backup / DATABASE_FILE).is_file():
        yield from rows_of_dump(backup / DATABASE_DUMP, "c4_scorer_versions")
        return
    address = f"{(backup / DATABASE_FILE).absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        yield from (dict(row) for row in connection.execute("select * from c4_scorer_versions"))


def _version(row: Mapping[str, Any]) -> ScorerVersion:
    return ScorerVersion.from_row({**row, "crystal_threshold": float(row["crystal_threshold"])})
