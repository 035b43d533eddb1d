"""What people say of images: the newest score that its giver has not withdrawn counts, whoever that is."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, String, and_, func, literal, or_, select

from resources.imaging_database.human_scores import HumanScores, standing
from resources.imaging_database.listed import is_dated, is_numbered, only_checked, usable_text, whole_number
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.schema import human_scores, images, score_classes
from resources.imaging_database.statements import among
from resources.imaging_database.viewing.records import PersonScore


def said_in(relations: frozenset[str], name: str = "human") -> HumanScores:
    """All that people said, where the site has these relations."""
    return HumanScores(human_scores.name in relations, name)


human_class = score_classes.alias("human_class")


def person_columns(human: FromClause) -> list[ColumnElement[Any]]:
    """What a SELECT over ``human`` and :data:`human_class` names so that :func:`person_score_of` can read its rows."""
    number = human.c.score_class_id.cast(String(24))
    return [
        human.c.id.label("score_id"),
        human.c.image_id.label("said_of"),
        human.c.scorer.label("person"),
        func.coalesce(human_class.c.name, literal("class ") + number).label("class_name"),
        human_class.c.category.label("human_category"),
        human.c.scored_at.label("said_at"),
    ]


def person_score_of(row: Any) -> PersonScore:
    """The score in a row of a SELECT of :func:`person_columns`, among others."""
    return PersonScore(
        whole_number(row.score_id),
        whole_number(row.said_of),
        usable_text(row.person),
        usable_text(row.class_name),
        row.human_category,
        row.said_at,
    )


def is_readable(human: FromClause) -> ColumnElement[bool]:
    """A row of what people said has a time that is one. Of rows without a number, the order is not known."""
    return only_checked(and_(is_dated(human.c.scored_at), is_numbered(human.c.id)))


def is_of_image(human: FromClause) -> ColumnElement[bool]:
    """For a join to ``images``: the row is readable and of this image, and not of one that had its number before."""
    return and_(human.c.image_id == images.c.id, is_readable(human), at_its_place(human.c.image_path))


def is_later(later: FromClause, human: FromClause) -> ColumnElement[bool]:
    """Scores of the same moment count in the order in which they were entered."""
    same_moment = and_(later.c.scored_at == human.c.scored_at, later.c.id > human.c.id)
    return only_checked(and_(is_dated(later.c.scored_at), or_(later.c.scored_at > human.c.scored_at, same_moment)))


def newest_first(rows: Iterable[PersonScore]) -> list[PersonScore]:
    """The rows without those that are there twice, the newest first."""
    each = {row.score_id: row for row in rows}
    return sorted(each.values(), key=lambda row: (row.scored_at, row.score_id), reverse=True)


def effective_human_score(rows: Iterable[PersonScore]) -> PersonScore | None:
    """What people say of one image: the newest score of any person that has not been withdrawn."""
    return next(iter(standing(newest_first(rows))), None)


def people_of(
    connection: Connection, relations: frozenset[str], image_ids: Sequence[int]
) -> dict[int, list[PersonScore]]:
    """All that people said of the images, the newest first."""
    human = said_in(relations).rows
    query = (
        select(*person_columns(human))
        .join_from(images, human, is_of_image(human))
        .outerjoin(human_class, human_class.c.id == human.c.score_class_id)
    )
    found: dict[int, list[PersonScore]] = defaultdict(list)
    for these in among(connection, images.c.id, image_ids):
        for row in connection.execute(query.where(these)):
            score = person_score_of(row)
            found[score.image_id].append(score)
    return {image_id: newest_first(rows) for image_id, rows in found.items()}
