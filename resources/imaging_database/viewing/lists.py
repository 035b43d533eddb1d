"""Lists of images across plates: the likeliest crystals, crystals that one side missed, and a person's own scores."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import (
    IMAGE_COLUMNS,
    IS_NAMED,
    image_of,
    is_dated,
    whole_number,
    with_plates,
)
from resources.imaging_database.schema import images, inspections, scores
from resources.imaging_database.viewing.cursors import Cursor, beyond
from resources.imaging_database.viewing.models import (
    MODEL_COLUMNS,
    is_score_of,
    machine,
    machine_class,
    model_score_of,
)
from resources.imaging_database.viewing.people import (
    human_class,
    is_later,
    is_of_image,
    people_of,
    person_columns,
    person_score_of,
    said_in,
)
from resources.imaging_database.viewing.records import GivenScore, ListedImage, Opposed, Page
from resources.imaging_database.viewing.relations import Viewer, site_relations, visible_to
from resources.records import CATEGORIES, CRYSTALS

_CRYSTALS = CATEGORIES[CRYSTALS]


def likeliest_crystals(
    database: ImagingDatabase,
    scorer_version: str,
    since: datetime,
    until: datetime,
    who: Viewer,
    minimum: float = 0.0,
    before: Cursor | None = None,
    only_unscored: bool = False,
    most: int = 50,
) -> Page[ListedImage]:
    """Images that a scorer version flags as crystals, the likeliest first, of all plates.

    Args:
        since, until: times at which they were scored, ``until`` excluded.
        minimum: the least probability of crystals.
        before: the ``after`` of the page before this one.
        only_unscored: only those of which no person's score stands.
    """
    # Ordered before anything is joined: an index alone answers it, and only the rows of the page are looked up.
    flagged = (
        select(scores.c.image_id, scores.c.p_crystals)
        .where(scores.c.scorer_version == scorer_version, scores.c.crystal == true())
        .where(scores.c.scored_at >= since, scores.c.scored_at < until, scores.c.p_crystals >= minimum)
        .where(beyond(before, scores.c.p_crystals, scores.c.image_id))
        .order_by(scores.c.p_crystals.desc(), scores.c.image_id.desc())
        .subquery("flagged")
    )
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        query = _with_images(flagged, images.c.id == flagged.c.image_id).where(visible_to(who, relations))
        query = _with_model(query, scorer_version, needed=True)
        if only_unscored:
            said = said_in(relations)
            human = said.rows
            query = query.where(~exists().where(is_of_image(human), said.stands()))
        query = query.order_by(flagged.c.p_crystals.desc(), flagged.c.image_id.desc()).limit(most)
        rows = connection.execute(query).all()
        people = people_of(connection, relations, [row.image_id for row in rows])
    found: dict[int, ListedImage] = {}
    for row in rows:
        if model := model_score_of(row):
            listed = image_of(row)
            said = people.get(listed.image_id, ())
            found[listed.image_id] = ListedImage(listed, row.imaged_at, model, said)
    after = Cursor(float(rows[-1].p_crystals), whole_number(rows[-1].image_id)) if len(rows) == most else None
    return Page(list(found.values()), after)


def missed_crystals(
    database: ImagingDatabase,
    scorer_version: str,
    since: datetime,
    until: datetime,
    who: Viewer,
    missed_by: Literal["machine", "people"] = "machine",
    before: Cursor | None = None,
    most: int = 50,
) -> Page[Opposed]:
    """Images that people call crystals and the scorer version does not, or the other way round, as Ashes has them:
    by the category of the newest human score that stands. The newest score first.

    Args:
        since, until: times at which the human score was given, ``until`` excluded.
        missed_by: who did not see the crystals.
        before: the ``after`` of the page before this one.
    """
    by_people, by_machine = human_class.c.category == _CRYSTALS, machine_class.c.category == _CRYSTALS
    opposed = and_(by_people, ~by_machine) if missed_by == "machine" else and_(~by_people, by_machine)
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        said = said_in(relations)
        human = said.rows
        later = said_in(relations, "later")
        is_newest = ~exists().where(
            later.rows.c.image_id == human.c.image_id, is_later(later.rows, human), later.stands()
        )
        query = _with_images(human, is_of_image(human)).add_columns(*person_columns(human))
        query = _with_model(query, scorer_version, needed=True).outerjoin(
            human_class, human_class.c.id == human.c.score_class_id
        )
        query = query.where(human.c.scored_at >= since, human.c.scored_at < until, opposed)
        query = query.where(said.stands(), is_newest, visible_to(who, relations))
        rows = connection.execute(_newest_given(query, human, before, most)).all()
    found: dict[int, Opposed] = {}
    for row in rows:
        if model := model_score_of(row):
            found[whole_number(row.image_id)] = Opposed(image_of(row), row.imaged_at, person_score_of(row), model)
    return Page(list(found.values()), _after(rows, most))


def scores_of_person(
    database: ImagingDatabase,
    names: Collection[str],
    scorer_version: str,
    who: Viewer,
    before: Cursor | None = None,
    most: int = 50,
) -> Page[GivenScore]:
    """What one person has said, the newest first; withdrawals are rows of it.

    Args:
        names: what the person is called in the database: at most 1,000 names.
        before: the ``after`` of the page before this one.
    """
    with database.reading("view") as connection:
        relations = site_relations(database, connection)
        said = said_in(relations)
        human = said.rows
        query = _with_images(human, is_of_image(human)).add_columns(*person_columns(human))
        query = _with_model(query, scorer_version, needed=False).outerjoin(
            human_class, human_class.c.id == human.c.score_class_id
        )
        query = query.where(human.c.written_as.in_(sorted(names)), visible_to(who, relations))
        rows = connection.execute(_newest_given(query, human, before, most)).all()
    given = {
        row.score_id: GivenScore(image_of(row), row.imaged_at, person_score_of(row), model_score_of(row))
        for row in rows
    }
    return Page(list(given.values()), _after(rows, most))


def _with_images(of: FromClause, is_its: ColumnElement[bool]) -> Select[Any]:
    """A query over images that are listed with a number and a day, beginning with what leads to them."""
    query = (
        select(*IMAGE_COLUMNS, inspections.c.imaged_at)
        .join_from(of, images, is_its)
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .where(IS_NAMED, is_dated())
    )
    return with_plates(query)


def _with_model(query: Select[Any], scorer_version: str, needed: bool) -> Select[Any]:
    return (
        query.add_columns(*MODEL_COLUMNS)
        .join(machine, is_score_of(scorer_version), isouter=not needed)
        .outerjoin(machine_class, machine_class.c.id == machine.c.score_class_id)
    )


def _newest_given(query: Select[Any], human: FromClause, before: Cursor | None, most: int) -> Select[Any]:
    return (
        query.where(beyond(before, human.c.scored_at, human.c.id))
        .order_by(human.c.scored_at.desc(), human.c.id.desc())
        .limit(most)
    )


def _after(rows: Any, most: int) -> Cursor | None:
    return Cursor(rows[-1].said_at, whole_number(rows[-1].score_id)) if len(rows) == most else None
