"""Write the day's scores and failures back into the imaging database."""

from datetime import date
from typing import Any

import dagster as dg

from c4_assets.class_predictions import class_predictions
from c4_assets.marco.classifier import Classifier
from c4_assets.marco.scorer_version import ScorerVersion
from c4_assets.operator_errors import told_to_the_operator
from c4_assets.partitions import DAYS, day_of
from c4_assets.shared import CPU_RETRIES, FACILITY, GROUP, SCORER, column_lineage, column_schema, scorer_version
from resources.categories import PROBABILITY_COLUMNS
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from resources.score_archive import ScoreArchive
from resources.step_resources import StepResources


def write_day(
    day: date, database: ImagingDatabase, archive: ScoreArchive, version: ScorerVersion, run_id: str
) -> Written:
    """Writes all of a day's predictions and failures; those that are in the database stay as they are.

    Raises:
        ConfigurationError, Unavailable: see :func:`resources.imaging_database.write_back.write_back`.
    """
    predictions = archive.predictions(day)
    failed = [
        FailedAttempt(outcome.image.image_id, outcome.error, outcome.at)
        for outcome in archive.outcomes(day)
        if outcome.error is not None
    ]
    scores = [
        MachineScore(p.outcome.image.image_id, p.category, p.crystal, p.outcome.probabilities, p.outcome.at)
        for p in predictions
        if p.outcome.probabilities is not None
    ]
    return write_back(database, version.as_row(), scores, failed, run_id)


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
)
def db_scores(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    score_archive: dg.ResourceParam[ScoreArchive],
    classifier: dg.ResourceParam[Classifier],
) -> dg.MaterializeResult[Any]:
    """The day's machine scores in the imaging database: one transaction, one row an image and scorer version."""
    with told_to_the_operator():
        written = write_day(day_of(context), imaging_database, score_archive, classifier.version, context.run.run_id)
    return dg.MaterializeResult(
        metadata={
            "rows written": written.scores,
            "rows there before": written.already_scored,
            "dagster/partition_row_count": written.scores + written.already_scored,
            "images failed": written.failures,
            "images no longer listed": written.withdrawn,
            "scorer version": scorer_version(score_archive.scorer),
            **column_lineage(
                "class_predictions", "image_id", "crystal", *PROBABILITY_COLUMNS, score_class_id=("category",)
            ),
        }
    )
