"""Scores go back into the imaging database: one transaction, insert if absent, safe to repeat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, Select, bindparam, select

from resources.errors import ConfigurationError
from resources.imaging_database.attempts import NEVER_FAILED, failing
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import time_if_dated
from resources.imaging_database.schema import (
    c4_image_failures,
    c4_scorer_versions,
    images,
    inspections,
    score_classes,
    scores,
)
from resources.imaging_database.statements import among, insert_absent
from resources.imaging_database.superseded import (
    retire,
    scores_of_other_files,
    scores_of_other_places,
    scores_of_replaced_files,
    supersede,
)
from resources.records import Probabilities, Problem


@dataclass(frozen=True)
class MachineScore:
    """What a scorer version says of one image. ``probabilities`` are clear, crystals, other, precipitate.

    ``path`` and ``sha256`` say which file was scored, where that is known.
    """

    image_id: int
    category: str
    crystal: bool
    probabilities: Probabilities
    scored_at: datetime
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class FailedAttempt:
    """One attempt that ended without a score. ``failed_at`` tells one attempt from another.

    ``path`` and ``sha256`` say which file was tried, where that is known; ``problem`` says whose matter it is.
    """

    image_id: int
    reason: str
    failed_at: datetime
    path: str | None = None
    sha256: str | None = None
    problem: Problem = Problem.FILE


@dataclass(frozen=True)
class Written:
    """What :func:`write_back` did, in images."""

    scores: int
    already_scored: int
    failures: int
    no_longer_listed: int
    """Images that the database no longer lists, or lists under another path: the number is another image's by now."""
    superseded: int = 0
    """Scores of files that the image does not have any more: they are in ``c4_superseded_scores`` now."""
    given_up: tuple[int, ...] = ()
    """Numbers of the images that nobody tries or waits for any more, and did before."""


def write_back(
    database: ImagingDatabase,
    scorer_version: dict[str, Any],
    machine_scores: Sequence[MachineScore],
    failed: Sequence[FailedAttempt],
    run_id: str,
    listed_ids: Sequence[int] = (),
    absent_days: int = 7,
    max_attempts: int = 3,
) -> Written:
    """Writes scores and failures of one scorer version in one transaction.

    A score that is there stays as it is, so repeating the call, or making it twice at once, changes nothing. An
    attempt is counted once however often it is reported, and forgotten when the image has a score. A score of another
    file than the image has now, or of another image that had its number, goes to ``c4_superseded_scores``.

    Args:
        scorer_version: the row of ``c4_scorer_versions``.
        listed_ids: images whose scores are looked at for that, beside those that are written.
        absent_days: see :func:`resources.imaging_database.attempts.failing`, which says what an attempt means.
        max_attempts: attempts that count after which an image is given up.

    Raises:
        ConfigurationError: ``score_classes`` lacks a category.
        Unavailable, DataError: the database failed or does not take a value; nothing was written.
    """
    version = scorer_version["name"]
    # Every writer takes the images in the same order: two of them can wait for each other, but not both at once.
    machine_scores = sorted(machine_scores, key=lambda score: score.image_id)
    failed = sorted(failed, key=lambda attempt: attempt.image_id)
    scored_ids = [score.image_id for score in machine_scores]
    with database.writing("write back") as connection:
        insert_absent(connection, c4_scorer_versions, [scorer_version])
        classes = _class_ids(connection, {score.category for score in machine_scores})
        listed = _listed(connection, [*scored_ids, *(attempt.image_id for attempt in failed)])
        rows = [_row(s, version, classes, run_id) for s in machine_scores if _is_listed(s, listed)]
        known = scores_of_other_files(connection, version, rows)
        # Most of a day that is written again is there. What another run writes meanwhile, the constraint keeps out.
        written = insert_absent(connection, scores, [row for row in rows if row["image_id"] not in known])
        superseded = supersede(connection, version, [row for row in rows if known.get(row["image_id"])])
        attempts = [attempt for attempt in failed if _is_listed(attempt, listed)]
        superseded_too = _retire_others(
            connection, version, {*listed_ids} - {row["image_id"] for row in rows}, attempts
        )
        failing_now = _keep_failures(connection, version, [row["image_id"] for row in rows], attempts, absent_days)
    return Written(
        scores=written + superseded,
        superseded=superseded + superseded_too,
        already_scored=len(rows) - written - superseded,
        failures=len(attempts),
        no_longer_listed=len(machine_scores) + len(failed) - len(rows) - len(attempts),
        given_up=tuple(
            now["image_id"]
            for before, now in failing_now
            if _is_given_up(now, max_attempts) and not (before and _is_given_up(before, max_attempts))
        ),
    )


