"""Write the day's scores and failures back into the imaging database."""

from datetime import date

import dagster as dg

from c4_assets.assets.class_predictions import class_predictions
from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.rows import ASSET, read_back_tables
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier
from c4_assets.operations.alerts.conditions import given_up_named
from c4_assets.runs.by_model import ModelDay, by_model
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events, process_days
from c4_assets.runs.freshness import POLICIES
from c4_assets.runs.left_images import images_left
from c4_assets.runs.metadata import (
    FACILITY,
    GIVEN_UP_NAMED_KEY,
    GROUP,
    IMAGES_FAILED_KEY,
    IMAGES_GIVEN_UP_KEY,
    PARTITION_ROWS_KEY,
    ROWS_WRITTEN_KEY,
    column_lineage,
    column_schema,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import CPU_RETRIES, in_backfill, run_repeated, translate_errors
from c4_assets.scoring.write import WrittenDay, never_tried, write_day
from resources.archive.score_archive import ScoreArchive
from resources.executors.step_resources import StepResources
from resources.imaging_database import ImagingDatabase
from resources.records import PROBABILITY_COLUMNS
from resources.settings import Settings

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
    retry_policy=CPU_RETRIES,
    freshness_policy=POLICIES["db_scores"],
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
            image_sha256="varchar",
            image_path="varchar",
        ),
        "dagster/table_name": "scores",
    },
    check_specs=specs_of(ASSET, DAYS),
)
def db_scores(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    models: dg.ResourceParam[ActiveModels],
    data_checks: dg.ResourceParam[DataChecks],
    settings: dg.ResourceParam[Settings],
) -> Events:
    """The day's machine scores in the imaging database: one row an image and scorer version, in one transaction."""

    def not_tried(day: date, archive: ScoreArchive) -> int:
        return never_tried(day, imaging_database, archive, settings.runs.max_attempts)

    def write(day: date, model: Classifier) -> ModelDay:
        archive = models.archive(model)
        done = write_day(
            day,
            imaging_database,
            archive,
            model.version,
            context.run.run_id,
            data_checks.thresholds,
            settings.runs.absent_days,
            settings.runs.max_attempts,
        )
        # Images that have come since were not left by this run, and are the next one's.
        left = in_backfill(context.run.tags) and images_left(context, day)
        # A model without any outcome of the day waits for its weights and not for room.
        if left and (model is active[0] or archive.outcomes(day)) and not_tried(day, archive):
            why = f"{left} images of {day} are left, because staging is full (C4_SCRATCH_GIGABYTES)"
            raise run_repeated(context, why)
        tables = read_back_tables(imaging_database, archive.scorer_version, done.predictions)
        judged = data_checks.judge(ASSET, day, tables, model.name)
        return ModelDay(model, {**_write_metadata(done), **LINEAGE}, judged, thumbnails_in(archive, day))

    with translate_errors(context):
        active = models.read()
        yield from process_days(context, lambda day: by_model([write(day, model) for model in active]))


NAMED_IMAGES = 5


def _write_metadata(day: WrittenDay) -> dict[str, int | str]:
    named = [
        given_up_named(image.plate, image.well, image.drop_number, why) for image, why in day.given_up[:NAMED_IMAGES]
    ]
    return {
        ROWS_WRITTEN_KEY: day.written.scores,
        "rows there before": day.written.already_scored,
        PARTITION_ROWS_KEY: day.written.scores + day.written.already_scored,
        IMAGES_FAILED_KEY: day.written.failures,
        "images no longer listed": day.written.no_longer_listed,
        "scores superseded": day.written.superseded,
        "inspections withheld": len(day.withheld),
        IMAGES_GIVEN_UP_KEY: len(day.given_up),
        **({GIVEN_UP_NAMED_KEY: "\n".join(named)} if named else {}),
    }
