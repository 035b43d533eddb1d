"""The interface of an engine, and the pipeline that every engine shares: decode in threads, then the network."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resources.categories import Probabilities
from resources.errors import ImageError


@dataclass(frozen=True)
class Classification:
    """What an engine says of one image. Exactly one of ``probabilities`` and ``error`` is set.

    ``probabilities`` are clear, crystals, other, precipitate, whatever order the model itself has.
    """

    probabilities: Probabilities | None
    error: str | None = None


class Engine(Protocol):
    """Runs MARCO's network on image files."""

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """Yields one classification an image, in order, while ``images`` is still being read.

        Args:
            images: the contents of JPEG or PNG files. At most three batches are held at once.
        """
        ...


Decoded = NDArray[np.float32] | ImageError


def pipeline(
    images: Iterable[bytes],
    decode: Callable[[bytes], NDArray[np.float32]],
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    batch_size: int,
) -> Iterator[Classification]:
    """Decodes images in threads while the network works on those before them.

    Args:
        decode: image file to network input, float32 (height, width, 3); its :class:`ImageError` becomes the
            image's error.
        network: float32 (N, height, width, 3) to probabilities, float32 (N, 4) in the order of the categories.
        batch_size: images that enter the network together.
    """

    def one(data: bytes) -> Decoded:
        try:
            return decode(data)
        except ImageError as error:
            return error

    source = iter(images)
    waiting: deque[Future[Decoded]] = deque()
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as threads:
        try:
            while True:
                # One batch enters the network while the next two are decoded.
                room = 3 * batch_size - len(waiting)
                waiting.extend(threads.submit(one, data) for data in islice(source, room))
                if not waiting:
                    return
                batch = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
                yield from _classified(batch, network)
        finally:
            for future in waiting:
                future.cancel()


def _classified(
    batch: list[Decoded], network: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Iterator[Classification]:
    inputs = [decoded for decoded in batch if not isinstance(decoded, ImageError)]
    rows = iter(network(np.stack(inputs)) if inputs else ())
    for decoded in batch:
        if isinstance(decoded, ImageError):
            yield Classification(None, str(decoded))
            continue
        clear, crystals, other, precipitate = (float(p) for p in next(rows))
        probabilities = (clear, crystals, other, precipitate)
        if not np.isfinite(probabilities).all():
            yield Classification(None, "the network gave no number for this image; look at it, and at the model")
        else:
            yield Classification(probabilities)
