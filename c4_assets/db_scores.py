"""Write the day's scores and failures back into the imaging database."""

from dataclasses import dataclass
from datetime import date

import dagster as dg

from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.results import DataChecks
from c4_assets.checks.rows import read_back_tables
from c4_assets.checks.specs import specs_of
from c4_assets.checks.thresholds import Thresholds
from c4_assets.checks.withholding import withhold_day
from c4_assets.class_predictions import class_predictions
from c4_assets.days import Events, Result, process_days
from c4_assets.marco.classifier import Classifier
from c4_assets.marco.scorer_version import ScorerVersion
from c4_assets.operator_errors import in_backfill, translate_errors
from c4_assets.partitions import DAYS, SEVERAL_DAYS
from c4_assets.shared import (
    CPU_RETRIES,
    FACILITY,
    GROUP,
    PARTITION_ROWS_KEY,
    ROWS_WRITTEN_KEY,
    SCORER,
    column_lineage,
    column_schema,
    scorer_version_metadata,
)
from resources.categories import PROBABILITY_COLUMNS
from resources.errors import C4Error
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import pending_images
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from resources.score_archive import Prediction, ScoreArchive
from resources.settings import Settings
from resources.step_resources import StepResources

REPEAT_RUN_TAGS = {"dagster/retry_strategy": "ALL_STEPS", "dagster/max_retries": "100"}
"""Tags of a run that Dagster is to repeat from its first step on. What is done is not done again, and each time there
is room for one inspection at least."""


class StagingFull(C4Error):
    """Images of a day could not be staged for lack of room, and no later run would fetch them."""


@dataclass(frozen=True)
class WrittenDay:
    """What :func:`write_day` did: the predictions that were to be written, and the inspections that were not."""

    written: Written
    predictions: tuple[Prediction, ...]
    withheld: frozenset[int]


def write_day(
    day: date,
    database: ImagingDatabase,
    archive: ScoreArchive,
    version: ScorerVersion,
    run_id: str,
    thresholds: Thresholds,
) -> WrittenDay:
    """Writes a day's predictions and failures; those that are in the database stay as they are.

    The scores of an inspection that fails a blocking check are withheld, and that is recorded before the others are
    written. What is judged is what is written: the predictions are read once.

    Raises:
        ConfigurationError, Unavailable: see :func:`resources.imaging_database.write_back.write_back`.
    """
    predicted = archive.predictions(day)
    without_score = [outcome for outcome in archive.outcomes(day) if outcome.error is not None]
    withheld = withhold_day(day, database, archive, version, predicted, without_score, thresholds)
    predictions = [p for p in predicted if p.outcome.image.inspection_id not in withheld]
    failed = [
        FailedAttempt(outcome.image.image_id, outcome.error, outcome.at)
        for outcome in without_score
        if outcome.error is not None
    ]
    scores = [
        MachineScore(p.outcome.image.image_id, p.category, p.crystal, p.outcome.probabilities, p.outcome.at)
        for p in predictions
        if p.outcome.probabilities is not None
    ]
    written = write_back(database, version.as_row(), scores, failed, run_id)
    return WrittenDay(written, tuple(predictions), frozenset(withheld))


def never_tried(day: date, database: ImagingDatabase, archive: ScoreArchive, max_attempts: int) -> int:
    """Counts the pending images of a day that this scorer version has never been given."""
    known = {outcome.image.image_id for outcome in archive.outcomes(day)}
    return sum(
        image.image_id not in known for image in pending_images(database, archive.scorer_version, max_attempts, day)
    )


LINEAGE = column_lineage("class_predictions", "image_id", "crystal", *PROBABILITY_COLUMNS, score_class_id=("category",))


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=SEVERAL_DAYS,
    deps=[class_predictions],
    pool="imaging_database",
    group_name=GROUP,
    kinds={"sql"},
    owners=[FACILITY],
    op_tags=StepResources(where="here").as_tag(),
    code_version=SCORER.name,
    retry_policy=CPU_RETRIES,
    metadata={
        **column_schema(
            image_id="bigint",
            score_class_id="bigint",
            scorer="varchar",
            scored_at="timestamp, UTC",
            scorer_version="varchar",
            crystal="boolean",
            **dict.fromkeys(PROBABILITY_COLUMNS, "float"),
            run_id="varchar",
        ),
        "dagster/table_name": "scores",
    },
    check_specs=specs_of("db_scores", DAYS),
)
def db_scores(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    score_archive: dg.ResourceParam[ScoreArchive],
    classifier: dg.ResourceParam[Classifier],
    data_checks: dg.ResourceParam[DataChecks],
    settings: dg.ResourceParam[Settings],
) -> Events:
    """The day's machine scores in the imaging database: one transaction a day, one row an image and scorer version."""

    def process_day(day: date) -> Result:
        done = write_day(
            day, imaging_database, score_archive, classifier.version, context.run.run_id, data_checks.thresholds
        )
        left = never_tried(day, imaging_database, score_archive, settings.max_attempts)
        if left and in_backfill(context.run.tags):
            context.instance.add_run_tags(context.run.run_id, REPEAT_RUN_TAGS)
            raise StagingFull(
                f"{left} images of {day} are left, because staging is full (C4_STAGING_GIGABYTES): the run is repeated."
            )
        tables = read_back_tables(imaging_database, score_archive.scorer_version, done.predictions)
        checked = data_checks.evaluate("db_scores", day, tables, thumbnails_in(score_archive, day))
        return dg.MaterializeResult(
            metadata={
                **_write_metadata(done),
                **scorer_version_metadata(score_archive.scorer_version),
                **LINEAGE,
                **checked.metadata,
            },
            check_results=checked.check_results,
        )

    with translate_errors(context):
        yield from process_days(context, process_day)


def _write_metadata(day: WrittenDay) -> dict[str, int]:
    return {
        ROWS_WRITTEN_KEY: day.written.scores,
        "rows there before": day.written.already_scored,
        PARTITION_ROWS_KEY: day.written.scores + day.written.already_scored,
        "images failed": day.written.failures,
        "images no longer listed": day.written.no_longer_listed,
        "inspections withheld": len(day.withheld),
    }