def _is_given_up(failure: Mapping[str, Any] | RowMapping, max_attempts: int) -> bool:
    return bool(failure["given_up"]) or failure["attempts"] >= max_attempts


def _retire_others(connection: Connection, version: str, image_ids: set[int], attempts: Sequence[FailedAttempt]) -> int:
    tried = {each.image_id: (each.sha256, each.failed_at) for each in attempts if each.sha256 is not None}
    elsewhere = scores_of_other_places(connection, version, sorted(image_ids))
    return retire(connection, version, elsewhere | scores_of_replaced_files(connection, version, tried))


def _row(score: MachineScore, version: str, classes: dict[str, int], run_id: str) -> dict[str, Any]:
    clear, crystals, other, precipitate = score.probabilities
    return {
        "image_id": score.image_id,
        "score_class_id": classes[score.category],
        "scorer": version,
        "scored_at": score.scored_at,
        "scorer_version": version,
        "crystal": score.crystal,
        "p_clear": clear,
        "p_crystals": crystals,
        "p_other": other,
        "p_precipitate": precipitate,
        "run_id": run_id,
        "image_sha256": score.sha256,
        "image_path": score.path,
    }


def _class_ids(connection: Connection, categories: set[str]) -> dict[str, int]:
    query = select(score_classes.c.name, score_classes.c.id).where(score_classes.c.name.in_(categories))
    found = {row.name: row.id for row in connection.execute(query)}
    if missing := sorted(categories - set(found)):
        raise ConfigurationError(
            f"The table score_classes has no class named {', '.join(missing)}. Machine scores need one a category: "
            "run `c4 db seed-classes`."
        )
    return found


def _listed(connection: Connection, image_ids: list[int]) -> dict[int, set[str]]:
    """The paths of those of the images that are listed. A site's view may list one image at several places."""
    found: dict[int, set[str]] = {}
    for these in among(connection, images.c.id, sorted(set(image_ids))):
        for row in connection.execute(select(images.c.id, images.c.path).where(these).order_by(images.c.id)):
            found.setdefault(row.id, set()).add(row.path)
    return found


def _is_listed(what: MachineScore | FailedAttempt, listed: Mapping[int, set[str]]) -> bool:
    """Whether the database lists the image still, and at the place where its file was found."""
    return what.image_id in listed and (not what.path or what.path in listed[what.image_id])


def _found(connection: Connection, query: Select[tuple[int]], column: Column[int], image_ids: list[int]) -> set[int]:
    """Those of the images that a query selects."""
    found: set[int] = set()
    for these in among(connection, column, sorted(image_ids)):
        found.update(connection.scalars(query.where(these).order_by(column)))
    return found


