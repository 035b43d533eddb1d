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
from c4_assets.marco.classifier import Classifier
from c4_assets.marco.scorer_version import ScorerVersion
from c4_assets.operator_errors import told_to_the_operator
from c4_assets.partitions import DAYS, day_of
from c4_assets.shared import CPU_RETRIES, FACILITY, GROUP, SCORER, column_lineage, column_schema, scorer_version
from resources.categories import PROBABILITY_COLUMNS
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from resources.score_archive import Prediction, ScoreArchive
from resources.step_resources import StepResources


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


@dg.asset(
    partitions_def=DAYS,
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
) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument] - Dagster knows it bare alone
    """The day's machine scores in the imaging database: one transaction, one row an image and scorer version."""
    with told_to_the_operator():
        day = write_day(
            day_of(context),
            imaging_database,
            score_archive,
            classifier.version,
            context.run.run_id,
            data_checks.thresholds,
        )
        tables = read_back_tables(imaging_database, score_archive.scorer, day.predictions)
        pictures = thumbnails_in(score_archive, day_of(context))
        checked = data_checks.evaluate("db_scores", context.partition_key, tables, pictures)
    written = day.written
    return dg.MaterializeResult(
        metadata={
            "rows written": written.scores,
            "rows there before": written.already_scored,
            "dagster/partition_row_count": written.scores + written.already_scored,
            "images failed": written.failures,
            "images no longer listed": written.withdrawn,
            "inspections withheld": len(day.withheld),
            "scorer version": scorer_version(score_archive.scorer),
            **column_lineage(
                "class_predictions", "image_id", "crystal", *PROBABILITY_COLUMNS, score_class_id=("category",)
            ),
            **checked.metadata,
        },
        check_results=checked.check_results,
    )
