"""Image files in folders and archives: what is found, what is left out and why, and how each is read."""

import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

from resources.errors import ImageError
from resources.image_store.base import checked_size

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".j2k")
"""Endings of the files that are scored, the likeliest original first."""

OTHER_IMAGE_SUFFIXES = frozenset(
    {
        ".jpf",
        ".jpx",
        ".jpc",
        ".j2c",
        ".jxl",
        ".jxr",
        ".avif",
        ".avifs",
        ".heic",
        ".heif",
        ".hif",
        ".apng",
        ".svg",
        ".psd",
        ".raw",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".rw2",
        ".raf",
        ".czi",
        ".nd2",
        ".lif",
        ".lsm",
        ".ics",
        ".oib",
        ".oif",
        ".vsi",
        ".dcm",
        ".exr",
        ".hdr",
        ".tga",
        ".pcx",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".ico",
        ".jpg_original",
        ".jpeg_original",
    }
)
"""Endings of pictures that C4 does not decode: they are counted, and not passed over in silence."""

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

SERVICE_FOLDERS = frozenset({"@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "lost+found"})
"""Folders that storage systems put among the images: they hold previews, and what was deleted."""

HIDDEN = "a hidden file beside the images, such as macOS leaves"
NOT_UTF8 = "its name is not UTF-8, and the database cannot hold it; rename it"


class ImageFiles(Protocol):
    """Where images lie: paths are relative to it, with forward slashes."""

    @property
    def images(self) -> list[PurePosixPath]:
        """The image files, in the order in which they are read fastest."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """What looks like an image and is none that can be scored, with the reason."""
        ...

    def read(self, path: PurePosixPath) -> bytes:
        """A file's content.

        Raises:
            ImageError: it cannot be read, is empty or too large to be an image.
        """
        ...

    def has(self, path: PurePosixPath) -> bool:
        """Whether there is a file of this path, whatever its ending."""
        ...

    def size_and_time(self, path: PurePosixPath) -> tuple[int, datetime]:
        """A file's bytes, and when it was changed."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """A file to score: ``path`` is what the result calls it, ``stamp`` changes when its content does."""

    path: str
    stamp: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class FolderFiles:
    """The images below a folder, linked folders included, each of them once."""

    root: Path
    images: list[PurePosixPath]
    left_out: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def below(cls, root: Path) -> "FolderFiles":
        """Walks a folder. A link that leads back up, or to a folder that was walked before, is not followed again."""
        images: list[PurePosixPath] = []
        left_out: dict[str, str] = {}
        for file in _files(root, left_out):
            path = PurePosixPath(file.relative_to(root).as_posix())
            reason = why_left_out(path.name)
            if reason is None:
                if file.is_file():
                    images.append(path)
                elif file.is_symlink():
                    left_out[readable(path)] = "a link to a file that is not there"
            elif reason:
                left_out[readable(path)] = reason
        return cls(root, sorted(images), left_out)

    def read(self, path: PurePosixPath) -> bytes:
        """See :meth:`ImageFiles.read`."""
        return read_file(self.root / path)

    def has(self, path: PurePosixPath) -> bool:
        """See :meth:`ImageFiles.has`."""
        try:
            return not path.is_absolute() and (self.root / path).is_file()
        except (OSError, ValueError):
            return False  # longer than any name

    def size_and_time(self, path: PurePosixPath) -> tuple[int, datetime]:
        """See :meth:`ImageFiles.size_and_time`."""
        status = (self.root / path).stat()
        return status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC)


def _files(root: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """All files below a folder. Folders that lie there come before linked ones, so that they keep their own names."""
    waiting, linked, seen = deque([root]), deque[Path](), set[tuple[int, int]]()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            left_out[readable(folder.relative_to(root)) + "/"] = f"the folder cannot be read: {error.strerror}"
            continue
        for entry in entries:
            if not _is_folder(entry):
                yield folder / entry.name
            elif not entry.name.startswith(".") and entry.name not in SERVICE_FOLDERS:
                (linked if entry.is_symlink() else waiting).append(folder / entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def why_left_out(name: str) -> str | None:
    """Why a file is not taken for an image: a reason, ``""`` for a file that is none, ``None`` for an image."""
    suffix = PurePosixPath(name).suffix.lower()
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        return "an archive; name it by itself"
    if suffix not in IMAGE_SUFFIXES:
        return f"a {suffix} file, which C4 does not decode; save it as PNG" if suffix in OTHER_IMAGE_SUFFIXES else ""
    return HIDDEN if name.startswith(".") else None


def read_file(file: Path) -> bytes:
    """The content of a file on disk.

    Raises:
        ImageError: it cannot be read, is empty or too large to be an image, or is no file.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("it is not a file")
        checked_size(readable(file.name), status.st_size)
        return file.read_bytes()
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror}") from error


def is_archive(place: Path) -> bool:
    """Whether a file is named as an archive that C4 reads."""
    return place.name.lower().endswith(ARCHIVE_SUFFIXES) and place.is_file()


def readable(path: object) -> str:
    """A path as text that any file, page and terminal takes: bytes that are not UTF-8 and line breaks are escaped."""
    text = os.fsencode(str(path)).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def is_utf8(path: object) -> bool:
    """Whether a path is text that a database can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def summary(left_out: Mapping[str, str], examples: int = 3) -> list[str]:
    """A sentence for each reason, with how many files it concerns and a few of them."""
    files: dict[str, list[str]] = {}
    for file, reason in left_out.items():
        files.setdefault(reason, []).append(file)
    counts = Counter({reason: len(names) for reason, names in files.items()})
    return [
        f"Left out {', '.join(files[reason][:examples])}"
        + (f" and {count - examples} more" if count > examples else "")
        + f": {reason}."
        for reason, count in counts.most_common()
    ]
