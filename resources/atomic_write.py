"""Atomic writes: a file is whole or absent, whenever the process dies."""

import errno
import os
import re
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from resources.errors import Unavailable

TEMPORARY_NAME = ".c4-{unique}.tmp"
"""Name of a file being written. Arrow, DuckDB and globs pass over names that begin with a dot."""

_TEMPORARY = re.compile(r"\.c4-[0-9a-f]{32}\.tmp")

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
    ``path`` is untouched and the temporary file is removed.

    Raises:
        NoRoom: the disk is full.
    """
    temporary = path.with_name(TEMPORARY_NAME.format(unique=uuid.uuid4().hex))
    with full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def full_disk_named(path: Path) -> Generator[None]:
    """Names the file that the block writes, and what to set, where there is no room for it.

    Raises:
        NoRoom: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(path) from error
        raise


def remove_abandoned(folder: Path) -> None:
    """Removes the temporary files that killed writers left in a folder of C4's own. It raises nothing.

    Only names that nobody but :func:`atomic_write` gives are touched, and no folder that has such a name.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            with suppress(OSError):  # another process cleans up at the same time, or it is not for us to remove
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if entry.is_file(follow_symlinks=False) and age > ABANDONED_AFTER_S:
                    Path(entry.path).unlink()


def sync(path: Path) -> None:
    """Puts a file's content, or a folder's names, on the disk, where a power cut does not undo them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
