"""Prepares the folders and databases of a deployment on first use."""

from pathlib import Path
from typing import TYPE_CHECKING

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import seed_classes
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def dagster_instance(settings: Settings) -> "dg.DagsterInstance":
    """The Dagster instance of the deployment. Its home is prepared if it is new."""
    import dagster as dg

    prepare_dagster_home(settings)
    return dg.DagsterInstance.from_config(str(settings.dagster_home))


def prepare_dagster_home(settings: Settings) -> None:
    """Makes DAGSTER_HOME with the shipped ``dagster.yaml``, unless the site has its own, and sets the pools' limits."""
    import dagster as dg

    from c4_assets.runs.pools import set_pool_limits

    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.unlink(missing_ok=True)  # a link to a checkout that was moved
        config.symlink_to(shipped("dagster.yaml"))
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        set_pool_limits(instance)


def shipped(name: str) -> Path:
    """A file that comes with C4: ``dagster.yaml``, ``workspace.yaml`` or one of ``deploy/``.

    A checkout has them at its top, and an installed wheel inside the package (pyproject.toml maps them).
    """
    inside = Path(__file__).with_name("shipped")
    return (inside if inside.is_dir() else Path(__file__).parents[1]) / name


def ready(settings: Settings) -> ImagingDatabase:
    """The imaging database. The embedded default gets its tables if it is new."""
    database = ImagingDatabase.of(settings)
    if settings.database.url.startswith("sqlite"):
        database.upgrade()
        seed_classes(database)
    return database
