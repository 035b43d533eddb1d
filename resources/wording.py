"""Numbers and spans of time as people read them, in every message and page alike."""

from datetime import timedelta


def counted(number: int, one: str, several: str = "") -> str:
    """How many of something: ``1 image``, ``1,204 images``.

    Args:
        several: the plural, where it is not ``one`` with an s.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def duration(span: timedelta) -> str:
    """How long something took: ``45 s``, ``12 min``, ``7 h 40 min``, ``3 d 4 h``."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
