"""Human scores one by one, as labels that a model may learn from."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.human_scores import (
    HumanScores,
    image_and_classes,
    with_images_and_classes,
)
from resources.imaging_database.listed import whole_number
from resources.records import NO_NUMBER, HumanLabel


def human_labels(database: ImagingDatabase, scorer_version: str, since: datetime, until: datetime) -> list[HumanLabel]:
    """Every human score given at or after ``since`` and before ``until``, oldest first.

    What was taken back since, whenever that was, is none.
    """
    with database.reading("labels") as connection:
        human = HumanScores.of(connection)
        given = human.rows.c
        query = (
            with_images_and_classes(select(given.id.label("score_id")), human.rows, scorer_version)
            .where(given.scored_at >= since, given.scored_at < until, human.stands())
            .order_by(given.scored_at, given.id)
        )
        found = [_label(row) for row in connection.execute(query)]
    return list({_identity(label): label for label in found}.values())


def _identity(label: HumanLabel) -> object:
    """What tells a label from every other one: its number, where that has 64 bits."""
    return label.score_id if label.score_id != NO_NUMBER else (label.image_id, label.human, label.scored_at)


def _label(row: Any) -> HumanLabel:
    return HumanLabel(
        **image_and_classes(row),
        score_id=whole_number(row.score_id),
        class_known=row.class_id is not None,
        category=row.human_category,
        scored_at=row.scored_at,
    )
