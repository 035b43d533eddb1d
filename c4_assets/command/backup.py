"""``c4 backup`` and ``c4 restore``: a deployment's databases and archive, saved, looked through and put back."""

import os
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import URL
from sqlalchemy.engine import make_url

from c4_assets.command.console import console, errors
from c4_assets.operations.backup.databases import PostgresAccess
from c4_assets.operations.backup.restoring import Restored
from c4_assets.operations.backup.restoring import restore as put_back
from c4_assets.operations.backup.saving import SITE_FILE, Part, Places, Verified, save
from c4_assets.operations.backup.saving import verify as verify_backup
from c4_assets.operations.backup.scores import FoundAgain, find_scores, scores_of_database
from c4_assets.operations.backup.snapshot import Manifest, backup_of, remove_old
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings
from resources.wording import counted

DAEMON_ALIVE_WITHIN = timedelta(minutes=2)
"""A daemon that has given a sign of life within this time is taken for running: it gives one each 30 s."""


def backup(
    folder: Annotated[Path, typer.Argument(help="Where backups are kept, best on another machine's disk.")],
    keep: Annotated[int | None, typer.Option(min=1, help="Remove all but so many newest backups afterwards.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Copy all files anew: after `c4 restore --verify` found a damaged one.")
    ] = False,
) -> None:
    """Save databases, archive and settings into a new folder below FOLDER, while runs go on."""
    settings = Settings.from_environment()
    saved = save(folder, places_of(settings), version("c4"), datetime.now(UTC), full)
    console.print(
        f"{saved.folder}: {counted(saved.files, 'file')}, of which new: {saved.new} ({saved.new_bytes / 1e6:,.1f} MB).",
        soft_wrap=True,
    )
    for sentence in saved.unsaved:
        errors.print(f"Not in it: {sentence}.", style="yellow", soft_wrap=True)
    if keep is not None and (gone := remove_old(folder, keep)):
        console.print(f"Removed: {counted(gone, 'older backup')}.")


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup, or the folder whose newest one is meant.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Only read the backup, and find every score again. Nothing is changed.")
    ] = False,
    only: Annotated[
        list[Part] | None, typer.Option(help="Put back this part alone; may be given more than once.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move aside what the deployment has, in place of refusing.")
    ] = False,
) -> None:
    """Put a backup back where the settings say, or only look through it. Stop the services before."""
    found = backup_of(folder)
    console.print(f"Reading {found} …", soft_wrap=True)
    verified = verify_backup(found)
    _tell(verified)
    if verified.faults or (verify and not verified.well):
        raise typer.Exit(1)
    if verify:
        return
    settings = Settings.from_environment()
    _refuse_while_a_daemon_lives(settings)
    parts = frozenset(only or Part)
    restored = put_back(found, places_of(settings), settings.home, datetime.now(UTC), parts, force)
    _tell_restored(restored, found, verified.manifest, parts)
    console.print("The deployment, as it is now:")
    again = _find_in(settings)
    _tell_scores(again)
    if not again.well:
        raise typer.Exit(1)


def places_of(settings: Settings) -> Places:
    """Where the parts of a deployment are.

    Raises:
        ConfigurationError: a variable of Dagster's database is missing.
        Unavailable: the imaging database does not answer.
    """
    database = ImagingDatabase.of(settings)
    place, tables = _database_of(settings, database)
    return Places(
        database=place,
        database_address=database.address,
        tables=tables,
        archive=settings.archive,
        data_docs=settings.data_docs,
        subscriptions=settings.data / "subscriptions",
        people=settings.data / "people.json",
        site_file=settings.file,
        dagster_home=settings.dagster_home,
        dagster_database=_dagster_database() if settings.runs.dagster_storage == "postgres" else None,
    )


def _database_of(settings: Settings, database: ImagingDatabase) -> tuple[Path | PostgresAccess | None, tuple[str, ...]]:
    url = make_url(settings.database.url)
    if database.dialect == "sqlite" and url.database:
        return Path(url.database), ()
    if database.dialect != "postgresql":
        return None, ()
    if password := settings.database.password:
        url = url.set(password=password.get_secret_value())
    if "options" not in url.query:
        url = url.update_query_dict({"options": ""})  # C4's connections have their own, and not those of PGOPTIONS
    return PostgresAccess.of(url, database.address), _own_tables(database)


