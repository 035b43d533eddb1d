"""Files of C4's own that cannot be read: torn, empty, changed by the disk, or something else in their place.

What stands in a file's place is never overwritten and never removed: it is set aside, beside its place, under a name
that tells what it was and when. Readers of the archive (Arrow, DuckDB, globs) pass over such names.
"""

import errno
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from resources.errors import C4Error

log = logging.getLogger("c4.archive")

SET_ASIDE_NAME = "_{name}.unreadable-{at:%Y%m%dT%H%M%S.%fZ}"
"""What was ``name`` and could not be read. The time is UTC."""

_NO_FILE = (None, errno.EISDIR, errno.ENOTDIR)
"""Numbers of an OSError that speak of the file itself, and not of a disk that does not answer. Arrow gives none."""


class UnreadableFile(C4Error):
    """A file of C4's own is there, and cannot be what C4 has written."""

    def __init__(self, file: Path, reason: object) -> None:
        super().__init__(f"{file} cannot be read ({reason}).")
        self.file = file


@contextmanager
def reading(file: Path) -> Generator[None]:
    """Turns whatever a library or a conversion raises of a file's content into :class:`UnreadableFile`.

    Raises:
        UnreadableFile: the file is damaged or none of ours.
        FileNotFoundError: the file is not there.
        OSError: the disk does not answer, which says nothing of the file.
    """
    try:
        yield
    except (FileNotFoundError, UnreadableFile):
        raise
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise UnreadableFile(file, error) from error
    except Exception as error:
        if type(error) is MemoryError:  # Arrow's own is of a length in the file that is none
            raise
        raise UnreadableFile(file, f"{type(error).__name__}: {error}") from error


def set_aside(file: Path, root: Path) -> None:
    """Renames what stands in the place of a file, or of a folder on the way to it, and says so in the log.

    It is kept in the file's own folder (:func:`what_was_set_aside`).

    Args:
        root: the folder of C4's own that the file belongs to. Nothing above is touched.
    """
    place = _in_the_way(file, root) or file
    aside = place.with_name(SET_ASIDE_NAME.format(name=place.name, at=datetime.now(UTC)))
    try:
        place.rename(aside)
    except FileNotFoundError:
        return  # another process has done it, or the file was removed
    if place != file:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = aside.rename(file.parent / aside.name)
    log.warning("%s could not be read: it is kept as %s, and made again from what is known", place, aside)


def make_way(file: Path, root: Path) -> None:
    """Sets aside what keeps a file from being written: a file in the place of a folder, or a folder in its own."""
    while _in_the_way(file, root) or file.is_dir():
        set_aside(file, root)


def _in_the_way(file: Path, root: Path) -> Path | None:
    folders = [folder for folder in file.parents if folder.is_relative_to(root) and folder != root]
    return next((folder for folder in reversed(folders) if folder.is_file()), None)


def what_was_set_aside(folder: Path) -> list[Path]:
    """What was set aside in the place of a folder's files, or of the folder."""
    return sorted(folder.glob("_*.unreadable-*"))