def _keep_failures(
    connection: Connection, version: str, scored: list[int], attempts: Sequence[FailedAttempt], absent_days: int
) -> list[tuple[RowMapping | None, Mapping[str, Any]]]:
    """Keeps what attempts mean for the next ones, and forgets those of images that have a score.

    Returns:
        The rows of the images whose attempts were not reported before, as they were and as they are.
    """
    failure = c4_image_failures
    of_version = select(failure.c.image_id).where(failure.c.scorer_version == version)
    tried = [attempt.image_id for attempt in attempts]
    # Locked in one order before anything is changed, or one writer's attempts and another one's scores could cross.
    known = _found(connection, of_version.with_for_update(), failure.c.image_id, [*scored, *tried])
    imaged_at = _imaging_times(connection, tried)
    first = [_failure(version, each, None, imaged_at, absent_days) for each in attempts]
    kept: list[tuple[RowMapping | None, Mapping[str, Any]]] = []
    if first:
        insert_absent(connection, failure, first)
        # Only what changes is locked: other writers may hold the rest in another order.
        again = [attempt for attempt, _ in _failed_before(connection, version, attempts)]
        changed = _failed_before(connection, version, again, locked=True)
        replaced = [(row, _failure(version, attempt, row, imaged_at, absent_days)) for attempt, row in changed]
        _replace_failures(connection, [row for _, row in replaced])
        kept = [*((None, row) for row in first if row["image_id"] not in known), *replaced]
    for these in among(connection, failure.c.image_id, sorted(known & set(scored))):
        connection.execute(failure.delete().where(failure.c.scorer_version == version, these))
    return kept


def _imaging_times(connection: Connection, image_ids: Sequence[int]) -> dict[int, datetime | None]:
    found: dict[int, datetime | None] = {}
    for these in among(connection, images.c.id, image_ids):
        query = select(images.c.id, time_if_dated().label("imaged_at")).join(
            inspections, inspections.c.id == images.c.inspection_id
        )
        found.update((row.id, row.imaged_at) for row in connection.execute(query.where(these)))
    return found


def _failed_before(
    connection: Connection, version: str, attempts: Sequence[FailedAttempt], locked: bool = False
) -> list[tuple[FailedAttempt, RowMapping]]:
    """The attempts at images that have failed before, with what is known of these, unless they have been reported."""
    failure = c4_image_failures
    stored: dict[int, RowMapping] = {}
    for these in among(connection, failure.c.image_id, [attempt.image_id for attempt in attempts]):
        query = select(failure).where(failure.c.scorer_version == version, these).order_by(failure.c.image_id)
        rows = connection.execute(query.with_for_update() if locked else query).mappings()
        stored.update((row["image_id"], row) for row in rows)
    # A row is gone where another writer has the image's score by now.
    known = [(attempt, row) for attempt in attempts if (row := stored.get(attempt.image_id))]
    return [(attempt, row) for attempt, row in known if attempt.failed_at > row["failed_at"]]


def _replace_failures(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    failure = c4_image_failures
    keys = ("image_id", "scorer_version")
    changed = [name for name in rows[0] if name not in keys]
    statement = (
        failure.update()
        .where(*(failure.c[name] == bindparam(f"its_{name}") for name in keys))
        .values({name: bindparam(f"new_{name}") for name in changed})
    )
    values = [{f"{'its' if name in keys else 'new'}_{name}": value for name, value in row.items()} for row in rows]
    connection.execute(statement, values)


def _failure(
    version: str,
    attempt: FailedAttempt,
    known: RowMapping | None,
    imaged_at: Mapping[int, datetime | None],
    absent_days: int,
) -> dict[str, Any]:
    """The row of an image that was tried, after what is known of it."""
    before, given_up = NEVER_FAILED, False
    # Attempts at another place are another image's, which had the number before.
    if known and (None in (known["image_path"], attempt.path) or known["image_path"] == attempt.path):
        before = known["attempts"], known["first_failed_at"] or known["failed_at"]
        given_up = bool(known["given_up"])
    its_time = imaged_at.get(attempt.image_id)
    now = failing(before, attempt.problem, attempt.failed_at, its_time, absent_days, given_up)
    # A reason may quote a damaged file. PostgreSQL takes neither NUL nor half a character, Oracle no empty text.
    printable = attempt.reason.replace("\0", "").encode(errors="replace").decode()
    return {
        "image_id": attempt.image_id,
        "scorer_version": version,
        "reason": printable[:1000] or "no reason was given",
        "failed_at": attempt.failed_at,
        "image_path": attempt.path or None,  # an image may be listed without one
        "problem": attempt.problem.value,
        **vars(now),
    }
