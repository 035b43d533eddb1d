"""A stand-in for MARCO, for trials of orchestration.

It decodes every image, and its four probabilities follow from the file's bytes: fast, the same every time, and nothing
that anybody should believe. So its scorer version has a name of its own, ``stand-in-…``: ``C4_MODEL`` names a folder
that :func:`make_model` has filled, and everything but the model is the deployment's own.
"""

import hashlib
import io
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c4_assets.models.classifier import Classifier
from c4_assets.models.engine import Classification, Engine, pipeline
from c4_assets.models.weights import SAVED_MODEL_FILES
from resources.errors import ImageError

RATE = "STAND_IN_IMAGES_A_SECOND"
RETRY_DELAY = "STAND_IN_RETRY_DELAY_SECONDS"
"""Environment variable: how fast the device is that is stood in for; as fast as it goes where it is not set."""

SIDE = 64
BATCH = 32


class StandIn:
    """An engine whose model hashes what it sees, after waiting as long as a device of the given rate takes.

    Args:
        rate: images a second of the device, which works on one batch at a time.
    """

    def __init__(self, rate: float | None = None) -> None:
        self._rate, self._device = rate, threading.Lock()

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """See :meth:`c4_assets.models.engine.Engine.classify`."""
        return pipeline(images, decoded, [self._model], BATCH)

    def _model(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._device:
            if self._rate:
                time.sleep(len(batch) / self._rate)
        return np.stack([probabilities(picture.tobytes()) for picture in batch])


def decoded(data: bytes) -> NDArray[np.float32]:
    """An image file as the stand-in sees it: float32 (64, 64, 3) in [-1, 1].

    Raises:
        ImageError: it is no image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            levels = np.asarray(opened.convert("RGB").resize((SIDE, SIDE)), np.float32)
    except OSError as error:
        raise ImageError(f"it is no image: {error}") from error
    return levels / np.float32(127.5) - np.float32(1)


def probabilities(seen: bytes) -> NDArray[np.float32]:
    """Four numbers that sum to 1 and follow from bytes; mostly clear, as on most plates."""
    digest = hashlib.sha256(seen).digest()
    weights = np.frombuffer(digest[:4], np.uint8).astype(np.float32) + np.array([300, 1, 1, 1], np.float32)
    return weights / weights.sum()


class StandInClassifier(Classifier):
    """The classifier of the settings with the stand-in as its engine."""

    @property
    def engine(self) -> Engine:
        """The stand-in."""
        rate = os.environ.get(RATE)
        return StandIn(float(rate) if rate else None)


def make_model(folder: Path) -> Path:
    """Fills ``folder/stand-in`` with files that say what they are, for ``C4_MODEL`` to name."""
    model = folder / "stand-in"
    (model / "variables").mkdir(parents=True, exist_ok=True)
    for file in SAVED_MODEL_FILES:
        (model / file).write_text("No model: a stand-in for trials of orchestration.\n")
    return model
