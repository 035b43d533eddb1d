"""What a person says of drops on C4's pages: rows of ``scores`` that are only ever added.

Nothing is overwritten, so two people never undo each other's work: both rows stand, the newest counts, and whoever was
not shown the other's score hears of it. A request that is sent again writes nothing again: it first enters its number,
made by the page, into ``c4_score_requests``, whose key lets one of several transactions through.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select

from resources.errors import ConfigurationError, DataError
from resources.imaging_database.audit import Action, Actor, write_audit
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.human_scores import HumanScores, standing
from resources.imaging_database.listed import is_dated, is_numbered, usable_text, whole_number
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.people_tables import c4_score_requests
from resources.imaging_database.schema import images, score_classes, scores
from resources.imaging_database.statements import among, insert_absent
from resources.records import WITHDRAWN_CLASS


@dataclass(frozen=True)
class Said:
    """A row of what people said of an image. One that ``withdraws`` takes back what its person said before."""

    score_id: int
    image_id: int
    person: str
    score_class_id: int
    withdraws: bool
    scored_at: datetime
    request_id: str | None


@dataclass(frozen=True)
class Changed:
    """An image whose score is not the one that the person was shown.

    Attributes:
        seen: number of the score that was shown; ``None`` where none was.
        now: the score that counted when this person's was entered; ``None`` where that was taken back.
    """

    image_id: int
    seen: int | None
    now: Said | None


@dataclass(frozen=True)
class Entered:
    """What became of a request.

    Attributes:
        score_ids: numbers of the rows that the request wrote, by image.
        changed: images that somebody has scored since the page was made. The person's score is entered all the same.
        repeated: the request had come before, and wrote nothing this time.
    """

    score_ids: Mapping[int, int]
    changed: tuple[Changed, ...]
    repeated: bool


def score_images(
    database: ImagingDatabase,
    actor: Actor,
    classes: Mapping[int, int | None],
    at: datetime,
    request_id: str,
    seen: Mapping[int, int | None],
) -> Entered:
    """Enters a person's scores: all of them, once, however often and from wherever the request comes.

    Args:
        actor: the person and the address.
        classes: numbers of classes by image; ``None`` takes back what the person said of the image.
        at: the time, at which the row counts. A person's later row never counts as the earlier one.
        request_id: a UUID that the page made for this request.
        seen: by image, the number of the score that counted when the page was made, ``None`` for none. Images that are
            not named are not compared. Of two requests in the same moment, neither may see the other.

    Raises:
        DataError: the request's number is no UUID or somebody else's; an image or a class is not listed.
        ConfigurationError: a score is to be taken back, and the classes have none for it.
        Unavailable: the database does not answer; nothing was entered, or it is found entered when the request is sent
            again.
    """
    request_id = _uuid(request_id)
    with database.writing("score") as connection:
        human = HumanScores.of(connection)
        is_first = _claim(connection, actor, at, request_id)
        before = said_of(connection, human, classes, but=request_id)
        if is_first:
            _insert(connection, actor, classes, at, request_id, before)
            write_audit(connection, Action.SCORE, actor, at, request_id, {"images": len(classes)})
        counting = {image_id: effective(before.get(image_id, ())) for image_id in seen.keys() & classes.keys()}
        changed = tuple(
            Changed(image_id, seen[image_id], now)
            for image_id, now in sorted(counting.items())
            if (now.score_id if now else None) != seen[image_id]
        )
        return Entered(_written(connection, human, classes, request_id), changed, not is_first)


def undo(
    database: ImagingDatabase, actor: Actor, undone: str, image_ids: Collection[int], at: datetime, request_id: str
) -> Entered:
    """Takes a request back: what the person said of the images before it counts again, or nothing of that person.

    An image is passed over where the person has said something since that was not undone.

    Args:
        undone: the request that is taken back. Once, however many ask for it.
        image_ids: the images that it scored.

    Raises: as :func:`score_images`.
    """
    request_id, undone = _uuid(request_id), _uuid(undone)
    with database.writing("undo") as connection:
        human = HumanScores.of(connection)
        is_first = _claim(connection, actor, at, request_id, undone)
        if is_first:
            before = said_of(connection, human, image_ids)
            classes = _classes_before(connection, actor, before, undone)
            _insert(connection, actor, classes, at, request_id, before)
            write_audit(connection, Action.UNDO, actor, at, undone, {"images": len(classes)})
        return Entered(_written(connection, human, image_ids, request_id), (), not is_first)


def effective(rows: Sequence[Said]) -> Said | None:
    """What people say of an image: the newest of its rows, given the newest first, that was not taken back."""
    return next(iter(standing(rows)), None)


def said_of(
    connection: Connection, human: HumanScores, image_ids: Collection[int], but: str = ""
) -> dict[int, list[Said]]:
    """All that people said of the images, the newest first, without what the request ``but`` wrote."""
    rows = human.rows.c
    query = (
        select(human.rows, score_classes.c.name.label("class_name"))
        .join(images, images.c.id == rows.image_id)
        .outerjoin(score_classes, score_classes.c.id == rows.score_class_id)
        .where(is_dated(rows.scored_at), is_numbered(rows.id), at_its_place(rows.image_path))
        .order_by(rows.scored_at.desc(), rows.id.desc())
    )
    found: dict[int, dict[int, Said]] = {}
    for these in among(connection, rows.image_id, sorted(image_ids)):
        for row in connection.execute(query.where(these)):
            said = Said(
                int(row.id),
                int(row.image_id),
                usable_text(row.scorer),
                whole_number(row.score_class_id),
                row.class_name == WITHDRAWN_CLASS,
                row.scored_at,
                row.request_id,
            )
            if said.request_id is None or said.request_id != but:
                found.setdefault(said.image_id, {})[said.score_id] = said  # a view may list an image twice
    return {image_id: list(said.values()) for image_id, said in found.items()}


def _claim(connection: Connection, actor: Actor, at: datetime, request_id: str, undoes: str | None = None) -> bool:
    """Whether this transaction is the one that does what the request asks for. Others wait for its end.

    Raises:
        DataError: the request, or the one that it takes back, is another person's.
    """
    request = c4_score_requests
    row = {"request_id": request_id, "person": actor.person, "made_at": at, "undoes": undoes}
    is_first = insert_absent(connection, request, [row]) == 1
    known = select(request.c.person).where(request.c.request_id.in_([each for each in (request_id, undoes) if each]))
    whose = set(connection.scalars(known))
    if whose - {actor.person}:
        raise DataError("The request is another person's. Nothing was entered.")
    return is_first


def _classes_before(
    connection: Connection, actor: Actor, before: Mapping[int, Sequence[Said]], undone: str
) -> dict[int, int | None]:
    own = {image_id: [row for row in rows if row.person == actor.person] for image_id, rows in before.items()}
    requests = sorted({row.request_id for rows in own.values() for row in rows if row.request_id})
    void: set[str] = set()
    for these in among(connection, c4_score_requests.c.request_id, requests):
        query = select(c4_score_requests.c.request_id, c4_score_requests.c.undoes)
        for row in connection.execute(query.where(these, c4_score_requests.c.undoes.is_not(None))):
            void |= {row.request_id, row.undoes}
    classes: dict[int, int | None] = {}
    for image_id, rows in own.items():
        in_force = [row for row in rows if row.request_id not in void]
        if in_force and in_force[0].request_id == undone:
            before_it = next(iter(in_force[1:]), None)
            classes[image_id] = None if before_it is None or before_it.withdraws else before_it.score_class_id
    return classes


def _insert(
    connection: Connection,
    actor: Actor,
    classes: Mapping[int, int | None],
    at: datetime,
    request_id: str,
    before: Mapping[int, Sequence[Said]],
) -> None:
    paths = _paths(connection, classes)
    class_ids = _class_ids(connection, classes)
    rows = [
        {
            "image_id": image_id,
            "score_class_id": class_ids[class_id],
            "scorer": actor.person,
            # A clock that was set back, or another machine's, must not put this before what the person said last.
            "scored_at": max([at, *(row.scored_at for row in before.get(image_id, ()) if row.person == actor.person)]),
            "image_path": paths[image_id],
            "request_id": request_id,
        }
        for image_id, class_id in sorted(classes.items())
    ]
    if rows:
        connection.execute(scores.insert(), rows)


def _paths(connection: Connection, image_ids: Collection[int]) -> dict[int, str | None]:
    found: dict[int, str | None] = {}
    for these in among(connection, images.c.id, sorted(image_ids)):
        # A site's view may list an image at several places.
        query = select(images.c.id, func.min(images.c.path).label("path")).where(these).group_by(images.c.id)
        found.update((row.id, row.path or None) for row in connection.execute(query))
    if missing := sorted(set(image_ids) - found.keys()):
        raise DataError(f"There is no image {missing[0]}. Nothing was entered.")
    return found


def _class_ids(connection: Connection, classes: Mapping[int, int | None]) -> dict[int | None, int]:
    wanted = {each for each in classes.values() if each is not None}
    known: set[int] = set()
    for these in among(connection, score_classes.c.id, sorted(wanted)):
        known.update(connection.scalars(select(score_classes.c.id).where(these)))
    if missing := sorted(wanted - known):
        raise DataError(f"There is no class {missing[0]}. Nothing was entered.")
    found: dict[int | None, int] = {each: each for each in wanted}
    if None in classes.values():
        withdrawn = select(func.min(score_classes.c.id)).where(score_classes.c.name == WITHDRAWN_CLASS)
        number = connection.scalar(withdrawn)
        if number is None:
            raise ConfigurationError(
                f"The table score_classes has no class named {WITHDRAWN_CLASS}, which takes a score back: run `c4 db "
                "seed-classes`, or add it to the view."
            )
        found[None] = number
    return found


def _written(connection: Connection, human: HumanScores, image_ids: Collection[int], request_id: str) -> dict[int, int]:
    rows = human.rows.c
    found: dict[int, int] = {}
    for these in among(connection, rows.image_id, sorted(image_ids)):
        query = select(rows.image_id, rows.id).where(these, rows.request_id == request_id)
        found.update((row.image_id, int(row.id)) for row in connection.execute(query))
    return found


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError as error:
        raise DataError("The number of the request is no UUID. Nothing was entered.") from error
