"""The best of each drop of a plate over all its inspections."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IS_NAMED, is_dated, usable_text, whole_number
from resources.imaging_database.schema import images, inspections
from resources.imaging_database.viewing.models import is_score_of, machine
from resources.imaging_database.viewing.people import (
    effective_human_score,
    human_class,
    is_of_image,
    person_columns,
    person_score_of,
    said_in,
)
from resources.imaging_database.viewing.records import BestOfDrop, PersonScore
from resources.imaging_database.viewing.relations import Viewer, site_relations, visible_to

CATEGORY_RANKS: Mapping[str | None, int] = {"crystals": 4, "precipitate": 3, "other": 2, "clear": 1}
"""Which category is the better one, higher is better. A score that says nothing of the drop is the least."""

_Drop = tuple[str, int]


def best_over_time(
    database: ImagingDatabase,
    plate_id: int,
    scorer_version: str,
    who: Viewer,
    class_ranks: Mapping[str, int] | None = None,
) -> list[BestOfDrop]:
    """For each drop of a plate the highest probability of crystals and the best that people said, and when.

    An image that was taken later hides neither. Of equal ones the oldest is told. Empty for a plate that the person
    may not see.

    Args:
        class_ranks: of classes by name, higher is better; otherwise the ranks of their categories count.
    """
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        its_own = (inspections.c.plate_id == plate_id, is_dated(), IS_NAMED, visible_to(who, relations))
        age = func.row_number().over(
            partition_by=(images.c.well, images.c.drop_number),
            order_by=(func.coalesce(machine.c.p_crystals, -1).desc(), inspections.c.imaged_at, images.c.id),
        )
        each = (
            select(
                images.c.well,
                images.c.drop_number,
                images.c.id.label("image_id"),
                inspections.c.imaged_at,
                machine.c.p_crystals,
                age.label("age"),
            )
            .join_from(inspections, images, images.c.inspection_id == inspections.c.id)
            .outerjoin(machine, is_score_of(scorer_version))
            .where(*its_own)
            .subquery("each")
        )
        drops = {
            _drop(row): _best_of_models(row) for row in connection.execute(select(each).where(each.c.age == 1)).all()
        }
        said = _said(connection, relations, its_own)
    for drop, (imaged_at, score) in _best_of_people(said, class_ranks or {}).items():
        if drop in drops:
            drops[drop] = replace(drops[drop], person=score, person_imaged_at=imaged_at)
    return [drops[drop] for drop in sorted(drops)]


def _drop(row: Any) -> _Drop:
    return usable_text(row.well), whole_number(row.drop_number)


def _best_of_models(row: Any) -> BestOfDrop:
    if row.p_crystals is None:
        return BestOfDrop(*_drop(row))
    return BestOfDrop(*_drop(row), float(row.p_crystals), whole_number(row.image_id), row.imaged_at)


def _said(connection: Connection, relations: frozenset[str], its_own: Any) -> list[Any]:
    human = said_in(relations).rows
    query = (
        select(images.c.well, images.c.drop_number, inspections.c.imaged_at, *person_columns(human))
        .join_from(inspections, images, images.c.inspection_id == inspections.c.id)
        .join(human, is_of_image(human))
        .outerjoin(human_class, human_class.c.id == human.c.score_class_id)
        .where(*its_own)
        .order_by(inspections.c.imaged_at, images.c.id)
    )
    return list(connection.execute(query))


def _best_of_people(rows: list[Any], class_ranks: Mapping[str, int]) -> dict[_Drop, tuple[Any, PersonScore]]:
    """By drop: the best of its images' effective scores, and when the image was taken."""

    def rank(score: PersonScore) -> tuple[int, int]:
        return class_ranks.get(score.class_name, 0), CATEGORY_RANKS.get(score.category, 0)

    by_image: dict[int, list[PersonScore]] = {}
    taken: dict[int, tuple[_Drop, Any]] = {}
    for row in rows:
        score = person_score_of(row)
        by_image.setdefault(score.image_id, []).append(score)
        taken[score.image_id] = _drop(row), row.imaged_at
    best: dict[_Drop, tuple[Any, PersonScore]] = {}
    for image_id, scores in by_image.items():
        drop, imaged_at = taken[image_id]
        score = effective_human_score(scores)
        if score is not None and (drop not in best or rank(score) > rank(best[drop][1])):
            best[drop] = imaged_at, score
    return best