def _own_tables(database: ImagingDatabase) -> tuple[str, ...]:
    """The tables that C4 has made, or those that it writes to where a LIMS has the others."""
    from sqlalchemy import inspect

    from resources.imaging_database.ddl import OWN_TABLES
    from resources.imaging_database.schema import VERSION_TABLE, metadata

    wanted = [*metadata.tables, VERSION_TABLE] if database.is_migrated() else OWN_TABLES
    with database.reading("backup") as connection:
        there = inspect(connection).get_table_names()
    return tuple(table for table in wanted if table in there)


def _dagster_database() -> PostgresAccess:
    names = ("HOST", "PORT", "USER", "PASSWORD", "DB")
    given = {name: os.environ.get(f"DAGSTER_POSTGRES_{name}", "") for name in names}
    if missing := [f"DAGSTER_POSTGRES_{name}" for name in names if not given[name]]:
        raise ConfigurationError(f"These variables name Dagster's database and are not set: {', '.join(missing)}.")
    if not given["PORT"].isdecimal():
        raise ConfigurationError(f"DAGSTER_POSTGRES_PORT is {given['PORT']!r}, which is no port.")
    url = URL.create("postgresql", given["USER"], given["PASSWORD"], given["HOST"], int(given["PORT"]), given["DB"])
    return PostgresAccess.of(url, f"postgresql://{given['USER']}@{given['HOST']}:{given['PORT']}/{given['DB']}")


def _refuse_while_a_daemon_lives(settings: Settings) -> None:
    if not (settings.dagster_home / "dagster.yaml").exists():
        return
    from c4_assets.deployment_home import dagster_instance
    from c4_assets.runs.observed import daemon_silent

    with dagster_instance(settings) as instance:
        silent = daemon_silent(instance, datetime.now(UTC))
    if silent is not None and silent < DAEMON_ALIVE_WITHIN:
        raise ConfigurationError(
            f"Dagster's daemon gave a sign of life {silent.total_seconds():.0f} s ago: stop the services "
            "(`systemctl stop c4.target`, or Ctrl-C in `c4 ui`) and try again in "
            f"{DAEMON_ALIVE_WITHIN.total_seconds():.0f} s. Nothing has been changed."
        )


def _find_in(settings: Settings) -> FoundAgain:
    from c4_assets.models.scorer_version import ScorerVersion
    from resources.imaging_database.models import known_versions

    database = ImagingDatabase.of(settings)
    versions = {row["name"]: ScorerVersion.from_row(row).model_version for row in known_versions(database)}
    return find_scores(settings.archive, scores_of_database(database), versions)


def _tell(verified: Verified) -> None:
    manifest = verified.manifest
    console.print(f"Made at {manifest.made_at} by C4 {manifest.release}: {counted(len(manifest.files), 'file')}.")
    for part, source in manifest.parts.items():
        console.print(f"  {part}: {source}", soft_wrap=True)
    for fault in verified.faults:
        errors.print(f"✗ {fault}", style="red", soft_wrap=True)
    if verified.faults:
        errors.print("Take an earlier backup, and make a new one with `c4 backup --full`.", soft_wrap=True)
    else:
        console.print("✓ Every file is as it was saved, and the databases can be read.")
    if verified.scores:
        _tell_scores(verified.scores)


def _tell_restored(restored: Restored, backup: Path, manifest: Manifest, asked_for: Collection[Part]) -> None:
    for moved in restored.moved:
        console.print(f"Moved aside: {moved}.", soft_wrap=True)
    for part, place in restored.places:
        console.print(f"Put back, of the part {part}: {place}.", soft_wrap=True)
    for part in restored.missing:
        said = f"Not put back, because the backup does not have it: {part} ({manifest.parts[part]})."
        errors.print(said, style="yellow", soft_wrap=True)
    for part in Part:
        if part not in asked_for:
            console.print(f"Not put back, because --only does not name it: {part}.")
    if (settings := backup / SITE_FILE).is_file():
        console.print(f"Never put back: {settings}. Compare it with the settings that you have.", soft_wrap=True)


def _tell_scores(found: FoundAgain) -> None:
    console.print(f"{'✓' if found.well else '✗'} {found.found} of {found.written} scores are in the archive.")
    for sentence in found.lost:
        errors.print(f"  {sentence}", style="red", soft_wrap=True)
    for file in found.unreadable:
        errors.print(f"✗ {file} cannot be read", style="red", soft_wrap=True)
    if found.doubled:
        errors.print(f"✗ {found.doubled} images have two scores of one scorer version.", style="red")
    if found.waiting:
        console.print(
            f"  {found.waiting} images have numbers in the archive and no score in the database: they are pending, "
            "withheld, or no longer listed.",
            soft_wrap=True,
        )
