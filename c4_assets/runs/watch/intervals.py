"""What is done once in a while: when it is time again."""

from datetime import datetime, timedelta


def is_time(every: timedelta, last: str, now: datetime) -> bool:
    """Whether so much time has passed since a moment, or the clock was put back to before it.

    What was done at a moment that is still to come must not wait until then.

    Args:
        last: as :meth:`datetime.datetime.isoformat` writes it.
    """
    return not timedelta(0) <= now - datetime.fromisoformat(last) < every
