"""A stand-in for the model, for tests of everything around it: fast, and each image has its own probabilities."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from c4_assets.models.classifier import Classifier
from c4_assets.models.engine import Classification, Engine, pipeline
from c4_assets.models.scorer_version import ScorerVersion


class StandIn:
    """An engine for tests of everything around the model: probabilities that follow from the image's bytes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        return pipeline(images, self._decode, [self._model], batch_size=4)

    def _decode(self, data: bytes) -> Any:
        from c4_assets.models.marco.preprocessing import checked_header

        checked_header(data)
        self.seen.append(hashlib.sha256(data).hexdigest())
        return small_picture(data)

    def _model(self, batch: Any) -> Any:
        digests = [hashlib.sha256(picture.tobytes()).digest()[:4] for picture in batch]
        numbers = np.array([list(digest) for digest in digests], np.float32) + 1
        return numbers / numbers.sum(axis=1, keepdims=True)


def small_picture(data: bytes) -> Any:
    """What the stand-in sees of an image: float32 (64, 64, 3) in [-1, 1]; noise of one that is cut off."""
    try:
        with Picture.open(io.BytesIO(data)) as opened:
            levels = np.asarray(opened.convert("RGB").resize((64, 64)), np.float32)
    except OSError:
        levels = np.random.default_rng(len(data)).uniform(0, 255, (64, 64, 3)).astype(np.float32)
    return levels / np.float32(127.5) - np.float32(1)


class StandInClassifier(Classifier):
    """A classifier whose engine is a stand-in."""

    def __init__(self, name: str, source: str, version: ScorerVersion, engine_of: Callable[[], Engine]) -> None:
        super().__init__(name, source, version, Path("nowhere"))
        self._engine_of = engine_of

    def weights_on_disk(self) -> str:
        return self.version.weights_sha256

    @property
    def engine(self) -> Engine:
        return self._engine_of()
