"""The classifier that the settings ask for: its scorer version without loading it, its engine on first use."""

import re
from functools import lru_cache
from pathlib import Path

from c4_assets.marco import tensorflow_engine
from c4_assets.marco.engine import Engine
from c4_assets.marco.model import locate, weights_sha256
from c4_assets.marco.preprocessing import PREPROCESSING
from c4_assets.marco.scorer_version import ScorerVersion
from resources.settings import Settings


class Classifier:
    """MARCO as the settings describe it. Making one costs nothing; the model is loaded once a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def version(self) -> ScorerVersion:
        """The scorer version of every score that :attr:`engine` gives.

        Raises:
            ConfigurationError: ``C4_MODEL`` names no model.
        """
        return ScorerVersion(
            model=re.sub(r"[^a-z0-9]+", "-", Path(self._settings.model).name.lower()).strip("-") or "model",
            weights_sha256=weights_sha256(self._settings.model, self._settings.models),
            preprocessing=PREPROCESSING,
            engine=tensorflow_engine.NAME,
            precision=tensorflow_engine.PRECISION,
            crystal_threshold=self._settings.crystal_threshold,
        )

    @property
    def engine(self) -> Engine:
        """The engine, ready to classify.

        Raises:
            ConfigurationError: the model has not been fetched or cannot be loaded.
        """
        return _load(locate(self._settings.model, self._settings.models), self._settings.batch_size)


@lru_cache(maxsize=1)
def _load(saved_model: Path, batch_size: int) -> Engine:
    return tensorflow_engine.TensorFlowEngine(saved_model, batch_size)
