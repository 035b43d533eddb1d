"""Human scores one by one, as labels that a model may learn from."""

from datetime import datetime
from typing import Any

from sqlalchemy import String, and_, case, func, literal, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.schema import images, inspections, plates, score_classes, scores
from resources.records import HumanLabel


def human_labels(database: ImagingDatabase, scorer_version: str, since: datetime, until: datetime) -> list[HumanLabel]:
    """Every human score given at or after ``since`` and before ``until``, oldest first.

    A score of another image that had the number before is no score of this one, whoever gave it.
    """
    human, machine = scores.alias("human"), scores.alias("machine")
    human_class, machine_class = score_classes.alias("human_class"), score_classes.alias("machine_class")
    query = (
        select(
            human.c.id.label("score_id"),
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
            case((human_class.c.id.is_(None), 0), else_=1).label("class_known"),
            human_class.c.category,
            human.c.scored_at,
            machine_class.c.category.label("machine_category"),
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
        .where(human.c.scorer_version.is_(None), human.c.scored_at >= since, human.c.scored_at < until)
        .where(at_its_place(human.c.image_path))
        .order_by(human.c.scored_at, human.c.id)
    )
    with database.reading("labels") as connection:
        found = [_label(dict(row)) for row in connection.execute(query).mappings()]
        return list({label.score_id: label for label in found}.values())


def _label(row: dict[str, Any]) -> HumanLabel:
    return HumanLabel(class_known=bool(row.pop("class_known")), **row)
