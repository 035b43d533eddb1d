"""Which images a run tries, as conditions of SQL over ``images``."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, exists, or_, true

from resources.imaging_database.schema import c4_image_failures, images, scores


def unscored(scorer_version: str) -> ColumnElement[bool]:
    """The image has no score of the scorer version: an index alone answers it."""
    return ~exists().where(scores.c.image_id == images.c.id, scores.c.scorer_version == scorer_version)


def has_failed(max_attempts: int) -> ColumnElement[bool]:
    """Of a row of ``c4_image_failures``: its attempts are used up, or its file is not expected any more."""
    failure = c4_image_failures.c
    return or_(failure.attempts >= max_attempts, and_(failure.given_up.is_not(None), failure.given_up == true()))


def is_left_alone(max_attempts: int, due_only: bool) -> ColumnElement[bool]:
    """Of a row of ``c4_image_failures``: the image is not tried, or not yet.

    A failed image whose file is absent is looked for when its time has come.

    Args:
        due_only: the image is left alone while it waits, too, and not only when it has failed.
    """
    retry_at = c4_image_failures.c.retry_at
    waits = and_(retry_at.is_not(None), retry_at > datetime.now(UTC))
    over = and_(has_failed(max_attempts), or_(retry_at.is_(None), waits))
    return or_(over, waits) if due_only else over


def no_failure(scorer_version: str, which: ColumnElement[bool]) -> ColumnElement[bool]:
    """The image has no row of the scorer version in ``c4_image_failures`` of which the condition holds."""
    failure = c4_image_failures.c
    return ~exists().where(failure.image_id == images.c.id, failure.scorer_version == scorer_version, which)


def at_its_place(path: ColumnElement[str]) -> ColumnElement[bool]:
    """What a row says, it says of the file at the place where the image is listed. Rows of release 0.1 and human scores
    that a LIMS enters do not say of which.
    """
    return or_(path.is_(None), path == images.c.path)


def pending_content(scorer_version: str, max_attempts: int, due_only: bool = False) -> ColumnElement[bool]:
    """As the poll's condition, but what was scored or given up at another place does not count.

    A number that is used again, after a backup was restored, is another image's: what a row says is not said of it.
    """
    left_alone = is_left_alone(max_attempts, due_only)
    return and_(
        ~exists().where(
            scores.c.image_id == images.c.id,
            scores.c.scorer_version == scorer_version,
            at_its_place(scores.c.image_path),
        ),
        no_failure(scorer_version, and_(left_alone, at_its_place(c4_image_failures.c.image_path))),
    )
