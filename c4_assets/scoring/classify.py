"""Classify the staged images of a day, an inspection at a time, into the score archive."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from heapq import heappop, heappush
from itertools import chain
from typing import Any

from c4_assets.models.engine import Classification, Engine, InferenceTimes, inference_times
from c4_assets.models.marco.preprocessing import thumbnail
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedImage, Staging
from resources.errors import ImageError
from resources.records import ImageOutcome, crystal_probability

log = logging.getLogger("c4.classify")


ARCHIVED_THUMBNAIL_SIDE = 224
"""Longest side of a thumbnail, in pixels: a crystal of a tenth of the drop is still seen, and 100 of them fit 1 MB."""


THUMBNAILS_AN_INSPECTION = 12


@dataclass
class ClassifiedDay:
    """What :func:`classify_day` did: images and inspections of this call, and the whole day's outcomes."""

    inspections: int = 0
    scored: int = 0
    failed: int = 0
    seconds: float = 0.0
    inference: InferenceTimes = field(default_factory=InferenceTimes)
    outcomes: tuple[ImageOutcome, ...] = ()


def classify_day(day: date, staging: Staging, archive: ScoreArchive, engine: Callable[[], Engine]) -> ClassifiedDay:
    """Classifies what is staged of a day and leaves nothing staged.

    Every inspection is a checkpoint: its staged file is removed when its outcomes are on disk, so a run that died
    loses at most the inspection that it was at. An image that has a score is not classified again.

    Args:
        engine: gives the engine; not called where there is nothing to classify, because loading takes seconds.
    """
    started, inference = time.monotonic(), inference_times()
    result = ClassifiedDay()
    scored = {outcome.image.image_id for outcome in archive.outcomes(day) if outcome.error is None}
    waiting = staging.inspections(day)
    for inspection_id in waiting:
        staged = (row for row in staging.read(day, inspection_id) if row.image.image_id not in scored)
        outcomes = _classify(staged, engine)
        if outcomes:
            archive.checkpoint(day, inspection_id, outcomes)
        staging.remove(day, inspection_id)
        result.inspections += 1
        result.failed += sum(outcome.error is not None for outcome in outcomes)
        result.scored += sum(outcome.error is None for outcome in outcomes)
        log.info(
            "classified %d of %d inspections, %d images, %.1f a second",
            result.inspections,
            len(waiting),
            result.scored,
            result.scored / (time.monotonic() - started),
        )
    result.outcomes = tuple(archive.merge(day))
    result.seconds = time.monotonic() - started
    result.inference = inference_times() - inference
    return result


def _classify(staged: Iterable[StagedImage], engine: Callable[[], Engine]) -> list[ImageOutcome]:
    outcomes: list[ImageOutcome] = []
    in_the_engine: deque[StagedImage] = deque()

    def fetched() -> Iterator[bytes]:
        for row in staged:
            if row.data is None:
                outcomes.append(ImageOutcome(row.image, row.fetched_at, error=row.error))
            else:
                in_the_engine.append(row)
                yield row.data

    likeliest: list[tuple[float, int, bytes]] = []  # a heap: memory holds the bytes of a dozen images, not of all
    for classification in _lazily(engine, fetched()):
        row = in_the_engine.popleft()
        if classification.probabilities is None:
            outcomes.append(
                ImageOutcome(row.image, row.fetched_at, row.sha256, error=classification.error, **_known(row))
            )
            continue
        outcome = ImageOutcome(
            row.image,
            datetime.now(UTC),
            row.sha256,
            classification.probabilities,
            appearance=classification.appearance,
            **_known(row),
        )
        outcomes.append(outcome)
        heappush(likeliest, (crystal_probability(outcome), row.image.image_id, row.data or b""))
        if len(likeliest) > THUMBNAILS_AN_INSPECTION:
            heappop(likeliest)
    thumbnails = {image_id: _thumbnail(data) for _, image_id, data in likeliest}
    for outcome in outcomes:
        if outcome.error:
            log.warning("image %d (%s): %s", outcome.image.image_id, outcome.image.path, outcome.error)
    return [replace(outcome, thumbnail=thumbnails.get(outcome.image.image_id)) for outcome in outcomes]


def _known(row: StagedImage) -> dict[str, Any]:
    return {"size": len(row.data or b""), "taken_at": row.taken_at}


def _thumbnail(data: bytes) -> bytes | None:
    try:
        return thumbnail(data, ARCHIVED_THUMBNAIL_SIDE)
    except ImageError:
        return None  # the score is what counts


def _lazily(engine: Callable[[], Engine], images: Iterator[bytes]) -> Iterator[Classification]:
    for first in images:
        return engine().classify(chain([first], images))
    return iter(())
