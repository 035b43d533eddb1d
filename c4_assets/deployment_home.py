"""Prepares the folders and databases of a deployment on first use."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from c4_assets.models.scorer_version import ScorerVersion
from resources.archive.upgrade import is_of_an_earlier_release, upgrade_archive
from resources.errors import ConfigurationError, Unavailable
from resources.file_lock import locked
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.models import known_versions
from resources.imaging_database.register import seed_classes
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

PREPARATION_LOCK = ".c4-preparation.lock"

BEING_MADE_S = 3.0
"""Longest wait of what only looks for a Dagster instance that is being made, in seconds."""


def dagster_instance(settings: Settings) -> "dg.DagsterInstance":
    """The Dagster instance of the deployment. Its home is prepared if it is new."""
    prepare_dagster_home(settings)
    return _opened(settings.dagster_home)


def dagster_instance_to_read(settings: Settings) -> "dg.DagsterInstance":
    """As :func:`dagster_instance`, for what only looks: nothing is made. Where there is none yet, it is an empty one.

    Raises:
        ConfigurationError: see :func:`_opened`.
        Unavailable: another process is just making it.
    """
    import dagster as dg

    home = settings.dagster_home
    if not (home / "dagster.yaml").exists():
        return cast("Any", dg.DagsterInstance).ephemeral()
    # Whoever opens tables that are half made takes part in making them, and leaves some without their marks.
    try:
        with locked(home / PREPARATION_LOCK, BEING_MADE_S):
            return _opened(home)
    except TimeoutError as error:
        raise Unavailable(
            f"The Dagster instance in {home} is being made by another process of C4: look again in a minute."
        ) from error


def _opened(dagster_home: Path) -> "dg.DagsterInstance":
    """Raises:
    ConfigurationError: its storage cannot be opened; a variable is missing, or its database does not answer.
    """
    import dagster as dg

    try:
        return dg.DagsterInstance.from_config(str(dagster_home))
    except Exception as error:  # its storages raise whatever their drivers do
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigurationError(
            f"The Dagster instance in {dagster_home} cannot be opened: {why[0]} (see runs.dagster_storage)"
        ) from error


def prepare_dagster_home(settings: Settings) -> None:
    """Makes DAGSTER_HOME with C4's ``dagster.yaml``, unless the site has its own, and sets the pools' limits.

    One process at a time: two that make Dagster's tables at once leave them marked with two versions, and no process
    can open them any more.
    """
    from c4_assets.runs.dagster_yaml import put_dagster_yaml
    from c4_assets.runs.pools import set_pool_limits

    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    with locked(settings.dagster_home / PREPARATION_LOCK):
        put_dagster_yaml(settings.dagster_home / "dagster.yaml", shipped_dagster_yaml(settings))
        with _opened(settings.dagster_home) as instance:
            if (schedules := instance.schedule_storage) is not None:
                # A process that is ended while it makes these tables leaves them unmarked, and no sensor would tick.
                schedules.migrate()
                schedules.optimize()
            set_pool_limits(instance)


def shipped_dagster_yaml(settings: Settings) -> str:
    """The ``dagster.yaml`` that C4 has for a deployment with these settings."""
    from c4_assets.runs.dagster_yaml import dagster_yaml

    return dagster_yaml(shipped("deploy/dagster.yaml.jinja"), settings)


def shipped(name: str) -> Path:
    """A file that comes with C4: ``workspace.yaml`` or one of ``deploy/``.

    A checkout has them at its top, and an installed wheel inside the package (pyproject.toml maps them).
    """
    inside = Path(__file__).with_name("shipped")
    return (inside if inside.is_dir() else Path(__file__).parents[1]) / name


def ready(settings: Settings) -> ImagingDatabase:
    """The imaging database. The embedded default, and what lies beside it, is made or brought up to date first."""
    database = ImagingDatabase.of(settings)
    if settings.database.url.startswith("sqlite"):
        upgrade(settings, database)
        seed_classes(database)
    return database


def upgrade(settings: Settings, database: ImagingDatabase) -> bool:
    """Brings database and archive to this release. Interrupted anywhere, it goes on where it was.

    Returns:
        Whether there was anything to do.

    Raises:
        ConfigurationError: runs are in flight, which would write as the earlier release did; or the database is a
            LIMS's, in which C4 makes no tables.
        Unavailable: the database does not answer.
    """
    if database.is_new():
        database.upgrade()
        return True
    new_tables = not _made_by_a_dba(database) and not database.is_up_to_date()
    if new_tables:
        _refuse_views(database)
        _refuse_while_runs_are_in_flight(settings)
        database.upgrade()
    versions = {row["name"]: ScorerVersion.from_row(row).model_version for row in known_versions(database)}
    if not is_of_an_earlier_release(settings.archive, versions):
        return new_tables
    _refuse_while_runs_are_in_flight(settings)
    upgrade_archive(settings.archive, settings.staging, versions)
    return True


def _made_by_a_dba(database: ImagingDatabase) -> bool:
    """Whether C4's tables are there and `c4 db check`, not Alembic, says what they lack."""
    if database.is_migrated():
        return False
    try:
        known_versions(database)
    except ConfigurationError:
        return False
    return True


def _refuse_views(database: ImagingDatabase) -> None:
    if database.is_view("images"):
        raise ConfigurationError(
            f"images is a view in {database.address}, so its tables are a LIMS's, and C4 makes none there. Let its "
            f"administrator run what `c4 db ddl --for {database.dialect}` prints; `c4 db check` says what is missing. "
            "Nothing has been changed."
        )


def _refuse_while_runs_are_in_flight(settings: Settings) -> None:
    if not os.path.lexists(settings.dagster_home / "dagster.yaml"):  # a link of an earlier release may lead nowhere
        return
    import dagster as dg

    from c4_assets.runs.backfills import STARTED_STATUSES
    from c4_assets.runs.lost_runs import end_lost_runs
    from c4_assets.runs.own_runs import is_of_c4

    with dagster_instance(settings) as instance:
        end_lost_runs(instance)
        runs = sum(map(is_of_c4, instance.get_runs(dg.RunsFilter(statuses=STARTED_STATUSES))))
    if runs:
        raise ConfigurationError(
            f"{runs} runs are in flight, and this release keeps scores otherwise than the one that they began with: "
            "stop the daemon, wait until they have ended or cancel them (`c4 backlog pause` for a backfill), and try "
            "again. Nothing has been changed."
        )
