"""Messages and state as JSON on disk: what is written is read again as it was."""

import base64
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from resources.atomic_write import atomic_write, sync

Kind = TypeVar("Kind")

log = logging.getLogger("c4.alerts")

_BYTES = "base64"


def to_json(value: Any) -> bytes:
    """A dataclass as JSON."""
    return json.dumps(asdict(value), default=_plain, ensure_ascii=False).encode("utf-8", "surrogatepass")


def from_json(kind: type[Kind], text: bytes) -> Kind:
    """A dataclass again.

    Raises:
        ValueError: it is not JSON of this kind.
    """
    return _adapter(kind).validate_python(json.loads(text.decode("utf-8", "surrogatepass"), object_hook=_rich))


@cache
def _adapter(kind: type[Kind]) -> TypeAdapter[Kind]:
    return TypeAdapter(kind)


def write_whole(file: Path, text: bytes) -> None:
    """Writes a file that only C4's account can read: messages may hold names of people and projects.

    Raises:
        NoRoom: the disk is full; the file is as it was.
    """
    with written_after(file, text):
        pass


@contextmanager
def written_after(file: Path, text: bytes) -> Generator[None]:
    """Writes such a file when the block ends without an error. What it needs of the disk, it has before the block.

    Raises:
        NoRoom: the disk is full; the block has not begun.
    """
    with atomic_write(file) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(text)
        sync(temporary)
        yield


def unreadable(file: Path, error: Exception, as_writer: bool) -> None:
    """Warns of a file that cannot be read.

    Args:
        as_writer: whether this process holds the writers' lock. Then the file is renamed, so that alerts go on without
            it. Who only looks leaves it: it may be of a newer version of C4, which is at work.
    """
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if not as_writer:
        log.warning("%s cannot be read (%s): nothing is known of what it holds.", file, reason)
        return
    aside = file.with_name(f"{file.name}.unreadable")
    log.warning(
        "%s cannot be read (%s) and is now %s. Alerts go on without it; something may be told twice.",
        file,
        reason,
        aside.name,
    )
    file.replace(aside)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _rich(table: dict[str, Any]) -> Any:
    return base64.b64decode(table[_BYTES]) if table.keys() == {_BYTES} else table
