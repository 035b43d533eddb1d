"""Human scores beside the machine's, for Ashes."""

from datetime import datetime
from typing import Any

from sqlalchemy import String, and_, func, literal, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.schema import images, inspections, plates, score_classes, scores
from resources.records import PROBABILITY_COLUMNS, ScorePair


def newest_human_scores(
    database: ImagingDatabase, scorer_version: str, since: datetime, until: datetime
) -> list[ScorePair]:
    """The images whose newest human score before ``until`` was given at or after ``since``.

    Later scores are ignored, so that a past week always gives the same answer. Two scores of the same moment count in
    the order in which they were entered.
    """
    human = (
        select(
            scores.c.image_id,
            scores.c.scorer,
            scores.c.score_class_id,
            scores.c.scored_at,
            scores.c.image_path,
            func.row_number()
            .over(partition_by=scores.c.image_id, order_by=(scores.c.scored_at.desc(), scores.c.id.desc()))
            .label("age"),
        )
        .where(scores.c.scorer_version.is_(None), scores.c.scored_at < until)
        .where(
            scores.c.image_id.in_(
                select(scores.c.image_id).where(
                    scores.c.scorer_version.is_(None), scores.c.scored_at >= since, scores.c.scored_at < until
                )
            )
        )
        .subquery()
    )
    machine = scores.alias("machine")
    human_class, machine_class = score_classes.alias("human_class"), score_classes.alias("machine_class")
    query = (
        select(
            human.c.image_id,
            images.c.inspection_id,
            plates.c.barcode.label("plate"),
            inspections.c.imaged_at,
            images.c.well,
            images.c.drop_number,
            images.c.path,
            human.c.scorer.label("human"),
            func.coalesce(human_class.c.name, literal("class ") + human.c.score_class_id.cast(String(24))).label(
                "human_class"
            ),
            human_class.c.category.label("human_category"),
            human.c.scored_at.label("human_scored_at"),
            machine_class.c.category.label("machine_category"),
            *(machine.c[name] for name in PROBABILITY_COLUMNS),
        )
        .join(images, images.c.id == human.c.image_id)
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .join(plates, plates.c.id == inspections.c.plate_id)
        .outerjoin(human_class, human_class.c.id == human.c.score_class_id)
        .outerjoin(
            machine,
            and_(
                machine.c.image_id == human.c.image_id,
                machine.c.scorer_version == scorer_version,
                at_its_place(machine.c.image_path),
            ),
        )
        .outerjoin(machine_class, machine_class.c.id == machine.c.score_class_id)
        .where(human.c.age == 1, at_its_place(human.c.image_path))
        .order_by(human.c.scored_at, human.c.image_id)
    )
    with database.reading("ashes") as connection:
        return [_pair(dict(row)) for row in connection.execute(query).mappings()]


def _pair(row: dict[str, Any]) -> ScorePair:
    clear, crystals, other, precipitate = (row.pop(name) for name in PROBABILITY_COLUMNS)
    is_scored = row["machine_category"] is not None
    return ScorePair(**row, probabilities=(clear, crystals, other, precipitate) if is_scored else None)
