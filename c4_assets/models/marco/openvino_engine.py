"""MARCO's graph in OpenVINO: the engine for CPUs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c4_assets.models import machine
from c4_assets.models.engine import Classification, Decode, NeuralNetwork, fitting_batch, pipeline
from c4_assets.models.marco.preprocessing import pixels
from resources.errors import ConfigurationError

MAX_BATCH = 4
"""Twice as many were not faster on two cores, in either precision."""

NAME, PRECISIONS = "openvino", ("fp32", "bf16")

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """See :class:`c4_assets.models.engine.Engine`. A stream a core, each with its own batch: no core waits for another.

    Args:
        graph: see :func:`c4_assets.models.marco.openvino_graph.openvino_graph`.
        precision: ``fp32`` or ``bf16``.
        batch_size: images that enter a stream together; ``None`` for what fits the memory.
        decode: the scorer version's preprocessing.

    Raises:
        ConfigurationError: bf16 on a CPU that has no such arithmetic.
    """

    def __init__(self, graph: Any, precision: str, batch_size: int | None = None, decode: Decode = pixels) -> None:
        import openvino as ov

        if precision == "bf16" and not machine.has_bf16():
            raise ConfigurationError(
                "The precision bf16 needs a CPU with AVX-512 BF16 or AMX, and this one has neither: use fp32."
            )
        streams = machine.cores()
        compiled = ov.Core().compile_model(
            graph,
            "CPU",
            {
                # OpenVINO picks bf16 by itself where the CPU has it. What a score says of itself must be so.
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams,
                # The decoder's threads need the same cores.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._models = [_stream(compiled.create_infer_request()) for _ in range(streams)]
        self._decode = decode
        self._batch_size = batch_size or fitting_batch(MAX_BATCH, streams)

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """See :meth:`c4_assets.models.engine.Engine.classify`."""
        return pipeline(images, self._decode, self._models, self._batch_size)


def _stream(request: Any) -> NeuralNetwork:
    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return request.infer([batch], share_inputs=True)[0]

    return run
