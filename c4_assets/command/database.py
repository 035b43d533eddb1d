"""``c4 db``: the imaging database's own tables."""

import typer

from c4_assets.command.console import console
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import seed_classes
from resources.settings import Settings

app = typer.Typer(help="Create and fill C4's tables in the imaging database.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Create C4's tables or bring them up to date. Doing it again changes nothing."""
    database = ImagingDatabase(Settings.from_environment().imaging_database_url)
    database.upgrade()
    console.print(f"The tables in {database.address} are up to date.")


@app.command("seed-classes")
def seed() -> None:
    """Add the four categories and common nuanced classes to score_classes, where they are missing."""
    database = ImagingDatabase(Settings.from_environment().imaging_database_url)
    console.print(f"{seed_classes(database)} classes were added.")


def ready(settings: Settings) -> ImagingDatabase:
    """The imaging database, with its tables made where it is the embedded default and new."""
    database = ImagingDatabase(settings.imaging_database_url)
    if settings.imaging_database_url.startswith("sqlite"):
        database.upgrade()
        seed_classes(database)
    return database
