"""Classify the staged images of a day with MARCO, an inspection at a time, into the score archive."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from heapq import heappop, heappush
from itertools import chain
from typing import Any

import dagster as dg

from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.probabilities import probability_tables, weights_table
from c4_assets.checks.results import DataChecks, trends
from c4_assets.checks.specs import specs_of
from c4_assets.days import Events, Result, process_days
from c4_assets.marco.classifier import Classifier
from c4_assets.marco.engine import Classification, Engine, InferenceTimes, inference_times
from c4_assets.marco.preprocessing import thumbnail
from c4_assets.operator_errors import translate_errors
from c4_assets.partitions import DAYS, SEVERAL_DAYS
from c4_assets.raw_inspection_images import raw_inspection_images
from c4_assets.shared import (
    FACILITY,
    GPU_RETRIES,
    GROUP,
    IMAGES_PER_SECOND_KEY,
    IMAGES_SCORED_KEY,
    MODEL_COMPUTED_KEY,
    MODEL_WAITED_KEY,
    OUTCOME_COLUMNS,
    PARTITION_ROWS_KEY,
    SCORER,
    SCORER_VERSION_KEY,
    column_schema,
    peak_memory,
    scorer_version_metadata,
)
from resources.errors import ConfigurationError, ImageError
from resources.score_archive import ImageOutcome, ScoreArchive, crystal_probability
from resources.staging import StagedImage, Staging
from resources.step_resources import StepResources

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


def _same_scorer_as_staged(context: dg.AssetExecutionContext, scorer_version: str) -> None:
    """Machines of one deployment that choose different engines would look for staged images in different places.

    Raises:
        ConfigurationError: this run's images were staged for another scorer version.
    """
    wanted = dg.AssetRecordsFilter(asset_key=raw_inspection_images.key, asset_partitions=context.partition_keys)
    for record in context.instance.fetch_materializations(wanted, limit=1).records:
        materialization = record.asset_materialization
        staged_for = materialization.metadata[SCORER_VERSION_KEY].value if materialization else scorer_version
        if record.run_id == context.run.run_id and staged_for != scorer_version:
            raise ConfigurationError(
                f"The images of this run were staged for {staged_for}, and here the settings make it {scorer_version}: "
                "set the C4_ variables alike on every machine that runs steps, C4_ENGINE first of all."
            )


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=SEVERAL_DAYS,
    deps=[raw_inspection_images],
    group_name=GROUP,
    kinds={"tensorflow", "parquet"},
    owners=[FACILITY],
    op_tags=StepResources(gpus=1, cpus=8, memory_gb=16, minutes=240).as_tag(),
    code_version=SCORER.name,
    retry_policy=GPU_RETRIES,
    metadata=column_schema(**OUTCOME_COLUMNS),
    check_specs=specs_of("marco_probabilities", DAYS),
)
def marco_probabilities(
    context: dg.AssetExecutionContext,
    staging: dg.ResourceParam[Staging],
    score_archive: dg.ResourceParam[ScoreArchive],
    classifier: dg.ResourceParam[Classifier],
    data_checks: dg.ResourceParam[DataChecks],
) -> Events:
    """The four probabilities that MARCO gives every image of the day: one Parquet file a day, kept for ever.

    The step resumes after the last finished inspection. Images that cannot be decoded stand in the file with the
    reason in place of probabilities.
    """
    weights = cache(classifier.weights_on_disk)

    def process_day(day: date) -> Result:
        loaded = weights() if staging.inspections(day) else None
        if loaded in (None, classifier.version.weights_sha256):
            classified = classify_day(day, staging, score_archive, lambda: classifier.engine)
        else:  # scores of other weights would stand in the archive under this version's name for ever
            classified = ClassifiedDay(outcomes=tuple(score_archive.outcomes(day)))
        tables = {
            **weights_table(classifier.version, loaded),
            **probability_tables(score_archive.rows(day), data_checks.thresholds),
        }
        checked = data_checks.evaluate("marco_probabilities", day, tables, thumbnails_in(score_archive, day))
        return dg.MaterializeResult(
            metadata={
                **_classification_metadata(classified),
                "computed by": str(classifier.arithmetic),
                **scorer_version_metadata(score_archive.scorer_version),
                **trends(tables["images"], "brightness", "sharpness", "black", "saturated"),
                **checked.metadata,
            },
            check_results=checked.check_results,
        )

    with translate_errors(context):
        _same_scorer_as_staged(context, score_archive.scorer_version)
        yield from process_days(context, process_day)


def _classification_metadata(day: ClassifiedDay) -> dict[str, float]:
    images = [outcome for outcome in day.outcomes if outcome.error is None]
    return {
        PARTITION_ROWS_KEY: len(day.outcomes),
        IMAGES_SCORED_KEY: day.scored,
        "images failed": day.failed,
        "inspections": day.inspections,
        IMAGES_PER_SECOND_KEY: round(day.scored / day.seconds, 1) if day.seconds else 0.0,
        "seconds": round(day.seconds, 1),
        MODEL_WAITED_KEY: round(day.inference.waited, 3),
        MODEL_COMPUTED_KEY: round(day.inference.computed, 3),
        "images of the day with a score": len(images),
        "highest crystal probability": max((crystal_probability(image) for image in images), default=0.0),
        "peak memory (MB)": peak_memory(),
    }
