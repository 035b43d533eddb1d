"""Classify the staged images of a day with every active model, an inspection at a time, into the score archive."""

from datetime import date
from functools import cache, partial

import dagster as dg

from c4_assets.assets.raw_inspection_images import raw_inspection_images
from c4_assets.checks.archive import archive_table
from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.probabilities import ASSET, probability_tables, weights_table
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier, engine_of
from c4_assets.runs.by_model import ModelDay, by_model
from c4_assets.runs.check_results import trends
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events, Result, process_days
from c4_assets.runs.metadata import (
    COMPUTED_BY_KEY,
    FACILITY,
    GROUP,
    IMAGES_FAILED_KEY,
    IMAGES_PER_SECOND_KEY,
    IMAGES_SCORED_KEY,
    MODEL_COMPUTED_KEY,
    MODEL_WAITED_KEY,
    PARTITION_ROWS_KEY,
    column_schema,
    peak_memory,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import GPU_RETRIES, in_backfill, run_repeated, translate_errors
from c4_assets.scoring.classify import ClassifiedDay, classify_day
from resources.archive.outcomes import OUTCOME_COLUMNS
from resources.archive.staging import Staging
from resources.executors.step_resources import StepResources
from resources.records import crystal_probability


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=SEVERAL_DAYS,
    deps=[raw_inspection_images],
    group_name=GROUP,
    kinds={"tensorflow", "parquet"},
    owners=[FACILITY],
    op_tags=StepResources(gpus=1, cpus=8, memory_gb=16, minutes=240).as_tag(),
    retry_policy=GPU_RETRIES,
    metadata=column_schema(**OUTCOME_COLUMNS),
    check_specs=specs_of(ASSET, DAYS),
)
def marco_probabilities(
    context: dg.AssetExecutionContext,
    staging: dg.ResourceParam[Staging],
    models: dg.ResourceParam[ActiveModels],
    data_checks: dg.ResourceParam[DataChecks],
) -> Events:
    """The four probabilities that every active model gives every image of the day: one Parquet file a model and day.

    They are kept for ever. The step resumes after the last finished inspection. Images that cannot be decoded stand in
    the file with the reason in place of probabilities.
    """

    @cache
    def weights(model: Classifier) -> str:
        return model.weights_on_disk()

    def classify(day: date, model: Classifier, loaded: str | None, keep_staged: bool) -> ModelDay:
        archive = models.archive(model)
        if loaded in (None, model.version.weights_sha256):
            classified = classify_day(day, staging, archive, partial(engine_of, model), keep_staged)
        else:  # scores of other weights would stand in the archive under this version's name for ever
            classified = ClassifiedDay(outcomes=tuple(archive.outcomes(day)))
        if classified.discarded and in_backfill(context.run.tags):
            why = f"{classified.discarded} staged inspections of {day} could not be read and are to be fetched again"
            raise run_repeated(context, why)
        tables = {
            **weights_table(model.version, loaded),
            **probability_tables(archive.rows(day), data_checks.thresholds, archive.replaced(day)),
            **archive_table(archive.set_aside(day)),
        }
        metadata = {
            **_classification_metadata(classified),
            COMPUTED_BY_KEY: model.arithmetic,
            **trends(tables["images"], "brightness", "sharpness", "black", "saturated"),
        }
        return ModelDay(model, metadata, data_checks.judge(ASSET, day, tables, model.name), thumbnails_in(archive, day))

    def process_day(day: date) -> Result:
        staged = bool(staging.inspections(day))
        loaded = {model: weights(model) if staged else None for model in active}
        usable = [model for model in active if loaded[model] in (None, model.version.weights_sha256)]
        # What is staged goes when the last model that can has seen it, and stays only while the current one cannot.
        last = usable[-1] if active[0] in usable else None
        return by_model([classify(day, model, loaded[model], model is not last) for model in active])

    with translate_errors(context):
        active = models.published()
        yield from process_days(context, process_day)


def _classification_metadata(day: ClassifiedDay) -> dict[str, float]:
    images = [outcome for outcome in day.outcomes if outcome.error is None]
    return {
        PARTITION_ROWS_KEY: len(day.outcomes),
        IMAGES_SCORED_KEY: day.scored,
        IMAGES_FAILED_KEY: day.failed,
        "images whose file was replaced": day.replaced,
        "inspections": day.inspections,
        "inspections to be fetched again": day.discarded,
        IMAGES_PER_SECOND_KEY: round(day.scored / day.seconds, 1) if day.seconds else 0.0,
        "seconds": round(day.seconds, 1),
        MODEL_WAITED_KEY: round(day.inference.waited, 3),
        MODEL_COMPUTED_KEY: round(day.inference.computed, 3),
        "images of the day with a score": len(images),
        "highest crystal probability": max((crystal_probability(image) for image in images), default=0.0),
        "peak memory (MB)": peak_memory(),
    }
