"""What this deployment is: its settings, as the code location reads them once, and what its steps talk to."""

from collections.abc import Mapping

from c4_assets.checks.data_checks import DataChecks
from c4_assets.models.active import ActiveModels
from resources.archive.staging import Staging
from resources.archive.thumbnails import Thumbnails
from resources.image_store import open_image_store
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings
from resources.settings.logs import write_logs_of

SETTINGS = Settings.from_environment()
"""The deployment's settings, read when the code location is loaded."""

write_logs_of(SETTINGS.logs)


def resources_of(settings: Settings) -> Mapping[str, object]:
    """What the assets talk to. Making them opens no connection and reads no file but a model named by its path."""
    database = ImagingDatabase.of(settings)
    return {
        "settings": settings,
        "imaging_database": database,
        "image_store": open_image_store(settings.store.url, settings.ssh),
        "staging": Staging(settings.staging),
        "thumbnails": Thumbnails(settings.thumbnails),
        "models": ActiveModels(settings, database),
        "data_checks": DataChecks(settings),
    }
