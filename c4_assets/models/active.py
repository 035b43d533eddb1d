"""The models that score in this deployment: what stands in the imaging database, as classifiers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from c4_assets.models.classifier import Classifier, ModelChoice, scorer_version_of
from c4_assets.models.marco.preprocessing import PREPROCESSING
from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.models.weights import RELEASES
from resources.archive.score_archive import ScoreArchive
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.models import RegisteredModel, known_versions, register_model, registered_models
from resources.settings import Settings

FIRST_MODEL = "marco"
"""The model that a new deployment begins with, and what operators call it."""

MakeClassifier = Callable[[str, str, ScorerVersion], Classifier]


class ActiveModels:
    """The active models of a deployment, read anew each time: an operator may change them between two steps."""

    def __init__(self, settings: Settings, database: ImagingDatabase, make: MakeClassifier | None = None) -> None:
        self._settings = settings
        self._database = database
        self._make = make or self._classifier

    def read(self) -> Sequence[Classifier]:
        """The active models, the current one first. In a new database, the first model is added.

        Which engine ``auto`` means is decided here once, by the machine that asks first, and stands in the database.

        Raises:
            Unavailable, ConfigurationError: the database cannot be asked, or a model cannot be used.
        """
        settings = self._settings
        if settings.legacy_model is not None:
            return [self._make(FIRST_MODEL, *_first_model(settings))]
        known = registered_models(self._database)
        if not known:
            source, version = self._used_before() or _first_model(settings)
            register_model(self._database, FIRST_MODEL, source, version.as_row())
            known = registered_models(self._database)
        active = [model for model in known if model.active]
        self._publish(active)
        return [self.classifier(model) for model in active]

    def published(self) -> Sequence[Classifier]:
        """The active models as they were read last, for steps that do not reach the database: GPU nodes, say.

        Raises:
            ConfigurationError: nobody has read them yet, or a model cannot be used.
        """
        if self._settings.legacy_model is not None:
            return self.read()
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigurationError(
                f"{self._file} is missing, which says what models are active: materialise raw_inspection_images first, "
                "which writes it, and let every machine that runs steps see that folder."
            ) from None
        return [self.classifier(RegisteredModel(**row)) for row in rows]

    @property
    def _file(self) -> Path:
        return self._settings.archive / "active_models.json"

    def _publish(self, active: Sequence[RegisteredModel]) -> None:
        times = {"first_used_at"}
        rows = [
            {**vars(model), "scorer_version": {k: v for k, v in model.scorer_version.items() if k not in times}}
            for model in active
        ]
        text = json.dumps(rows, indent=2)
        if not self._file.is_file() or self._file.read_text(encoding="utf-8") != text:
            with atomic_write(self._file) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _used_before(self) -> tuple[str, ScorerVersion] | None:
        """The published model that an earlier release scored with last: this machine may not choose another engine."""
        versions = [ScorerVersion.from_row(row) for row in known_versions(self._database)]
        published = [v for v in versions if v.model in RELEASES and v.preprocessing == PREPROCESSING]
        return (published[-1].model, published[-1]) if published else None

    @property
    def current(self) -> Classifier:
        """The model whose scores people see first: see :meth:`read`."""
        return self.read()[0]

    def archive(self, classifier: Classifier) -> ScoreArchive:
        """Where a model's probabilities and what is concluded from them are kept."""
        return ScoreArchive(self._settings.archive, classifier.version.model_version, classifier.version.name)

    def classifier(self, model: RegisteredModel) -> Classifier:
        """A registered model, active or not, as a classifier."""
        return self._make(model.name, model.source, ScorerVersion.from_row(model.scorer_version))

    def _classifier(self, name: str, source: str, version: ScorerVersion) -> Classifier:
        return Classifier(name, source, version, self._settings.models)


def model_without_database(settings: Settings) -> Classifier:
    """The model that a new deployment begins with, for who has none: ``c4 score``."""
    return Classifier(FIRST_MODEL, *_first_model(settings), settings.models)


def _first_model(settings: Settings) -> tuple[str, ScorerVersion]:
    legacy = settings.legacy_model
    choice = (
        ModelChoice(legacy.model, legacy.engine, legacy.precision, legacy.crystal_threshold)
        if legacy
        else ModelChoice()
    )
    return choice.source, scorer_version_of(choice, settings.models, settings.runs.executor)
