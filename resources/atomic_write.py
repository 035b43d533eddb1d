"""Atomic writes: a file is whole or absent, whenever the process dies."""

import errno
import os
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resources.errors import Unavailable

TEMPORARY_NAME = ".{name}.{unique}.tmp"
"""Name of a file being written. Arrow, DuckDB and globs pass over names that begin with a dot."""

ABANDONED_AFTER_S = 24 * 3600
"""Age of a temporary file from which its writer must have died: no step runs for a day."""


class NoRoom(Unavailable, OSError):
    """A file cannot be written because its disk is full, or a quota is used up. Nothing half-written is left."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The disk of {path.parent} is full, or a quota of it is used up: {path.name} was not written. Make room "
            "there, or set C4_SCRATCH (staging), C4_DATA (archive), C4_MODELS or C4_HOME (what has no place of its "
            "own) to a place with more. Nothing half-written is left; the next run carries on."
        )


@contextmanager
def atomic_write(path: Path) -> Generator[Path, None, None]:
    """Yields a temporary path beside ``path`` and renames it to ``path`` when the block ends without an error.

    The content is synced before the rename, and the folder after it, so that after a power cut ``path`` is the old
    file or the new one. Two writers do not disturb each other: the last one to finish wins. If the block raises,
    ``path`` is untouched and the temporary file is removed. The temporary file of a writer that was killed is removed
    by a later one.

    Raises:
        NoRoom: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    temporary = path.with_name(TEMPORARY_NAME.format(name=path.name, unique=uuid.uuid4().hex))
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(path) from error
        raise
    _sync(path.parent)


def _remove_abandoned(folder: Path) -> None:
    for temporary in folder.glob(TEMPORARY_NAME.format(name="*", unique="*")):
        try:
            if time.time() - temporary.stat().st_mtime > ABANDONED_AFTER_S:
                temporary.unlink()
        except FileNotFoundError:
            continue  # another process cleans up at the same time


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
