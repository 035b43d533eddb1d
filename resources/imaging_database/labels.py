"""Human scores one by one, as labels that a model may learn from."""

from datetime import datetime

from sqlalchemy import String, func, literal, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import images, inspections, plates, score_classes, scores
from resources.records import HumanLabel


def human_labels(database: ImagingDatabase, scorer: str, since: datetime, until: datetime) -> list[HumanLabel]:
    """Every human score given at or after ``since`` and before ``until``, oldest first."""
    human, machine = scores.alias("human"), scores.alias("machine")
    human_class, machine_class = score_classes.alias("human_class"), score_classes.alias("machine_class")
    query = (
        select(
            human.c.id,
            human.c.image_id,
            images.c.inspection_id,
            plates.c.barcode,
            inspections.c.imaged_at,
            images.c.well,
            images.c.drop_number,
            images.c.path,
            human.c.scorer,
            func.coalesce(human_class.c.name, literal("class ") + human.c.score_class_id.cast(String(24))),
            human_class.c.id,
            human_class.c.category,
            human.c.scored_at,
            machine_class.c.category,
        )
        .join(images, images.c.id == human.c.image_id)
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .join(plates, plates.c.id == inspections.c.plate_id)
        .outerjoin(human_class, human_class.c.id == human.c.score_class_id)
        .outerjoin(machine, (machine.c.image_id == human.c.image_id) & (machine.c.scorer_version == scorer))
        .outerjoin(machine_class, machine_class.c.id == machine.c.score_class_id)
        .where(human.c.scorer_version.is_(None), human.c.scored_at >= since, human.c.scored_at < until)
        .order_by(human.c.scored_at, human.c.id)
    )
    with database.reading("labels") as connection:
        found = [
            HumanLabel(
                *row[:10],
                class_known=row[10] is not None,
                category=row[11],
                scored_at=row[12],
                machine_category=row[13],
            )
            for row in connection.execute(query)
        ]
        return list({label.score_id: label for label in found}.values())
