"""Images in a folder or in a zip or tar archive, which is read where it lies.

Nothing of an archive is unpacked, names in it cannot lead anywhere, and what it says of sizes is not believed.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path, PurePosixPath
from typing import IO, Any

from c4_assets.scoring.image_files import (
    SERVICE_FOLDERS,
    FolderFiles,
    ImageFiles,
    is_archive,
    readable,
    why_left_out,
)
from resources.errors import ConfigurationError, ImageError
from resources.image_store.base import MAX_IMAGE_BYTES, checked_size, safe_path

MAX_ENTRIES = 500_000
"""Most entries of an archive: a few hundred bytes of memory each. A plate imaged twenty times has 6,000."""

MAX_EXPANSION, FREE_EXPANSION = 100, 1024**3
"""An archive may hold so many times its own size, beyond a gigabyte. Pictures are compressed already: twice is much."""

DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # an encrypted entry
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    OverflowError,
)


@dataclass(frozen=True)
class _Entry:
    size: int
    changed: datetime
    open: Callable[[], IO[bytes] | None]


@dataclass(frozen=True)
class ArchiveFiles:
    """The images of an archive, in the order in which they lie in it."""

    entries: dict[PurePosixPath, _Entry] = field(default_factory=dict[PurePosixPath, _Entry])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def images(self) -> list[PurePosixPath]:
        """See :attr:`ImageFiles.images`."""
        return list(self.entries)

    def read(self, path: PurePosixPath) -> bytes:
        """See :meth:`ImageFiles.read`."""
        entry = self.entries[path]
        checked_size(path.name, entry.size)
        try:
            with self._one_at_a_time:  # a tar archive has one position
                opened = entry.open()
                if opened is None:
                    raise ImageError("it is not a file")
                with opened:
                    # What an entry says of its size is not believed.
                    data = opened.read(MAX_IMAGE_BYTES + 1)
        except DAMAGED as error:
            raise ImageError(f"the archive's entry cannot be read: {error}") from error
        checked_size(path.name, len(data))
        return data

    def has(self, path: PurePosixPath) -> bool:
        """See :meth:`ImageFiles.has`."""
        return path in self.entries

    def size_and_time(self, path: PurePosixPath) -> tuple[int, datetime]:
        """See :meth:`ImageFiles.size_and_time`."""
        return self.entries[path].size, self.entries[path].changed

    def take(self, name: str, is_file: bool, entry: _Entry) -> None:
        """Takes an entry up, or says why it is left out."""
        path = PurePosixPath(name.replace("\\", "/"))
        reason = why_left_out(path.name)
        if reason == "":
            return
        if reason is None and not is_file:
            reason = "a link in an archive, which is not followed"
        if reason is None and SERVICE_FOLDERS.intersection(path.parts):
            reason = "it lies in a folder that a storage system made"
        if reason is None:
            try:
                safe_path(str(path))
            except ImageError:
                reason = "its name leads out of the archive, or cannot be a file's"
        if reason is None and path in self.entries:
            reason = "the archive has this name twice; the first is taken"
        if reason is None:
            self.entries[path] = entry
        else:
            self.left_out[readable(path)] = reason


def open_files(place: Path, timezone: tzinfo = UTC) -> ImageFiles:
    """The images of a folder, or of a zip or tar archive, which is read where it lies.

    Args:
        timezone: of the times in a zip archive, which does not tell it.

    Raises:
        ConfigurationError: it is neither, or the archive is damaged.
    """
    if place.is_dir():
        return FolderFiles.below(place)
    if is_archive(place):
        return open_archive(place, timezone)
    raise ConfigurationError(f"{readable(place)} is not a folder, and not a zip or tar archive.")


def open_archive(file: Path, timezone: tzinfo = UTC) -> ArchiveFiles:
    """The images of a zip or tar archive.

    Args:
        timezone: of the times in a zip archive, which does not tell it.

    Raises:
        ConfigurationError: the archive is damaged, or expands to far more than pictures can.
    """
    with _named(file):
        return _of_zip(file, timezone) if file.suffix.lower() == ".zip" else _of_tar(file)


@contextmanager
def _named(file: Path) -> Generator[None]:
    try:
        yield
    except DAMAGED as error:
        raise ConfigurationError(f"The archive {readable(file)} cannot be read: {error}.") from error


def _of_zip(file: Path, timezone: tzinfo) -> ArchiveFiles:
    found = ArchiveFiles()
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    _refuse_bomb(file, len(entries), sum(entry.file_size for entry in entries))
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        mode = entry.external_attr >> 16
        is_file = not entry.is_dir() and stat.S_IFMT(mode) in (0, stat.S_IFREG)
        try:
            changed = datetime(*entry.date_time, tzinfo=timezone).astimezone(UTC)
        except ValueError:
            changed = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
        found.take(entry.filename, is_file, _Entry(entry.file_size, changed, lambda e=entry: archive.open(e)))
    return found


def _of_tar(file: Path) -> ArchiveFiles:
    found = ArchiveFiles()
    stream: Any = _BoundedReads(_uncompressed(file))
    archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - open as long as its entries are read
    total = count = 0
    # Not getmembers(): it would pass over all that an entry claims to hold before anybody can object.
    for member in archive:
        count, total = count + 1, total + member.size
        _refuse_bomb(file, count, total)
        changed = datetime.fromtimestamp(max(0, min(int(member.mtime), 2**32)), UTC)
        found.take(member.name, member.isreg(), _Entry(member.size, changed, lambda m=member: archive.extractfile(m)))
    return found


def _uncompressed(file: Path) -> IO[bytes]:
    with file.open("rb") as opened:
        head = opened.read(6)
    for mark, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(mark):
            return opener(file, "rb")  # pyright: ignore[reportReturnType]
    return file.open("rb")


class _BoundedReads:
    """A stream that refuses to be read in pieces larger than an image: a header may claim any length."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_IMAGE_BYTES + 1:
            raise tarfile.ReadError("a header is larger than any image")
        return self._stream.read(size)


def _refuse_bomb(file: Path, entries: int, size: int) -> None:
    if entries > MAX_ENTRIES:
        raise ConfigurationError(f"The archive {readable(file)} has more than {MAX_ENTRIES:,} entries: divide it.")
    if size > FREE_EXPANSION + MAX_EXPANSION * file.stat().st_size:
        raise ConfigurationError(
            f"The archive {readable(file)} says that it holds {size / 1e9:,.0f} GB, more than {MAX_EXPANSION} times "
            "its own size: pictures do not. Unpack it by hand if you trust it, and name the folder."
        )
