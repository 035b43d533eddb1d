"""The interface of an engine, and the pipeline that every engine shares: decode in threads, then the neural network."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from c4_assets.models import machine
from c4_assets.models.appearance import appearance_of
from resources.errors import ImageError
from resources.records import Appearance, Probabilities

BATCHES_AHEAD = 2
"""Batches that are decoded ahead while every model computes one."""


@dataclass(frozen=True)
class Classification:
    """The result of an engine for one image. Exactly one of ``probabilities`` and ``error`` is set.

    ``probabilities`` are clear, crystals, other, precipitate, whatever order the model itself has. ``appearance`` is
    taken from the pixels that entered the model.
    """

    probabilities: Probabilities | None
    error: str | None = None
    appearance: Appearance | None = None


class Engine(Protocol):
    """Runs the neural network on image files."""

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """Yields one classification per image, in order, while ``images`` is still being read.

        Args:
            images: the contents of image files. A few batches are held at once, however many there are.
        """
        ...


NeuralNetwork = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (N, height, width, 3) to probabilities, float32 (N, 4) in the order of the categories."""

Decode = Callable[[bytes], NDArray[np.float32]]
"""An image file to a model's input, float32 (height, width, 3). What is wrong with the file is an
:class:`ImageError`."""

Decoded = tuple[NDArray[np.float32], Appearance | None] | ImageError


BYTES_AN_IMAGE = 80 * 1024**2
"""Memory that one image of a batch needs in MARCO in fp32: 75 MB were measured in TensorFlow."""


@dataclass(frozen=True)
class InferenceTimes:
    """Seconds that a model waited for decoded images and that it computed: the mean over parallel models."""

    waited: float = 0.0
    computed: float = 0.0

    def __add__(self, other: "InferenceTimes") -> "InferenceTimes":
        return InferenceTimes(self.waited + other.waited, self.computed + other.computed)

    def __sub__(self, other: "InferenceTimes") -> "InferenceTimes":
        return InferenceTimes(self.waited - other.waited, self.computed - other.computed)


class _Stopwatch:
    """Adds up the times of all pipelines of this process."""

    def __init__(self) -> None:
        self.times = InferenceTimes()
        self._lock = threading.Lock()

    def add(self, times: InferenceTimes) -> None:
        with self._lock:
            self.times += times


_stopwatch = _Stopwatch()


def inference_times() -> InferenceTimes:
    """The times of this process so far. If models wait longer than they compute, decoding is the limit."""
    return _stopwatch.times


def fitting_batch(most: int, models: int) -> int:
    """The batch size with which all models together use half of the free memory at most.

    Args:
        most: the size from which on a larger batch is not faster.
    """
    return max(1, min(most, machine.free_memory() // 2 // (BYTES_AN_IMAGE * models)))


def pipeline(
    images: Iterable[bytes],
    decode: Decode,
    models: Sequence[NeuralNetwork],
    batch_size: int,
) -> Iterator[Classification]:
    """Decodes images in threads while the models compute those before them.

    Args:
        decode: its :class:`ImageError` becomes the image's error.
        models: run in parallel, each on one batch at a time: one per GPU or core, for example.
        batch_size: images that enter a model together.
    """

    def one(data: bytes) -> Decoded:
        try:
            pixels = decode(data)
            return pixels, appearance_of(pixels)
        except ImageError as error:
            return error

    def run(batch: list[Future[Decoded]]) -> list[Classification]:
        began = time.monotonic()
        decoded = [image.result() for image in batch]
        ready = time.monotonic()
        model = idle.get()
        try:
            return _classified(decoded, model)
        finally:
            idle.put(model)
            side_by_side = len(models)
            _stopwatch.add(InferenceTimes((ready - began) / side_by_side, (time.monotonic() - ready) / side_by_side))

    source = iter(images)
    idle: SimpleQueue[NeuralNetwork] = SimpleQueue()
    for model in models:
        idle.put(model)
    under_way: deque[Future[list[Classification]]] = deque()
    decoders = ThreadPoolExecutor(machine.cores(), thread_name_prefix="decode")
    runners = ThreadPoolExecutor(len(models), thread_name_prefix="inference")
    try:
        while True:
            while len(under_way) < len(models) + BATCHES_AHEAD and (batch := list(islice(source, batch_size))):
                under_way.append(runners.submit(run, [decoders.submit(one, data) for data in batch]))
            if not under_way:
                return
            yield from under_way.popleft().result()
    finally:
        # Runners wait for decoders, so they are shut down first.
        runners.shutdown(cancel_futures=True)
        decoders.shutdown(cancel_futures=True)


def _classified(batch: list[Decoded], model: NeuralNetwork) -> list[Classification]:
    inputs = [decoded[0] for decoded in batch if not isinstance(decoded, ImageError)]
    rows = iter(model(np.stack(inputs)) if inputs else ())
    results: list[Classification] = []
    for decoded in batch:
        if isinstance(decoded, ImageError):
            results.append(Classification(None, str(decoded)))
            continue
        clear, crystals, other, precipitate = (float(p) for p in next(rows))
        probabilities = (clear, crystals, other, precipitate)
        if not np.isfinite(probabilities).all():
            reason = "the model gave no number for this image; look at both"
            results.append(Classification(None, reason))
        else:
            results.append(Classification(probabilities, appearance=decoded[1]))
    return results
