"""What people say of drops: from the table ``scores`` and, where a site has one, from its view ``human_scores``.

A row of the class :data:`~resources.records.WITHDRAWN_CLASS` is no label. It takes back all that the same person said
of the image before; what other people said counts again.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    and_,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import (
    END_OF_TIME,
    IMAGE_COLUMNS,
    IS_NAMED,
    image_of,
    is_dated,
    only_checked,
    usable_text,
    with_plates,
)
from resources.imaging_database.optional_views import has_relation
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.people_tables import c4_person_aliases
from resources.imaging_database.schema import human_scores, images, inspections, score_classes, scores
from resources.records import MAX_TEXT_LENGTH, PROBABILITY_COLUMNS, WITHDRAWN_CLASS, ScorePair

PAGES_OFFSET = 2**62
"""Added to the numbers of scores of C4's pages where a LIMS numbers others: the two never meet."""


class HumanScores:
    """The human scores of a database. A person whom the LIMS calls otherwise has the name of ``c4_people``.

    Args:
        in_view: the site has a relation ``human_scores``.
        name: of the rows, where a query has them several times.

    Attributes:
        rows: with the columns of :data:`~resources.imaging_database.schema.human_scores`, ``image_path``, which is
            empty where the row does not say of which file it is, ``request_id``, which scores of C4's pages have, and
            ``written_as``, the name that stands in the row itself.
    """

    def __init__(self, in_view: bool, name: str = "human") -> None:
        self._in_view = in_view
        self.rows: FromClause = (union_all(*self._sources()) if self._in_view else self._sources()[0]).subquery(name)

    @classmethod
    def of(cls, connection: Connection) -> "HumanScores":
        """Those of a database, after a look at what it has."""
        return cls(has_relation(connection, human_scores))

    def _sources(self) -> list[Select[Any]]:
        number = scores.c.id + PAGES_OFFSET if self._in_view else scores.c.id
        own = select(number.label("id"), *_said(scores), scores.c.image_path, scores.c.request_id)
        own = own.outerjoin(c4_person_aliases, c4_person_aliases.c.scorer == scores.c.scorer)
        own = own.where(scores.c.scorer_version.is_(None))
        if not self._in_view:
            return [own]
        path = cast(null(), String(MAX_TEXT_LENGTH)).label("image_path")
        request = cast(null(), String(36)).label("request_id")
        theirs = select(human_scores.c.id, *_said(human_scores), path, request)
        theirs = theirs.outerjoin(c4_person_aliases, c4_person_aliases.c.scorer == human_scores.c.scorer)
        return [theirs, own.where(scores.c.request_id.is_not(None))]

    def stands(self, until: datetime | None = None) -> ColumnElement[bool]:
        """Of one of the rows: it is a label, and its person has not taken it back, or not before ``until``."""
        row = self.rows.c
        conditions = [~_is_withdrawal(row.score_class_id)]
        for source in self._sources():
            later = source.subquery()
            after = or_(
                later.c.scored_at > row.scored_at, and_(later.c.scored_at == row.scored_at, later.c.id > row.id)
            )
            taken_back = exists().where(
                later.c.image_id == row.image_id,
                only_checked(and_(later.c.scorer == row.scorer, after, later.c.scored_at < (until or END_OF_TIME))),
                _is_at_its_place(later),
                _is_withdrawal(later.c.score_class_id),
            )
            conditions.append(~taken_back)
        return and_(*conditions)


class PersonsRow(Protocol):
    """A row of what people said of an image, read from the database."""

    @property
    def person(self) -> str:
        """Who said it."""
        ...

    @property
    def withdraws(self) -> bool:
        """Whether it takes back what the person said of the image before."""
        ...


Row = TypeVar("Row", bound=PersonsRow)


def standing(rows: Iterable[Row]) -> list[Row]:
    """As :meth:`HumanScores.stands`, of all that people said of one image, the newest first.

    A withdrawal takes back all that the same person has said before. What that person says later counts again.
    """
    found: list[Row] = []
    withdrawn_by: set[str] = set()
    for row in rows:
        if row.withdraws:
            withdrawn_by.add(row.person)
        elif row.person not in withdrawn_by:
            found.append(row)
    return found


def _said(source: FromClause) -> list[ColumnElement[Any]]:
    name = func.coalesce(c4_person_aliases.c.person, source.c.scorer).label("scorer")
    return [source.c.image_id, source.c.score_class_id, name, source.c.scored_at, source.c.scorer.label("written_as")]


def _is_at_its_place(row: FromClause) -> ColumnElement[bool]:
    """As :func:`~resources.imaging_database.pending.at_its_place`, of a row beside which no image stands."""
    there = exists().where(images.c.id == row.c.image_id, images.c.path == row.c.image_path)
    return or_(row.c.image_path.is_(None), there.correlate(row))


def _is_withdrawal(class_id: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(score_classes.c.id == class_id, score_classes.c.name == WITHDRAWN_CLASS)


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
        .where(is_dated(), IS_NAMED, at_its_place(human.c.image_path))
    )
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

    Later scores and withdrawals are ignored, so that a past week always gives the same answer. Two scores of the same
    moment count in the order in which they were entered.
    """
    with database.reading("ashes") as connection:
        human = HumanScores.of(connection)
        given = human.rows.c
        newest = (
            select(
                human.rows,
                func.row_number()
                .over(partition_by=given.image_id, order_by=(given.scored_at.desc(), given.id.desc()))
                .label("age"),
            )
            .where(given.scored_at >= since, given.scored_at < until, human.stands(until))
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
