"""Whether a facility images as it usually does at this time of its week. Pure: times in, a verdict out."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil

WEEK = timedelta(weeks=1)

WEEKS_COMPARED = 8
"""Weeks that are compared with. A holiday of a fortnight is among them without making silence usual."""

LEAST_WEEKS = 4
"""Weeks of history from which there is a rhythm."""

BUSY_SHARE = 0.75
"""Share of those weeks that must have imaged in the same hours: two of eight may be holidays."""

LEAST_INSPECTIONS = 3
"""Inspections that such a week must have had in the same hours: one or two may come by chance."""

GRACE = timedelta(minutes=90)
"""How much earlier than usual imaging may end, and how much later begin: people do, and when clocks are put forward or
back, a week moves by an hour in UTC."""

LEAST_SILENCE = timedelta(hours=4)
"""Shortest silence that is told."""


@dataclass(frozen=True)
class Silence:
    """That nothing has been imaged in hours in which this facility usually does.

    Attributes:
        since: time of the newest inspection.
        usually: inspections in the same hours of an earlier week, the median of the weeks that had any.
    """

    since: datetime
    usually: int
    weeks: int


def unusual_silence(imaged_at: Sequence[datetime], now: datetime) -> Silence | None:
    """Whether nothing was imaged for longer than this facility's own rhythm leads to expect.

    The rule: from 90 minutes after the newest inspection until 90 minutes ago, at least three quarters of the last
    eight weeks (of those that history has, four at least) had three inspections or more **in the same hours of the
    week**. So nights, weekends and what else is quiet every week are no reason, at a facility that images around the
    clock a silence of four or five hours is, and a public holiday is told.

    Args:
        imaged_at: times of inspections, of the nine weeks before the newest one at least, in any order. Later ones than
            ``now`` are left out: an imager's clock may be ahead.
    """
    known = sorted(moment for moment in imaged_at if moment <= now)
    if not known:
        return None
    newest = known[-1]
    if now - newest < LEAST_SILENCE:
        return None
    first, last = newest + GRACE, now - GRACE
    counts = [
        bisect_right(known, last - WEEK * ago) - bisect_right(known, first - WEEK * ago)
        for ago in range(1, WEEKS_COMPARED + 1)
        if first - WEEK * ago >= known[0]
    ]
    busy = sorted(count for count in counts if count >= LEAST_INSPECTIONS)
    if len(counts) < LEAST_WEEKS or len(busy) < BUSY_SHARE * len(counts):
        return None
    return Silence(newest, busy[len(busy) // 2], len(counts))


@dataclass(frozen=True)
class Pauses:
    """The longest time without an inspection that a week has.

    Attributes:
        usual: what three quarters of the weeks do not exceed.
        longest: that of the week with the longest one.
    """

    usual: timedelta
    longest: timedelta


def longest_pauses(imaged_at: Sequence[datetime]) -> Pauses | None:
    """How long this facility pauses at nights, weekends and holidays. None if it has less than four weeks of history.

    A pause counts for the week in which it ends, of the eight weeks before the newest inspection.

    Args:
        imaged_at: times of inspections, in any order.
    """
    known = sorted(imaged_at)
    if not known or known[-1] - known[0] < LEAST_WEEKS * WEEK:
        return None
    longest: dict[int, timedelta] = {}
    for before, after in pairwise(known):
        week = (known[-1] - after) // WEEK
        if week < WEEKS_COMPARED:
            longest[week] = max(longest.get(week, timedelta()), after - before)
    by_length = sorted(longest.values())
    return Pauses(by_length[ceil(BUSY_SHARE * len(by_length)) - 1], by_length[-1])
