"""Classifies on when an image ends the process that does it: by a fault in a library, or because memory is short."""

import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

from c4_assets.models.engine import Classification, Engine
from c4_assets.models.isolated import IsolatedEngine
from resources.archive.begun import Begun

log = logging.getLogger("c4.classify")

DEATHS_UNTIL_CARE = 2
"""Processes that die at something before it is treated with care: one may have been stopped by anybody."""


@contextmanager
def guarded(
    begun: Begun, inspection_id: int, engine: Callable[[], Engine]
) -> Generator[tuple[Callable[[], Engine], bool]]:
    """Notes that an inspection is about to be classified, and gives the engine to do it with.

    Where processes have died at it before, that is one in a process of its own, which fails the image that ends it.

    Yields:
        What gives the engine, and whether the inspection's images may be decoded in this process.
    """
    inspection = str(inspection_id)
    is_safe = begun.count(inspection) < DEATHS_UNTIL_CARE
    with begun.noted(inspection):
        if is_safe:
            yield engine, True
            deadly = 0
        else:
            log.warning(
                "classifying inspection %d has ended %d processes: its images are classified one at a time",
                inspection_id,
                begun.count(inspection) - 1,
            )
            apart = _Apart(begun, inspection, IsolatedEngine(engine))
            try:
                yield lambda: apart, False
            finally:
                apart.isolated.close()
            deadly = apart.deadly
    if not deadly:  # otherwise the next attempt at the image is made with care as well
        begun.forget(inspection)


class _Apart:
    """An engine that notes every image before it hands it to another process: this one may die with that one."""

    def __init__(self, begun: Begun, inspection: str, isolated: IsolatedEngine) -> None:
        self._begun = begun
        self._inspection = inspection
        self._ended_all = 0
        self.isolated = isolated

    @property
    def deadly(self) -> int:
        """Images that ended a process."""
        return self._ended_all + self.isolated.deadly

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        for data in images:
            yield self._one(data)

    def _one(self, data: bytes) -> Classification:
        image = f"{self._inspection}-{hashlib.sha256(data).hexdigest()[:16]}"
        if self._begun.count(image) >= DEATHS_UNTIL_CARE:
            self._begun.forget(image)
            self._ended_all += 1
            return Classification(
                None, "classifying this image ended the whole step, perhaps because memory is short; look at the file"
            )
        with self._begun.noted(image):
            (answer,) = self.isolated.classify([data])
        return answer
