"""What this deployment is: its settings, as the code location reads them once, and what its steps talk to."""

from collections.abc import Mapping

from c4_assets.checks.data_checks import DataChecks
from c4_assets.models.classifier import Classifier
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import Staging
from resources.image_store import open_image_store
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings

SETTINGS = Settings.from_environment()
"""The deployment's settings, read when the code location is loaded."""


SCORER = Classifier(SETTINGS).version
"""The scorer version of this deployment: the ``code_version`` of every asset whose content depends on it."""


def resources_of(settings: Settings) -> Mapping[str, object]:
    """The resources of the assets. Making them opens no connection and reads no file but a model named by its path."""
    classifier = Classifier(settings)
    return {
        "settings": settings,
        "imaging_database": ImagingDatabase.of(settings),
        "image_store": open_image_store(settings.store.url, settings.ssh),
        "staging": Staging(settings.staging, classifier.version.name),
        "score_archive": ScoreArchive(settings.archive, classifier.version.name),
        "classifier": classifier,
        "data_checks": DataChecks(settings),
    }
