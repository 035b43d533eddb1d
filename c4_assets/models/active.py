"""The models that score in this deployment: what stands in the imaging database, as classifiers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from c4_assets.models.classifier import Classifier, ModelChoice, scorer_version_of
from c4_assets.models.marco.preprocessing import PREPROCESSINGS
from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.models.weights import RELEASES
from resources.archive.score_archive import ScoreArchive
from resources.archive.unreadable import UnreadableFile, make_way, reading
from resources.atomic_write import atomic_write, remove_abandoned
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
        return [self.classifier(model) for model in self._active()]

    def peek(self) -> Sequence[Classifier]:
        """As :meth:`read`, but nothing is written: the first model of a new database is told and not added."""
        return [self.classifier(model) for model in self._active(add=False)]

    def publish(self) -> Sequence[Classifier]:
        """As :meth:`read`, and leaves word in the archive for steps that do not reach the database: on GPU nodes, say.

        Raises:
            OSError: the archive cannot be written.
        """
        active = self._active()
        content = json.dumps([_as_json(model) for model in active], indent=2).encode()
        if not self._file.is_file() or self._file.read_bytes() != content:
            make_way(self._file, self._settings.archive)
            remove_abandoned(self._file.parent)
            with atomic_write(self._file) as temporary:
                temporary.write_bytes(content)
        return [self.classifier(model) for model in active]

    def published(self) -> Sequence[Classifier]:
        """The active models as they were published last.

        Raises:
            ConfigurationError: nobody has published them yet, the file was damaged, or a model cannot be used.
        """
        try:
            with reading(self._file):
                models = [RegisteredModel(**row) for row in json.loads(self._file.read_bytes())]
                wrong = [model.name for model in models if not _is_as_published(model)]
                if wrong:
                    raise ValueError(f"the version of {', '.join(wrong)} is not the one of its name")
        except (FileNotFoundError, UnreadableFile) as error:
            why = f"{self._file} is missing" if isinstance(error, FileNotFoundError) else str(error).rstrip(".")
            raise ConfigurationError(
                f"{why}, which says what models are active: materialise raw_inspection_images first, which writes it, "
                "and let every machine that runs steps see that folder."
            ) from error
        return [self.classifier(model) for model in models]

    def _active(self, add: bool = True) -> list[RegisteredModel]:
        known = registered_models(self._database)
        legacy = self._settings.legacy_model is not None
        if known and not legacy:
            return [model for model in known if model.active]
        source, version = (None if legacy else self._used_before()) or _first_model(self._settings)
        if legacy:
            version = self._with_preprocessing_used_before(version)
        if add and not known:  # with legacy variables: for when they are taken away
            register_model(self._database, FIRST_MODEL, source, version.as_row())
        if add and not legacy:  # another machine may have been heard
            return [model for model in registered_models(self._database) if model.active]
        return [RegisteredModel(FIRST_MODEL, source, version.as_row(), active=True, current=True)]

    @property
    def _file(self) -> Path:
        return self._settings.archive / "active_models.json"

    def _used_before(self) -> tuple[str, ScorerVersion] | None:
        """The published model that an earlier release scored with last: this machine may not choose another engine."""
        versions = [ScorerVersion.from_row(row) for row in known_versions(self._database)]
        published = [v for v in versions if v.model in RELEASES and v.preprocessing in PREPROCESSINGS]
        return (published[-1].model, published[-1]) if published else None

    def _with_preprocessing_used_before(self, version: ScorerVersion) -> ScorerVersion:
        """The version with the preprocessing of the last one that had the same weights, engine and precision.

        Old variables do not name it, and another one would score everything again.
        """
        for row in reversed(known_versions(self._database)):
            before = ScorerVersion.from_row(row)
            alike = replace(version, preprocessing=before.preprocessing)
            if before.preprocessing in PREPROCESSINGS and alike.model_version == before.model_version:
                return alike
        return version

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


def _is_as_published(model: RegisteredModel) -> bool:
    return ScorerVersion.from_row(model.scorer_version).name == model.scorer_version["name"]


def _as_json(model: RegisteredModel) -> dict[str, Any]:
    parts = {name: value for name, value in model.scorer_version.items() if name != "first_used_at"}
    return {**vars(model), "scorer_version": parts}


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
