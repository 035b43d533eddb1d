"""Fetch the images of a day that have no score yet, an inspection at a time, into the staging area."""

from contextlib import closing
from datetime import UTC, date, datetime

import dagster as dg

from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.images import image_tables, known_files
from c4_assets.checks.pictures import pictures_in
from c4_assets.models.active import ActiveModels
from c4_assets.pictures.fetched_thumbnails import FetchedThumbnails, MadeThumbnails
from c4_assets.runs.check_results import evaluate
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events, Result, days_of, process_days
from c4_assets.runs.metadata import (
    FACILITY,
    GROUP,
    IMAGES_FAILED_KEY,
    IMAGES_LEFT_KEY,
    IMAGES_PER_SECOND_KEY,
    IMAGES_STAGED_KEY,
    peak_memory,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from c4_assets.scoring.fetch import StagedDay, stage_day
from resources.archive.staging import Staging
from resources.archive.thumbnails import Thumbnails
from resources.executors.step_resources import StepResources
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.settings import Settings


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=SEVERAL_DAYS,
    deps=["inspections"],
    pool="image_store",
    group_name=GROUP,
    kinds={"arrow"},
    owners=[FACILITY],
    op_tags=StepResources(cpus=2, memory_gb=4, minutes=240).as_tag(),
    retry_policy=CPU_RETRIES,
    check_specs=specs_of("raw_inspection_images", DAYS),
)
def raw_inspection_images(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    staging: dg.ResourceParam[Staging],
    thumbnails: dg.ResourceParam[Thumbnails],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
    data_checks: dg.ResourceParam[DataChecks],
) -> Events:
    """Images of the day that wait for a score: one staged Arrow file an inspection. Beside it, their thumbnails.

    Staged files are a buffer and leave when their probabilities are durable, so a partition that is up to date holds
    nothing. Images that cannot be fetched are staged with the reason and end up in `c4 status --failures`.
    """
    room = round(settings.scratch_gigabytes * 1e9)
    days = days_of(context)

    def process_day(day: date) -> Result:
        attempts = settings.runs.max_attempts
        staged = stage_day(day, imaging_database, image_store, staging, archives, attempts, room, days, fetched.passing)
        listed = inspections_of_day(imaging_database, day)
        files = known_files(day, listed, staging, archives[0])
        tables = image_tables(listed, files, data_checks.thresholds.images, datetime.now(UTC))
        checked = evaluate(data_checks, "raw_inspection_images", day, tables, pictures_in(image_store))
        return dg.MaterializeResult(
            metadata={
                **_staging_metadata(staged),
                **_thumbnail_metadata(fetched.settled()),
                "scorer versions": ", ".join(archive.scorer_version for archive in archives),
                **checked.metadata,
            },
            check_results=checked.check_results,
        )

    # The pool counts steps: when this one ends, its connection must have ended, too.
    with translate_errors(context), closing(image_store), FetchedThumbnails(thumbnails) as fetched:
        archives = [models.archive(model) for model in models.publish()]
        yield from process_days(context, process_day)


def _staging_metadata(day: StagedDay) -> dict[str, float]:
    return {
        "pending images": day.pending,
        IMAGES_STAGED_KEY: day.images,
        IMAGES_FAILED_KEY: day.failed,
        "images staged before": day.already_staged,
        "images scored before": day.already_scored,
        IMAGES_LEFT_KEY: day.left,
        "inspections staged": day.inspections,
        "megabytes": round(day.bytes / 1e6, 1),
        IMAGES_PER_SECOND_KEY: round(day.images / day.seconds, 1) if day.seconds else 0.0,
        "seconds": round(day.seconds, 1),
        "peak memory (MB)": peak_memory(),
    }


def _thumbnail_metadata(made: MadeThumbnails) -> dict[str, float]:
    return {
        "thumbnails made": made.made,
        "images without a thumbnail": made.failed,
        "megabytes of thumbnails": round(made.bytes / 1e6, 2),
    }
