"""Scores go back into the imaging database: one transaction, insert if absent, safe to repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from resources.categories import Probabilities
from resources.errors import ConfigurationError
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import (
    c4_image_failures,
    c4_scorer_versions,
    images,
    score_classes,
    scores,
)
from resources.imaging_database.statements import batches, insert_absent


@dataclass(frozen=True)
class MachineScore:
    """What a scorer version says of one image. ``probabilities`` are clear, crystals, other, precipitate."""

    image_id: int
    category: str
    crystal: bool
    probabilities: Probabilities
    scored_at: datetime


@dataclass(frozen=True)
class FailedAttempt:
    """One attempt that ended without a score. ``failed_at`` tells one attempt from another."""

    image_id: int
    reason: str
    failed_at: datetime


@dataclass(frozen=True)
class Written:
    """What :func:`write_back` did, in images."""

    scores: int
    already_scored: int
    failures: int
    withdrawn: int
    """Images that the database no longer lists."""


def write_back(
    database: ImagingDatabase,
    scorer_version: dict[str, Any],
    machine_scores: Sequence[MachineScore],
    failed: Sequence[FailedAttempt],
    run_id: str,
) -> Written:
    """Writes scores and failures of one scorer version in one transaction.

    A score that is there stays as it is, so repeating the call, or making it twice at once, changes nothing. An
    attempt is counted once however often it is reported, and forgotten when the image has a score.

    Args:
        scorer_version: the row of ``c4_scorer_versions``.

    Raises:
        ConfigurationError: ``score_classes`` lacks a category.
        Unavailable: the database failed; nothing was written.
    """
    version = scorer_version["name"]
    # Every writer takes the images in the same order: two of them can wait for each other, but not both at once.
    machine_scores = sorted(machine_scores, key=lambda score: score.image_id)
    failed = sorted(failed, key=lambda attempt: attempt.image_id)
    with database.writing() as connection:
        insert_absent(connection, c4_scorer_versions, [scorer_version])
        classes = _class_ids(connection, {score.category for score in machine_scores})
        listed = _listed(connection, [row.image_id for row in (*machine_scores, *failed)])
        rows = [_row(s, version, classes, run_id) for s in machine_scores if s.image_id in listed]
        written = insert_absent(connection, scores, rows)
        attempts = [attempt for attempt in failed if attempt.image_id in listed]
        for attempt in attempts:
            _count_attempt(connection, version, attempt)
        for batch in batches([row["image_id"] for row in rows]):
            connection.execute(
                c4_image_failures.delete().where(
                    c4_image_failures.c.scorer_version == version, c4_image_failures.c.image_id.in_(batch)
                )
            )
    return Written(
        scores=written,
        already_scored=len(rows) - written,
        failures=len(attempts),
        withdrawn=len(machine_scores) + len(failed) - len(rows) - len(attempts),
    )


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


def _listed(connection: Connection, image_ids: list[int]) -> set[int]:
    found: set[int] = set()
    for batch in batches(image_ids):
        found.update(connection.scalars(select(images.c.id).where(images.c.id.in_(batch))))
    return found


def _count_attempt(connection: Connection, version: str, attempt: FailedAttempt) -> None:
    failure = c4_image_failures
    row = {
        "image_id": attempt.image_id,
        "scorer_version": version,
        "reason": attempt.reason[:1000],
        "attempts": 1,
        "failed_at": attempt.failed_at,
    }
    if not insert_absent(connection, failure, [row]):
        connection.execute(
            failure.update()
            .where(failure.c.image_id == attempt.image_id, failure.c.scorer_version == version)
            .where(failure.c.failed_at < attempt.failed_at)
            .values(attempts=failure.c.attempts + 1, reason=row["reason"], failed_at=attempt.failed_at)
        )
