"""The demo's home: a deployment of its own, so that invented plates and people never stand among a site's."""

import os
from collections.abc import Mapping

from sqlalchemy import select

from c4_assets.demo.plates import INSPECTIONS
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.schema import plates
from resources.settings import Settings


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the demo: nothing of the site's settings but the folder of models.

    The home is what ``C4_DEMO_HOME`` says, or the folder ``demo`` in C4's home.

    Raises:
        ConfigurationError: the site's settings cannot be used.
    """
    site = Settings.from_environment(environment)
    rest = {name: value for name, value in environment.items() if not name.startswith("C4_") and name != "DAGSTER_HOME"}
    home = environment.get("C4_DEMO_HOME", "").strip() or str(site.home / "demo")
    return {**rest, "C4_HOME": home, "C4_MODELS": str(site.models)}


def enter_demo_home() -> Settings:
    """Makes this process, and those that it starts, part of the demo's deployment. Returns its settings."""
    environment = demo_environment(os.environ)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    return Settings.from_environment()


def refuse_other_plates(database: ImagingDatabase) -> None:
    """Keeps the demo out of a database in which somebody else's plates are.

    Raises:
        ConfigurationError: there is a plate that is not the demo's.
    """
    query = select(plates.c.barcode).where(plates.c.barcode.not_in({each.plate for each in INSPECTIONS})).limit(3)
    with database.reading() as connection:
        others = list(connection.scalars(query))
    if others:
        raise ConfigurationError(
            f"{database.address} has plates that are not the demo's ({', '.join(others)}): nothing was written. Set "
            "C4_DEMO_HOME to an empty folder."
        )
