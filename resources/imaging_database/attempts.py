"""What a failed attempt at an image means for the next one: counted, waited for, or given up. Pure functions.

Only what is wrong with the file itself counts as an attempt. A file that is absent is waited for, because lists of
images are often ahead of the files, and a store that refuses or fails says nothing of the image.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.records import Problem

POLL = timedelta(minutes=50)
"""Shortest wait for an absent file: an hourly poll finds it over."""

DAY = timedelta(days=1)
"""Longest wait for a file that may still come."""

WEEK = timedelta(weeks=1)
"""Wait for a file that has long been absent."""

STORE_PATIENCE = timedelta(hours=6)
"""Longest wait for a store that refuses or fails: it is mended at some time of the day."""


@dataclass(frozen=True)
class Failing:
    """What is known of an image that has failed, as ``c4_image_failures`` has it.

    ``attempts`` are those that count; all are used up at ``runs.max_attempts``. The image is not asked for before
    ``retry_at``; ``given_up`` is true for an absent file that nobody expects any more.
    """

    attempts: int
    first_failed_at: datetime
    retry_at: datetime | None
    given_up: bool


NEVER_FAILED: tuple[int, datetime | None] = (0, None)


def failing(
    before: tuple[int, datetime | None],
    problem: Problem,
    at: datetime,
    imaged_at: datetime | None = None,
    absent_days: int = 7,
    given_up: bool = False,
) -> Failing:
    """What is known of an image after another failed attempt.

    A wait is as long as the trouble has lasted, so waits double: from an hour to a day for an absent file, and to a
    week when it has been absent for ``absent_days`` and is given up.

    Args:
        before: attempts that count and the time of the first failure, or :data:`NEVER_FAILED`.
        at: time of the attempt.
        imaged_at: time of the inspection, where the database has one.
        absent_days: age in days of an inspection from which an absent file is given up.
        given_up: the file was given up before. What a store refuses tells nothing of that.
    """
    attempts, first = before
    first = min(first or at, at)
    lasted = at - first
    if problem is Problem.FILE:
        return Failing(attempts + 1, first, None, given_up=False)
    if problem is Problem.STORE:
        return Failing(attempts, first, at + min(lasted, STORE_PATIENCE), given_up)
    expected = timedelta(days=absent_days)
    is_given_up = at - min(first, imaged_at or first) >= expected
    longest = WEEK if is_given_up and lasted >= expected else DAY
    return Failing(attempts, first, at + min(max(lasted, POLL), longest), is_given_up)
