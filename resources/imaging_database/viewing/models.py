"""Scores of scorer versions, as the queries of pages join and read them."""

from typing import Any

from sqlalchemy import ColumnElement, and_

from resources.imaging_database.listed import usable_text
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.schema import images, score_classes, scores
from resources.imaging_database.viewing.records import ModelScore
from resources.records import PROBABILITY_COLUMNS

machine = scores.alias("machine")
machine_class = score_classes.alias("machine_class")

MODEL_COLUMNS: tuple[ColumnElement[Any], ...] = (
    machine.c.scorer_version,
    machine_class.c.category.label("machine_category"),
    machine.c.crystal,
    *(machine.c[name] for name in PROBABILITY_COLUMNS),
    machine.c.scored_at.label("machine_scored_at"),
    machine.c.run_id,
    machine.c.image_sha256,
)
"""What a SELECT over :data:`machine` and :data:`machine_class` names for :func:`model_score_of`."""


def is_score_of(scorer_version: str | None) -> ColumnElement[bool]:
    """For a join to ``images``: a score of the image as it is listed, by one scorer version or by any."""
    version = machine.c.scorer_version
    which = version.is_not(None) if scorer_version is None else version == scorer_version
    return and_(machine.c.image_id == images.c.id, which, at_its_place(machine.c.image_path))


def model_score_of(row: Any) -> ModelScore | None:
    """The score in a row of a SELECT of :data:`MODEL_COLUMNS`, among others; ``None`` where there is none."""
    if row.scorer_version is None or row.p_crystals is None:
        return None
    clear, crystals, other, precipitate = (float(getattr(row, name)) for name in PROBABILITY_COLUMNS)
    return ModelScore(
        row.scorer_version,
        row.machine_category,
        bool(row.crystal),
        (clear, crystals, other, precipitate),
        row.machine_scored_at,
        usable_text(row.run_id) or None,
        row.image_sha256,
    )
