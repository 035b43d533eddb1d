"""The classifier that the settings ask for: its scorer version without loading it, its engine on first use."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from c4_assets.models import machine
from c4_assets.models.engine import Engine
from c4_assets.models.marco import openvino_engine, tensorflow_engine
from c4_assets.models.marco.network import frozen_graph
from c4_assets.models.marco.openvino_graph import openvino_graph
from c4_assets.models.marco.preprocessing import PREPROCESSING
from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.models.weights import files_sha256, locate, weights_sha256
from resources.errors import ConfigurationError
from resources.settings import LegacyModel, Settings

PRECISIONS = {
    tensorflow_engine.NAME: tensorflow_engine.PRECISIONS,
    openvino_engine.NAME: openvino_engine.PRECISIONS,
}


@dataclass(frozen=True)
class Arithmetic:
    """What computes, in which number format, and why, in words for the operator."""

    engine: str
    precision: str
    reason: str

    def __str__(self) -> str:
        return f"{self.engine} in {self.precision} ({self.reason})"


def choose_arithmetic(engine: str, precision: str, executor: str) -> Arithmetic:
    """Resolves the engine ``auto``: TensorFlow for GPUs, OpenVINO for CPUs.

    Scores of two engines are two scorer versions, so every process of a deployment must choose alike. Where Slurm runs
    the steps, this machine says nothing about theirs, and ``auto`` does not look at it. The precision is never chosen
    by the machine: bfloat16 is several times as fast on some CPUs, and loses crystals at the margin.

    Args:
        engine, precision: ``C4_ENGINE`` and ``C4_PRECISION``.
        executor: ``C4_RUNS_EXECUTOR``.

    Raises:
        ConfigurationError: the engine cannot compute in that precision.
    """
    reason = "as set"
    if engine == "auto" and executor == "slurm":
        engine, reason = tensorflow_engine.NAME, "the steps run on Slurm's GPUs"
    elif engine == "auto":
        gpus = machine.gpus()
        engine = tensorflow_engine.NAME if gpus else openvino_engine.NAME
        reason = f"this machine has {gpus or 'no'} GPU"
    if precision not in PRECISIONS[engine]:
        raise ConfigurationError(
            f"C4_PRECISION={precision} is nothing that the engine {engine} ({reason}) computes in: choose "
            f"{' or '.join(PRECISIONS[engine])}, or set C4_ENGINE."
        )
    return Arithmetic(engine, precision, reason)


class Classifier:
    """MARCO as the settings describe it. Making one costs nothing; the model is loaded once a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._model = settings, settings.legacy_model or LegacyModel()

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """What computes.

        Raises:
            ConfigurationError: ``C4_ENGINE`` and ``C4_PRECISION`` do not go together.
        """
        return choose_arithmetic(self._model.engine, self._model.precision, self._settings.runs.executor)

    @cached_property
    def version(self) -> ScorerVersion:
        """The scorer version of every score that :attr:`engine` gives.

        Raises:
            ConfigurationError: ``C4_MODEL`` names no model, or see :attr:`arithmetic`.
        """
        return ScorerVersion(
            model=re.sub(r"[^a-z0-9]+", "-", Path(self._model.model).name.lower()).strip("-") or "model",
            weights_sha256=weights_sha256(self._model.model, self._settings.models),
            preprocessing=PREPROCESSING,
            engine=self.arithmetic.engine,
            precision=self.arithmetic.precision,
            crystal_threshold=self._model.crystal_threshold,
        )

    def weights_on_disk(self) -> str:
        """Digest of the files that :attr:`engine` is made from, to be compared with the version's.

        Raises:
            ConfigurationError: the model has not been fetched.
        """
        return files_sha256(locate(self._model.model, self._settings.models))

    @property
    def engine(self) -> Engine:
        """The engine, ready to classify.

        Raises:
            ConfigurationError: the model has not been fetched or cannot be loaded, or the machine cannot compute in
                the precision.
        """
        return _load(
            locate(self._model.model, self._settings.models),
            self.version.weights_sha256,
            self._settings.models,
            self.arithmetic,
        )


@lru_cache(maxsize=1)
def _load(saved_model: Path, weights: str, models: Path, arithmetic: Arithmetic) -> Engine:
    if arithmetic.engine == openvino_engine.NAME:
        return openvino_engine.OpenVinoEngine(openvino_graph(saved_model, weights), arithmetic.precision)
    return tensorflow_engine.TensorFlowEngine(frozen_graph(saved_model, weights, models), arithmetic.precision)
