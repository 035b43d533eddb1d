"""Ashes: what people scored in a week and see otherwise than the machine, so that the model can learn from it."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import dagster as dg

from c4_assets.assets.db_scores import db_scores
from c4_assets.assets.human_labels import human_labels
from c4_assets.checks.pictures import pictures_in
from c4_assets.labels.ashes import collect_week, confusion, missed_crystals_first
from c4_assets.labels.people import People
from c4_assets.models.active import ActiveModels
from c4_assets.models.marco.preprocessing import thumbnail
from c4_assets.pictures.contact_sheet import Tile
from c4_assets.runs.freshness import POLICIES
from c4_assets.runs.metadata import (
    FACILITY,
    GROUP,
    PARTITION_ROWS_KEY,
    column_schema,
    scorer_version_metadata,
    sheet_metadata,
)
from c4_assets.runs.partitions import WEEKS, week_of
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from c4_assets.scoring.classify import ARCHIVED_THUMBNAIL_SIDE
from resources.errors import ImageError
from resources.executors.step_resources import StepResources
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.records import PROBABILITY_COLUMNS, ScorePair
from resources.settings import Settings

MAX_DISAGREEMENTS_SHOWN = 18


def _tiles(rows: Sequence[ScorePair], pictures: Sequence[bytes | None], people: People) -> list[Tile]:
    called = people.called(row.human for row in rows)
    tiles: list[Tile] = []
    for row, picture in zip(rows, pictures, strict=True):
        try:
            jpeg = thumbnail(picture or b"", ARCHIVED_THUMBNAIL_SIDE)
        except ImageError:
            continue
        place = f"{row.plate} {row.well}.{row.drop_number}"
        tiles.append(
            Tile(
                jpeg,
                str(row.human_category),
                (place, f"{called[row.human]}: {row.human_category}", f"machine: {row.machine_category}"),
            )
        )
    return tiles


@dg.asset(
    partitions_def=WEEKS,
    deps=[human_labels, dg.AssetDep(db_scores, partition_mapping=dg.AllPartitionMapping())],
    pool="image_store",
    group_name=GROUP,
    kinds={"parquet"},
    owners=[FACILITY],
    op_tags=StepResources(where="here").as_tag(),
    retry_policy=CPU_RETRIES,
    freshness_policy=POLICIES["ashes_disagreements"],
    metadata=column_schema(
        image_id="int64",
        inspection_id="int64",
        plate="string",
        imaged_at="timestamp[us, UTC]",
        well="string",
        drop_number="int64",
        path="string",
        human="string",
        human_class="string",
        human_category="string",
        human_scored_at="timestamp[us, UTC]",
        machine_category="string",
        **dict.fromkeys(PROBABILITY_COLUMNS, "float32"),
    ),
)
def ashes_disagreements(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[Any]:
    """Images whose newest human score of the week names another category than the machine's.

    Partitions are weeks of human scoring, not of imaging. A class that is mapped to no category is counted and left
    out; map it in `score_classes` and materialise the week again.
    """
    with translate_errors(context), closing(image_store):
        score_archive = models.archive(models.current)
        week = collect_week(*week_of(context), imaging_database, score_archive)
        shown = missed_crystals_first(week.disagreements)[:MAX_DISAGREEMENTS_SHOWN]
        pictures = pictures_in(image_store)([{"path": row.path} for row in shown])
    compared = len(week.agreements) + len(week.disagreements)
    unmapped = sorted({row.human_class for row in week.unmapped})
    return dg.MaterializeResult(
        metadata={
            "disagreements": sheet_metadata(_tiles(shown, pictures, People(settings))),
            "human against machine": dg.MetadataValue.md(confusion(week)),
            PARTITION_ROWS_KEY: len(week.disagreements),
            "images compared": compared,
            "agreement": round(len(week.agreements) / compared, 4) if compared else 0.0,
            "crystals missed": sum(row.human_category == "crystals" for row in week.disagreements),
            "images without a machine score": len(week.without_machine_score),
            "images whose label is left out": len(week.left_out),
            "images of an unmapped class": len(week.unmapped),
            "unmapped classes": ", ".join(unmapped) or "none",
            **scorer_version_metadata(score_archive.scorer_version),
        }
    )
