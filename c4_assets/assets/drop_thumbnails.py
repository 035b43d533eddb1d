"""Make the thumbnails of a day's drops that are missing: of what was scored before there were any, say."""

from contextlib import closing
from datetime import date

import dagster as dg

from c4_assets.models.active import ActiveModels
from c4_assets.pictures.inspection_thumbnails import ThumbnailsOfDay, thumbnails_of_day
from c4_assets.runs.days import Events, Result, process_days
from c4_assets.runs.metadata import (
    FACILITY,
    GROUP,
    PARTITION_ROWS_KEY,
    column_schema,
    markdown_cell,
    sheet_metadata,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from resources.archive.thumbnails import Thumbnails
from resources.executors.step_resources import StepResources
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day

MOST_REASONS = 10


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
    metadata=column_schema(
        image_id="int64",
        path="string",
        sha256="string",
        width="int32",
        height="int32",
        webp="binary",
        error="string",
        seen_at="timestamp[us, UTC]",
    ),
)
def drop_thumbnails(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    thumbnails: dg.ResourceParam[Thumbnails],
    models: dg.ResourceParam[ActiveModels],
) -> Events:
    """A small picture of every drop of the day: one Arrow file an inspection.

    They are made while images are fetched to be scored, and when somebody looks. This asset makes those of earlier days
    in advance: a backfill of it fetches what is missing and nothing else. No score depends on it.
    """

    def process_day(day: date) -> Result:
        scored = {each.image.image_id: each.sha256 for each in archive.outcomes(day) if each.sha256}
        listed = inspections_of_day(imaging_database, day)
        return dg.MaterializeResult(metadata=_metadata(thumbnails_of_day(day, listed, thumbnails, image_store, scored)))

    # The pool counts steps: when this one ends, its connection must have ended, too.
    with translate_errors(context), closing(image_store):
        archive = models.archive(models.current)
        yield from process_days(context, process_day)


def _metadata(day: ThumbnailsOfDay) -> dict[str, float | dg.MetadataValue]:
    reasons = [f"- {count} × {markdown_cell(reason)}" for reason, count in day.missing.most_common(MOST_REASONS)]
    return {
        "some of those that were made": sheet_metadata(day.tiles),
        "why images have none": dg.MetadataValue.md("\n".join(reasons) or "All have one."),
        PARTITION_ROWS_KEY: day.images,
        "thumbnails there before": day.there_before,
        "thumbnails made": day.made,
        "megabytes of thumbnails made": round(day.bytes / 1e6, 2),
        "images without a thumbnail": day.missing.total(),
    }
