"""Classify the staged images of a day with MARCO, an inspection at a time, into the score archive."""

from datetime import date
from functools import cache

import dagster as dg

from c4_assets.assets.raw_inspection_images import raw_inspection_images
from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.probabilities import probability_tables, weights_table
from c4_assets.deployment import SCORER
from c4_assets.models.classifier import Classifier
from c4_assets.runs.check_results import evaluate, trends
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events, Result, process_days
from c4_assets.runs.metadata import (
    FACILITY,
    GROUP,
    IMAGES_PER_SECOND_KEY,
    IMAGES_SCORED_KEY,
    MODEL_COMPUTED_KEY,
    MODEL_WAITED_KEY,
    OUTCOME_COLUMNS,
    PARTITION_ROWS_KEY,
    SCORER_VERSION_KEY,
    column_schema,
    peak_memory,
    scorer_version_metadata,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import GPU_RETRIES, translate_errors
from c4_assets.scoring.classify import ClassifiedDay, classify_day
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import Staging
from resources.errors import ConfigurationError
from resources.executors.step_resources import StepResources
from resources.records import crystal_probability


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
        checked = evaluate(data_checks, "marco_probabilities", day, tables, thumbnails_in(score_archive, day))
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
