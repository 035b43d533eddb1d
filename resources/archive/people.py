"""Numbers for people: who is called what on pages that do not name anybody."""

import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from resources.atomic_write import atomic_write
from resources.file_lock import locked

LOCK_WAIT_S = 60

_logger = logging.getLogger("c4.people")


def numbers_of(file: Path, names: Iterable[str]) -> dict[str, int]:
    """The numbers of people, from 1. Whoever has none yet gets the next one, and keeps it for ever.

    Args:
        file: a JSON object of numbers by name, which this account alone may read. One that cannot be read is kept
            beside it, and numbers begin anew.

    Raises:
        OSError: the file cannot be written.
    """
    wanted = set(names)
    known = _parsed(file) or {}
    if wanted <= known.keys():
        return {name: known[name] for name in wanted}
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock"), LOCK_WAIT_S):
        known = _parsed(file) or {}
        new = sorted(wanted - known.keys())
        random.SystemRandom().shuffle(new)  # the order of an alphabet would give them away
        known |= {name: number for number, name in enumerate(new, max(known.values(), default=0) + 1)}
        if file.exists() and _parsed(file) is None:
            file.replace(file.with_suffix(".unreadable"))
            _logger.warning("%s could not be read and is kept as .unreadable: people have new numbers.", file)
        with atomic_write(file) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(known, indent=1, ensure_ascii=False), encoding="utf-8")
    return {name: known[name] for name in wanted}


def _parsed(file: Path) -> dict[str, int] | None:
    """What the file says; None where there is none, or none that can be read."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    known = cast("dict[str, Any]", found)
    return known if all(type(number) is int for number in known.values()) else None
