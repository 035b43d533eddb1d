"""What commands begin with: the site that the settings describe, and the days that an option names."""

from datetime import UTC, date, datetime, time

import typer

from c4_assets.command.console import errors
from c4_assets.deployment_home import dagster_instance, ready
from c4_assets.models.active import ActiveModels
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.listed import is_time_of_imaging
from resources.settings import Settings


def open_site() -> tuple[Settings, ImagingDatabase, ActiveModels]:
    """Reads the settings and opens the database, which is made where it is the embedded default and new.

    Raises:
        ConfigurationError, Unavailable: see :func:`c4_assets.deployment_home.ready`.
    """
    settings = Settings.from_environment()
    database = ready(settings)
    return settings, database, ActiveModels(settings, database)


def report_lost_runs(settings: Settings) -> None:
    """Ends the runs whose process is gone, so that nothing waits for them, and prints a sentence about each."""
    from c4_assets.runs.lost_runs import end_lost_runs

    with dagster_instance(settings) as instance:
        for each in end_lost_runs(instance):
            errors.print(each, style="yellow", soft_wrap=True)


def open_site_to_read() -> tuple[Settings, ImagingDatabase, ActiveModels]:
    """As :func:`open_site`, for commands that only show something: no table is made, changed or filled.

    Where there is no database yet, which is nothing wrong, it says so and ends the command.
    """
    settings = Settings.from_environment()
    database = ImagingDatabase.of(settings)
    if database.is_new():
        errors.print(
            f"There is no imaging database {database.address} yet: `c4 import FOLDER`, `c4 demo` or `c4 db upgrade` "
            "makes one.",
            soft_wrap=True,
        )
        raise typer.Exit
    return settings, database, ActiveModels(settings, database)


def day_of(option: str, text: str) -> date:
    """The day that an option names.

    Raises:
        ConfigurationError: it is no day, or one that stands for none; the message names the option.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {text!r} is not a day like 2026-03-31.") from error
    if not is_time_of_imaging(datetime.combine(day, time(), UTC)):
        raise ConfigurationError(f"{option} {text!r} stands for no day of imaging.")
    return day
