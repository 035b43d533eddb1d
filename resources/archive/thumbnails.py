"""Thumbnails of all drops, one Arrow file an inspection: what is looked at day by day is read in a millisecond.

They can be made again from the image store, so nothing depends on them. A file that cannot be read is set aside, and
rows that were damaged are as if they had never been made.
"""

import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from resources.archive.begun import Begun
from resources.archive.tables import Columns, read_arrow, write_arrow
from resources.archive.unreadable import UnreadableFile, make_way, reading, set_aside
from resources.atomic_write import remove_abandoned
from resources.errors import Unavailable
from resources.file_lock import locked
from resources.records import Image

ROWS_A_BATCH = 512
"""Thumbnails that are read at once: about 2 MB."""

LOCK_FILES = 64
"""Files of locks of each kind. Inspections share them, so that they stay few: those that do, wait for each other."""

WRITE_WAIT_S = 60
"""Longest wait for another one who adds to an inspection, which takes some milliseconds."""

MAKING_WAIT_S = 600
"""Longest wait for another one who makes an inspection's thumbnails, which takes seconds."""

THUMBNAIL_COLUMNS: Columns = {
    "image_id": "int64",
    "path": "string",
    "sha256": "string",
    "width": "int32",
    "height": "int32",
    "webp": "binary",
    "error": "string",
    "seen_at": "time",
    "crc32": "int64",
}
"""Arrow files have no checksums of their own: ``crc32`` is that of all other columns of the row."""


@dataclass(frozen=True)
class Thumbnail:
    """The thumbnail of one image, or why it has none: exactly one of ``webp`` and ``error`` is set.

    Attributes:
        sha256: of the original file; ``None`` if it could not be fetched.
        width, height: of the original, in pixels.
        seen_at: when the file was fetched, or was asked for in vain.
    """

    image_id: int
    path: str
    sha256: str | None
    width: int | None
    height: int | None
    webp: bytes | None
    error: str | None
    seen_at: datetime

    def is_of(self, image: Image, sha256: str | None = None) -> bool:
        """Whether it shows the file that is listed for an image now: numbers are used again, and files replaced.

        Args:
            sha256: of the file that is meant, if that is known.
        """
        return (self.image_id, self.path) == (image.image_id, image.path) and sha256 in (None, self.sha256)


@dataclass(frozen=True)
class Space:
    """So many files, and their bytes."""

    files: int = 0
    bytes: int = 0


class Thumbnails:
    """The thumbnails of a deployment, in a folder a day of imaging (UTC). Writes are atomic and may be repeated."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _file(self, day: date, inspection_id: int) -> Path:
        return self._root / day.isoformat() / f"{inspection_id}.arrow"

    def read(self, day: date, inspection_id: int, image_id: int | None = None) -> list[Thumbnail]:
        """All that there are of an inspection, or that of one image, if it has one; by number of the image.

        A file that cannot be read is set aside, and has none.
        """
        file = self._file(day, inspection_id)
        try:
            return _sound_rows(file, image_id)
        except UnreadableFile:
            with self._lock("write", inspection_id, WRITE_WAIT_S):
                return self._sound_rows_or_none(file, image_id)

    def _sound_rows_or_none(self, file: Path, image_id: int | None = None) -> list[Thumbnail]:
        """The caller holds the lock."""
        try:
            return _sound_rows(file, image_id)
        except UnreadableFile:
            set_aside(file, self._root)
            return []

    def add(self, day: date, inspection_id: int, made: Iterable[Thumbnail]) -> None:
        """Adds thumbnails to an inspection's, in one write. Others that are there stay, whoever adds at the same time.

        Of two of one image, the newer counts, but a file that does not come any more takes nothing away.

        Raises:
            OSError: the disk is full, say; what was there before is untouched.
            Unavailable: somebody else holds the lock.
        """
        added = list(made)
        if not added:
            return
        file = self._file(day, inspection_id)
        with self._lock("write", inspection_id, WRITE_WAIT_S):
            make_way(file, self._root)
            remove_abandoned(file.parent)
            there = {each.image_id: each for each in self._sound_rows_or_none(file)}
            for each in added:
                there[each.image_id] = _current(there.get(each.image_id, each), each)
            found = [_row(there[number]) for number in sorted(there)]
            write_arrow(file, THUMBNAIL_COLUMNS, found, ROWS_A_BATCH)

    @contextmanager
    def making(self, inspection_id: int) -> Generator[None]:
        """Lets one at a time make the thumbnails of an inspection, among all threads, processes and machines.

        Raises:
            OSError: the folder cannot be written to.
            Unavailable: another one is at it for very long.
        """
        with self._lock("making", inspection_id, MAKING_WAIT_S):
            yield

    @contextmanager
    def _lock(self, kind: str, inspection_id: int, wait: float) -> Generator[None]:
        locks = self._root / "locks"
        file = locks / f"{kind}-{inspection_id % LOCK_FILES:02}.lock"
        make_way(file, self._root)
        locks.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(locked(file, wait))
            except TimeoutError:
                raise Unavailable(
                    f"Another process has been at the thumbnails of inspection {inspection_id} for {wait:g} s "
                    f"({file} is locked): see what it waits for."
                ) from None
            yield

    def begun(self, day: date) -> Begun:
        """Notes of the inspections whose thumbnails are being made, by number."""
        return Begun(self._root / day.isoformat(), self._root)

    def space(self) -> Space:
        """What all of them take."""
        sizes = [size for file in self._files() if (size := _size(file)) is not None]
        return Space(len(sizes), sum(sizes))

    def remove_older(self, before: datetime, dry_run: bool = False) -> Space:
        """Removes the files that were written before a moment, those that were set aside among them."""
        files = size = 0
        for file in self._files():
            with suppress(OSError):  # it was removed or written anew at this moment, or is not for us to remove
                status = file.stat()
                if status.st_mtime < before.timestamp():
                    if not dry_run:
                        file.unlink()
                    files, size = files + 1, size + status.st_size
        return Space(files, size)

    def _files(self) -> Iterator[Path]:
        return (file for file in self._root.glob("????-??-??/*.arrow*") if file.is_file())


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _current(there: Thumbnail, added: Thumbnail) -> Thumbnail:
    if there.path == added.path and (there.sha256 is None) != (added.sha256 is None):
        return added if there.sha256 is None else there
    return max(there, added, key=lambda each: each.seen_at)


def _row(thumbnail: Thumbnail) -> dict[str, object]:
    row: dict[str, object] = {**vars(thumbnail)}
    return {**row, "crc32": _checksum(row)}


def _sound_rows(file: Path, image_id: int | None) -> list[Thumbnail]:
    """The rows that are as they were written. The others are as if they were not there.

    Raises:
        UnreadableFile: the file is damaged, or something else.
    """
    with reading(file):
        return [
            Thumbnail(**{name: row[name] for name in Thumbnail.__dataclass_fields__})
            for row in read_arrow(file, THUMBNAIL_COLUMNS)
            if image_id in (None, row["image_id"]) and row["crc32"] == _checksum(row)
        ]


def _checksum(row: Mapping[str, Any]) -> int:
    told = [row[name] for name in ("image_id", "path", "sha256", "width", "height", "error")]
    return zlib.crc32(row["webp"] or b"", zlib.crc32(repr([*told, row["seen_at"].timestamp()]).encode()))
