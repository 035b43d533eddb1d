"""MARCO's graph in TensorFlow: the reference that every other engine is measured against, and the one for GPUs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c4_assets.models.engine import Classification, Decode, NeuralNetwork, fitting_batch, pipeline
from c4_assets.models.marco.network import GRAPH_INPUT, GRAPH_OUTPUT, tensorflow
from c4_assets.models.marco.preprocessing import pixels
from resources.errors import ConfigurationError

MAX_BATCH = {"CPU": 16, "GPU": 64}
"""1.2 GB on a CPU. That of a GPU is a guess until it has been measured on one; what it has no memory for, it gets in
halves."""

NAME, PRECISIONS = "tensorflow", ("fp32", "fp16")


class TensorFlowEngine:
    """See :class:`c4_assets.models.engine.Engine`. Uses every GPU that TensorFlow sees, or the CPU.

    Args:
        frozen: see :func:`c4_assets.models.marco.network.frozen_graph`.
        precision: ``fp32``, or ``fp16`` for TensorFlow's mixed precision on GPUs: float16 where it is safe.
        batch_size: images that enter the model together; ``None`` for what fits the memory.
        decode: the scorer version's preprocessing.

    Raises:
        ConfigurationError: fp16 without a GPU.
    """

    def __init__(self, frozen: bytes, precision: str, batch_size: int | None = None, decode: Decode = pixels) -> None:
        tf = tensorflow()

        gpus: list[Any] = tf.config.list_physical_devices("GPU")
        if precision == "fp16" and not gpus:
            raise ConfigurationError(
                "The precision fp16 needs a GPU, and TensorFlow sees none here: use fp32, or see that the step "
                "runs where a GPU is."
            )
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision": precision == "fp16"})
        graph = tf.compat.v1.GraphDef.FromString(frozen)
        # Two callers a GPU: one batch is copied to it while it computes the other.
        self._models = [_on(graph, f"/GPU:{i}") for i in range(len(gpus)) for _ in range(2)] or [_on(graph, "/CPU:0")]
        most = MAX_BATCH["GPU" if gpus else "CPU"]
        self._decode = decode
        self._batch_size = batch_size or fitting_batch(most, len(self._models))

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """See :meth:`c4_assets.models.engine.Engine.classify`."""
        return pipeline(images, self._decode, self._models, self._batch_size)


def _on(graph: Any, device: str) -> NeuralNetwork:
    tf = tensorflow()

    def load() -> None:
        with tf.device(device):
            tf.import_graph_def(graph, name="")

    model = tf.compat.v1.wrap_function(load, []).prune(f"{GRAPH_INPUT}:0", f"{GRAPH_OUTPUT}:0")

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with tf.device(device):
            return model(tf.constant(batch)).numpy()

    return halving(run)


def halving(model: NeuralNetwork) -> NeuralNetwork:
    """The model, given half a batch after the other where the device has no memory for the whole one."""
    tf = tensorflow()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return model(batch)
        except tf.errors.ResourceExhaustedError:
            if len(batch) == 1:
                raise
            half = len(batch) // 2
            return np.concatenate([run(batch[:half]), run(batch[half:])])

    return run
