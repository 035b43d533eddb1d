"""The label archive: what people scored, week by week, as Parquet beside the score archive's datasets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from resources.archive.outcomes import number_of, number_or_null
from resources.archive.score_archive import ScoreArchive
from resources.archive.tables import Columns, read_parquet
from resources.archive.unreadable import reading
from resources.records import HumanLabel

LABEL_COLUMNS: Columns = {
    "score_id": "int64",
    "image_id": "int64",
    "inspection_id": "int64",
    "plate": "string",
    "imaged_at": "time",
    "well": "string",
    "drop_number": "int64",
    "path": "string",
    "human": "string",
    "human_class": "string",
    "class_known": "bool",
    "category": "string",
    "scored_at": "time",
    "machine_category": "string",
    "perceptual_hash": "binary",
    "left_out": "string",
}


@dataclass(frozen=True)
class ArchivedLabel:
    """A label with the image's perceptual hash, and the check that leaves it out of what a model learns from."""

    label: HumanLabel
    perceptual_hash: bytes | None
    left_out: str | None


def write_labels(archive: ScoreArchive, week: date, labels: Iterable[ArchivedLabel]) -> None:
    """Replaces the labels of the week that begins on this day."""
    rows = [
        {
            **vars(each.label),
            "drop_number": number_or_null(each.label.drop_number),
            "perceptual_hash": each.perceptual_hash,
            "left_out": each.left_out,
        }
        for each in labels
    ]
    archive.write_week("labels", week, LABEL_COLUMNS, rows)


def read_labels(archive: ScoreArchive, week: date, weeks: int = 1) -> dict[date, list[ArchivedLabel]]:
    """The labels of a week and of those before it, by week, oldest first; weeks that were not collected are left out.

    Args:
        weeks: how many weeks, this one included.
    """
    found: dict[date, list[ArchivedLabel]] = {}
    for before in reversed(range(weeks)):
        each = week - timedelta(weeks=before)
        if labels := archive.read_week("labels", each, _read):
            found[each] = labels
    return found


def left_out(labels: Iterable[ArchivedLabel]) -> set[tuple[int, str, datetime]]:
    """Image, person and time of the labels that are left out."""
    return {(each.label.image_id, each.label.human, each.label.scored_at) for each in labels if each.left_out}


def _read(file: Path) -> list[ArchivedLabel]:
    with reading(file):
        return [_label(row) for row in read_parquet(file)]


def _label(row: Mapping[str, Any]) -> ArchivedLabel:
    label: dict[str, Any] = {name: row[name] for name in HumanLabel.__dataclass_fields__}
    label["drop_number"] = number_of(label["drop_number"])
    return ArchivedLabel(HumanLabel(**label), row["perceptual_hash"], row["left_out"])
