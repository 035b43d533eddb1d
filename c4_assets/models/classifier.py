"""A model at work: its scorer version without loading it, its engine on first use."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from c4_assets.models import machine
from c4_assets.models.engine import Engine
from c4_assets.models.marco import openvino_engine, tensorflow_engine
from c4_assets.models.marco.network import frozen_graph
from c4_assets.models.marco.openvino_graph import openvino_graph
from c4_assets.models.marco.preprocessing import PREPROCESSING, PREPROCESSINGS
from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.models.weights import files_sha256, locate, weights_sha256
from resources.errors import ConfigurationError

PRECISIONS = {
    tensorflow_engine.NAME: tensorflow_engine.PRECISIONS,
    openvino_engine.NAME: openvino_engine.PRECISIONS,
}

LOADED_MODELS = 4
"""Engines that a process keeps: a step goes from model to model on each of its days."""


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

    Where Slurm runs the steps, this machine says nothing about theirs, and ``auto`` does not look at it. The precision
    is never chosen by the machine: bfloat16 is several times as fast on some CPUs, and loses crystals at the margin.

    Args:
        engine: ``auto``, ``tensorflow`` or ``openvino``.
        executor: what runs the steps.

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
            f"The precision {precision} is nothing that the engine {engine} ({reason}) computes in: choose "
            f"{' or '.join(PRECISIONS[engine])}, or name the other engine."
        )
    return Arithmetic(engine, precision, reason)


@dataclass(frozen=True)
class ModelChoice:
    """A model as an operator asks for it. ``source`` is a published model or the path of a SavedModel."""

    source: str = "marco"
    engine: str = "auto"
    precision: str = "fp32"
    crystal_threshold: float = 0.25


def scorer_version_of(choice: ModelChoice, models: Path, executor: str) -> ScorerVersion:
    """What a choice comes to on this machine.

    Args:
        models: the folder of fetched models.
        executor: what runs the steps.

    Raises:
        ConfigurationError: the source names no model, or see :func:`choose_arithmetic`.
    """
    arithmetic = choose_arithmetic(choice.engine, choice.precision, executor)
    return ScorerVersion(
        model=re.sub(r"[^a-z0-9]+", "-", Path(choice.source).name.lower()).strip("-") or "model",
        weights_sha256=weights_sha256(choice.source, models),
        preprocessing=PREPROCESSING,
        engine=arithmetic.engine,
        precision=arithmetic.precision,
        crystal_threshold=choice.crystal_threshold,
    )


class Classifier:
    """A model that images are classified with. Making one costs nothing; the model is loaded once a process.

    Attributes:
        name: what operators call the model.
        version: the scorer version of every score that :attr:`engine` gives.
    """

    def __init__(self, name: str, source: str, version: ScorerVersion, models: Path):
        """Args:
        source: a published model, or the path of a SavedModel.
        models: the folder of fetched models.

        Raises:
            ConfigurationError: this release cannot prepare images as the version says.
        """
        if version.preprocessing not in PREPROCESSINGS:
            raise ConfigurationError(
                f"The model {name} was added with the preprocessing {version.preprocessing}, and this release has "
                f"{' and '.join(PREPROCESSINGS)}: add it again under another name (`c4 model add`), and make that one "
                "current."
            )
        self.name = name
        self.version = version
        self.source = source
        self._models = models

    @property
    def arithmetic(self) -> str:
        """What computes, in words for the operator."""
        return f"{self.version.engine} in {self.version.precision}"

    def with_threshold(self, crystal_threshold: float) -> ScorerVersion:
        """The scorer version that decides otherwise on the same numbers."""
        return replace(self.version, crystal_threshold=crystal_threshold)

    def weights_on_disk(self) -> str:
        """Digest of the files that :attr:`engine` is made from, to be compared with the version's.

        Raises:
            ConfigurationError: the model has not been fetched.
        """
        return files_sha256(locate(self.source, self._models))

    @property
    def engine(self) -> Engine:
        """The engine, ready to classify.

        Raises:
            ConfigurationError: the model has not been fetched or cannot be loaded, or the machine cannot compute in
                the precision.
        """
        return _load(
            locate(self.source, self._models),
            self.version.weights_sha256,
            self.version.engine,
            self.version.precision,
            self.version.preprocessing,
        )


def engine_of(classifier: Classifier) -> Engine:
    """A classifier's engine, as a function that another process can be handed."""
    return classifier.engine


@lru_cache(maxsize=LOADED_MODELS)
def _load(saved_model: Path, weights: str, engine: str, precision: str, preprocessing: str) -> Engine:
    decode = PREPROCESSINGS[preprocessing]
    if engine == openvino_engine.NAME:
        return openvino_engine.OpenVinoEngine(openvino_graph(saved_model, weights), precision, decode=decode)
    return tensorflow_engine.TensorFlowEngine(frozen_graph(saved_model, weights), precision, decode=decode)
