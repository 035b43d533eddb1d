"""What people say of drops: from the table ``scores``, or from a site's view ``human_scores`` where it has one."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, FromClause, Select, String, and_, func, literal, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IMAGE_COLUMNS, IS_NAMED, image_of, is_dated, usable_text, with_plates
from resources.imaging_database.optional_views import has_relation
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.schema import human_scores, images, inspections, score_classes, scores
from resources.records import PROBABILITY_COLUMNS, ScorePair

HUMAN_SCORE_COLUMNS = tuple(column.name for column in human_scores.c)


def human_scores_in(connection: Connection) -> FromClause:
    """The human scores of a database, with the columns of :data:`~resources.imaging_database.schema.human_scores`.

    Those of the table ``scores`` also have an ``image_path``.
    """
    if has_relation(connection, human_scores):
        return human_scores
    columns = (*(scores.c[name] for name in HUMAN_SCORE_COLUMNS), scores.c.image_path)
    of_people = select(*columns).where(scores.c.scorer_version.is_(None))
    return of_people.subquery("human")


def with_images_and_classes(query: Select[Any], human: FromClause, scorer_version: str) -> Select[Any]:
    """A query over human scores, with what :func:`image_and_classes` reads. Images without a time are left out.

    A score of another image that had the number before is no score of this one, whoever gave it.
    """
    machine = scores.alias("machine")
    human_class, machine_class = score_classes.alias("human_class"), score_classes.alias("machine_class")
    joined = (
        query.add_columns(
            *IMAGE_COLUMNS,
            inspections.c.imaged_at,
            human.c.scorer.label("human"),
            func.coalesce(human_class.c.name, literal("class ") + human.c.score_class_id.cast(String(24))).label(
                "human_class"
            ),
            human_class.c.id.label("class_id"),
            human_class.c.category.label("human_category"),
            human.c.scored_at,
            machine_class.c.category.label("machine_category"),
            *(machine.c[name] for name in PROBABILITY_COLUMNS),
        )
        .join(images, images.c.id == human.c.image_id)
        .join(inspections, inspections.c.id == images.c.inspection_id)
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
        .where(is_dated(), IS_NAMED)
    )
    if "image_path" in human.c:
        joined = joined.where(at_its_place(human.c.image_path))
    return with_plates(joined)


def image_and_classes(row: Any) -> dict[str, Any]:
    """Of a row of :func:`with_images_and_classes`: the fields that :class:`HumanLabel` and :class:`ScorePair` share."""
    return {
        **vars(image_of(row)),
        "imaged_at": row.imaged_at,
        "human": usable_text(row.human),
        "human_class": usable_text(row.human_class),
        "machine_category": row.machine_category,
    }


def newest_human_scores(
    database: ImagingDatabase, scorer_version: str, since: datetime, until: datetime
) -> list[ScorePair]:
    """The images whose newest human score before ``until`` was given at or after ``since``.

    Later scores are ignored, so that a past week always gives the same answer. Two scores of the same moment count in
    the order in which they were entered.
    """
    with database.reading("ashes") as connection:
        given = human_scores_in(connection)
        these = given.alias("these")
        newest = (
            select(
                given,
                func.row_number()
                .over(partition_by=given.c.image_id, order_by=(given.c.scored_at.desc(), given.c.id.desc()))
                .label("age"),
            )
            .where(given.c.scored_at < until)
            .where(
                given.c.image_id.in_(
                    select(these.c.image_id).where(these.c.scored_at >= since, these.c.scored_at < until)
                )
            )
            .subquery("newest")
        )
        query = (
            with_images_and_classes(select(newest.c.age), newest, scorer_version)
            .where(newest.c.age == 1)
            .order_by(newest.c.scored_at, newest.c.image_id)
        )
        return [_pair(row) for row in connection.execute(query)]


def _pair(row: Any) -> ScorePair:
    clear, crystals, other, precipitate = (getattr(row, name) for name in PROBABILITY_COLUMNS)
    return ScorePair(
        **image_and_classes(row),
        human_category=row.human_category,
        human_scored_at=row.scored_at,
        probabilities=None if row.machine_category is None else (clear, crystals, other, precipitate),
    )
