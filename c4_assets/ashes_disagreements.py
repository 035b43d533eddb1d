"""Ashes: what people scored in a week and see otherwise than the machine, so that the model can learn from it."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from c4_assets.checks.pictures import pictures_in
from c4_assets.contact_sheet import Tile, sheet_metadata
from c4_assets.db_scores import db_scores
from c4_assets.human_labels import human_labels
from c4_assets.marco.preprocessing import thumbnail
from c4_assets.marco_probabilities import ARCHIVED_THUMBNAIL_SIDE
from c4_assets.operator_errors import translate_errors
from c4_assets.partitions import WEEKS, week_of
from c4_assets.shared import (
    CPU_RETRIES,
    FACILITY,
    GROUP,
    PARTITION_ROWS_KEY,
    SCORER,
    column_schema,
    scorer_version_metadata,
)
from resources.categories import CATEGORIES, PROBABILITY_COLUMNS
from resources.errors import ImageError
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.human_scores import ScorePair, newest_human_scores
from resources.label_archive import left_out, read_labels
from resources.score_archive import ScoreArchive
from resources.step_resources import StepResources

MAX_DISAGREEMENTS_SHOWN = 18


@dataclass(frozen=True)
class ScoredWeek:
    """The images whose newest human score falls into a week, by what can be said of them."""

    disagreements: tuple[ScorePair, ...]
    agreements: tuple[ScorePair, ...]
    left_out: tuple[ScorePair, ...]
    """The newest human score fails a blocking check of `human_labels`."""
    unmapped: tuple[ScorePair, ...]
    """The human class belongs to none of the four categories."""
    without_machine_score: tuple[ScorePair, ...]


def compare(scored: Sequence[ScorePair], left_out: Collection[tuple[int, str, datetime]] = frozenset()) -> ScoredWeek:
    """Sorts doubly scored images; every one lands in exactly one place, missing categories first.

    Args:
        left_out: image, person and time of the human scores that fail a blocking check.
    """
    with_category = [row for row in scored if row.human_category in CATEGORIES]
    failed = {row for row in with_category if (row.image_id, row.human, row.human_scored_at) in left_out}
    mapped = [row for row in with_category if row not in failed]
    both = [row for row in mapped if row.machine_category in CATEGORIES]
    return ScoredWeek(
        disagreements=tuple(row for row in both if row.human_category != row.machine_category),
        agreements=tuple(row for row in both if row.human_category == row.machine_category),
        left_out=tuple(row for row in with_category if row in failed),
        unmapped=tuple(row for row in scored if row.human_category not in CATEGORIES),
        without_machine_score=tuple(row for row in mapped if row.machine_category not in CATEGORIES),
    )


def collect_week(start: datetime, end: datetime, database: ImagingDatabase, archive: ScoreArchive) -> ScoredWeek:
    """Replaces a week's disagreements in the archive and returns what they were found among.

    Raises:
        Unavailable: the database does not answer; the archive is as it was.
    """
    labels = read_labels(archive, start.date()).get(start.date(), [])
    week = compare(newest_human_scores(database, archive.scorer_version, start, end), left_out(labels))
    archive.write_disagreements(start.date(), week.disagreements)
    return week


def confusion(week: ScoredWeek) -> str:
    """A Markdown table of human (rows) against machine categories (columns), in images."""
    counts = Counter((row.human_category, row.machine_category) for row in (*week.agreements, *week.disagreements))
    lines = [f"| human ↓ machine → | {' | '.join(CATEGORIES)} |", "| --- |" + " --- |" * len(CATEGORIES)]
    lines += [
        f"| {human} | {' | '.join(str(counts[human, machine]) for machine in CATEGORIES)} |" for human in CATEGORIES
    ]
    return "\n".join(lines)


def missed_crystals_first(disagreements: Sequence[ScorePair]) -> list[ScorePair]:
    """Crystals that the machine did not see come first: they are what users do not forgive."""
    return sorted(disagreements, key=lambda row: (row.human_category != "crystals", -row.human_scored_at.timestamp()))


def _tiles(rows: Sequence[ScorePair], pictures: Sequence[bytes | None]) -> list[Tile]:
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
                (place, f"{row.human}: {row.human_category}", f"machine: {row.machine_category}"),
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
    code_version=SCORER.name,
    retry_policy=CPU_RETRIES,
    metadata=column_schema(
        image_id="int64",
        inspection_id="int64",
        plate="string",
        imaged_at="timestamp[us, UTC]",
        well="string",
        drop_number="int32",
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
    score_archive: dg.ResourceParam[ScoreArchive],
) -> dg.MaterializeResult[Any]:
    """Images whose newest human score of the week names another category than the machine's.

    Partitions are weeks of human scoring, not of imaging. A class that is mapped to no category is counted and left
    out; map it in `score_classes` and materialise the week again.
    """
    with translate_errors(context), closing(image_store):
        week = collect_week(*week_of(context), imaging_database, score_archive)
        shown = missed_crystals_first(week.disagreements)[:MAX_DISAGREEMENTS_SHOWN]
        pictures = pictures_in(image_store)([{"path": row.path} for row in shown])
    compared = len(week.agreements) + len(week.disagreements)
    unmapped = sorted({row.human_class for row in week.unmapped})
    return dg.MaterializeResult(
        metadata={
            "disagreements": sheet_metadata(_tiles(shown, pictures)),
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
