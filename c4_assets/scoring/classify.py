"""Classify the staged images of a day, an inspection at a time, into the score archive."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush
from itertools import chain
from typing import Any

from c4_assets.models.engine import Classification, Engine, InferenceTimes, inference_times
from c4_assets.models.marco.preprocessing import thumbnail
from c4_assets.scoring.guarding import guarded
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedImage, Staging
from resources.archive.unreadable import UnreadableFile
from resources.errors import ImageError
from resources.log_context import working_on
from resources.records import ImageOutcome, crystal_probability
from resources.redaction import redacted
from resources.tracing import inspection_span

log = logging.getLogger("c4.classify")


ARCHIVED_THUMBNAIL_SIDE = 224
"""Longest side of a thumbnail, in pixels: a crystal of a tenth of the drop is still seen, and 100 of them fit 1 MB."""


THUMBNAILS_AN_INSPECTION = 12

CLOCK_STEP = timedelta(microseconds=1)
"""By so much an attempt is newer than one whose clock was ahead."""


@dataclass
class ClassifiedDay:
    """What :func:`classify_day` did: images and inspections of this call, and the whole day's outcomes."""

    inspections: int = 0
    discarded: int = 0
    """Inspections whose staged file could not be read."""
    scored: int = 0
    failed: int = 0
    seconds: float = 0.0
    replaced: int = 0
    """Images whose file is another one than the one that was scored before."""
    inference: InferenceTimes = field(default_factory=InferenceTimes)
    outcomes: tuple[ImageOutcome, ...] = ()


def classify_day(
    day: date, staging: Staging, archive: ScoreArchive, engine: Callable[[], Engine], keep_staged: bool = False
) -> ClassifiedDay:
    """Classifies what is staged of a day.

    Every inspection is a checkpoint: its staged file is removed when its outcomes are on disk, so a run that died
    loses at most the inspection that it was at. A file that has a score is not classified again. An inspection at which
    processes have died is classified with care, after the others (:func:`c4_assets.scoring.guarding.guarded`). A staged
    file that cannot be read is discarded: its images stay pending, and are fetched again by the next run.

    Args:
        engine: gives the engine, also in another process; not called where there is nothing to classify, because
            loading takes seconds.
        keep_staged: another model is still to see what is staged.
    """
    started, inference = time.monotonic(), inference_times()
    result = ClassifiedDay()
    scored = {outcome.image.image_id: outcome for outcome in archive.outcomes(day) if outcome.error is None}
    begun = archive.begun(day)
    waiting = sorted(staging.inspections(day), key=lambda each: (begun.count(str(each)), each))
    for inspection_id in waiting:
        known = _Known(scored)
        try:
            staged = known.without_score(staging.read(day, inspection_id))
            with (
                working_on(inspection_id=inspection_id),
                inspection_span("classify", inspection_id) as span,
                guarded(begun, inspection_id, engine) as (its_engine, is_safe),
            ):
                outcomes = [*_classify(staged, its_engine, with_thumbnails=is_safe), *known.listed_anew]
                if outcomes:
                    archive.checkpoint(day, inspection_id, outcomes)
                if span and outcomes:
                    span.attributes |= {"c4.plate": outcomes[0].image.plate, "c4.images": len(outcomes)}
        except UnreadableFile as error:
            staging.discard(day, inspection_id, error)
            result.discarded += 1
            continue
        if not keep_staged:
            staging.remove(day, inspection_id)
        result.inspections += 1
        result.replaced += known.replaced
        result.failed += sum(outcome.error is not None for outcome in outcomes)
        result.scored += sum(outcome.error is None for outcome in outcomes)
        log.info(
            "classified %d of %d inspections, %d images, %.1f a second",
            result.inspections,
            len(waiting),
            result.scored,
            result.scored / (time.monotonic() - started),
            extra={"inspection_id": inspection_id},
        )
    result.outcomes = tuple(archive.merge(day))
    result.seconds = time.monotonic() - started
    result.inference = inference_times() - inference
    return result


@dataclass
class _Known:
    """Tells the staged files that have a score from the others, whatever number or place they have by now."""

    scored: Mapping[int, ImageOutcome]
    replaced: int = 0
    listed_anew: list[ImageOutcome] = field(default_factory=list[ImageOutcome])
    """Scores of files that are listed otherwise than when they were scored: as another drop, say."""

    def without_score(self, staged: Iterable[StagedImage]) -> Iterator[StagedImage]:
        for row in staged:
            known = self.scored.get(row.image.image_id)
            if known is None:
                yield row
            elif row.sha256 is not None and row.sha256 == known.sha256:
                if row.image != known.image:
                    self.listed_anew.append(
                        replace(known, image=row.image, at=max(row.fetched_at, known.at + CLOCK_STEP))
                    )
            elif row.data is not None or row.image != known.image:
                self._warn(row, known)
                yield row

    def _warn(self, row: StagedImage, known: ImageOutcome) -> None:
        self.replaced += 1
        was = "its file was replaced" if row.image == known.image else f"its number was that of {known.image.path}"
        log.warning(
            "image %d (%s): %s since %s; it is scored anew", row.image.image_id, row.image.path, was, known.at.date()
        )


def _classify(staged: Iterable[StagedImage], engine: Callable[[], Engine], with_thumbnails: bool) -> list[ImageOutcome]:
    outcomes: list[ImageOutcome] = []
    in_the_engine: deque[StagedImage] = deque()

    def fetched() -> Iterator[bytes]:
        for row in staged:
            if row.data is None:
                outcomes.append(ImageOutcome(row.image, row.fetched_at, error=row.error, problem=row.problem))
            else:
                in_the_engine.append(row)
                yield row.data

    likeliest: list[tuple[float, int, bytes]] = []  # a heap: memory holds the bytes of a dozen images, not of all
    for classification in _lazily(engine, fetched()):
        row = in_the_engine.popleft()
        if classification.probabilities is None:
            error = classification.error and redacted(classification.error)
            outcomes.append(ImageOutcome(row.image, row.fetched_at, row.sha256, error=error, **_known(row)))
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
        if with_thumbnails:
            heappush(likeliest, (crystal_probability(outcome), row.image.image_id, row.data or b""))
        if len(likeliest) > THUMBNAILS_AN_INSPECTION:
            heappop(likeliest)
    thumbnails = {image_id: _thumbnail(data) for _, image_id, data in likeliest}
    for outcome in outcomes:
        if outcome.error:
            of = outcome.image
            log.warning("image %d (%s): %s", of.image_id, of.path, outcome.error, extra={"image_id": of.image_id})
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
