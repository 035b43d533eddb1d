"""Write the day's scores and failures back into the imaging database."""

from datetime import date

import dagster as dg

from c4_assets.assets.class_predictions import class_predictions
from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.rows import read_back_tables
from c4_assets.deployment import SCORER
from c4_assets.models.classifier import Classifier
from c4_assets.runs.check_results import evaluate
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events, Result, process_days
from c4_assets.runs.metadata import (
    FACILITY,
    GROUP,
    PARTITION_ROWS_KEY,
    ROWS_WRITTEN_KEY,
    column_lineage,
    column_schema,
    scorer_version_metadata,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import CPU_RETRIES, in_backfill, translate_errors
from c4_assets.scoring.write import WrittenDay, never_tried, write_day
from resources.archive.score_archive import ScoreArchive
from resources.errors import C4Error
from resources.executors.step_resources import StepResources
from resources.imaging_database import ImagingDatabase
from resources.records import PROBABILITY_COLUMNS
from resources.settings import Settings

REPEAT_RUN_TAGS = {"dagster/retry_strategy": "ALL_STEPS", "dagster/max_retries": "100"}
"""Tags of a run that Dagster is to repeat from its first step on. What is done is not done again, and each time there
is room for one inspection at least."""


class StagingFull(C4Error):
    """Images of a day could not be staged for lack of room, and no later run would fetch them."""


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
        left = never_tried(day, imaging_database, score_archive, settings.runs.max_attempts)
        if left and in_backfill(context.run.tags):
            context.instance.add_run_tags(context.run.run_id, REPEAT_RUN_TAGS)
            raise StagingFull(
                f"{left} images of {day} are left, because staging is full (C4_SCRATCH_GIGABYTES): the run is repeated."
            )
        tables = read_back_tables(imaging_database, score_archive.scorer_version, done.predictions)
        checked = evaluate(data_checks, "db_scores", day, tables, thumbnails_in(score_archive, day))
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
