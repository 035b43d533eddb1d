"""Images in a folder, local or mounted."""

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.errors import ImageError, Unavailable
from resources.image_store.base import (
    TIMEOUTS_PER_FILE,
    FetchedImage,
    FetchError,
    ReadAlone,
    changed,
    checked_size,
    fetch_each,
    safe_path,
    too_slow,
    within_time,
)
from resources.records import Problem

OF_THE_FILE = frozenset({errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EOVERFLOW})
"""Errors of the operating system that concern the one file. All others concern whoever keeps the files."""

PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EBUSY, errno.ENOMEM, errno.ENOBUFS, errno.ESTALE})
"""Errors that may be over in a moment."""

FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""How a folder on the way to a file is opened; ``O_PATH`` asks for no permission to list it."""

READ_BYTES = 1024**2
"""Bytes asked for at a time."""


@dataclass(frozen=True)
class LocalStore:
    """A folder. ``root`` is resolved once, so that links below it can be checked against it.

    ``timeout`` is in seconds. It ends a file that arrives too slowly; a file system that hangs holds its readers.
    """

    root: Path
    timeout: float = 15

    @classmethod
    def at(cls, folder: str, timeout: float = 15) -> "LocalStore":
        """Opens the store in a folder, which need not exist yet."""
        return cls(Path(folder).expanduser().resolve(), timeout)

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """See :meth:`ImageStore.fetch`.

        Raises:
            Unavailable: there is no such folder, or nothing is in it, as in a mount point without its file system.
        """
        try:
            bare = _is_empty(self.root)
        except OSError as error:
            raise Unavailable(
                f"The image store {self.root} is not there ({error.strerror}): mount it, or correct C4_STORE_URL. No "
                "image was marked as failed."
            ) from error
        if bare:
            raise Unavailable(
                f"The image store {self.root} is empty: mount it, or correct C4_STORE_URL. No image was marked as "
                "failed."
            )
        return within_time(fetch_each(paths, self._read), len(paths), self.timeout, str(self.root))

    def close(self) -> None:
        """See :meth:`ImageStore.close`."""

    def _read(self, path: str, most: int) -> bytes:
        file = self.root / safe_path(path)
        try:
            resolved = file.resolve(strict=True)
            if not resolved.is_relative_to(self.root):
                raise ImageError(f"{path} is a link that leads out of the image store {self.root}")
            descriptor = open_below(self.root, resolved)
        except (FileNotFoundError, NotADirectoryError):
            raise self._absent(path, file) from None
        except (OSError, RuntimeError) as error:
            raise _refused(f"{path} cannot be opened", error) from error
        try:
            return self._whole(path, descriptor, most)
        except OSError as error:
            raise _refused(f"{path} cannot be read", error) from error
        finally:
            os.close(descriptor)

    def _whole(self, path: str, descriptor: int, most: int) -> bytes:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path} is not a file")
        checked_size(path, status.st_size)
        if status.st_size > most:
            raise ReadAlone
        seconds = TIMEOUTS_PER_FILE * self.timeout
        end = time.monotonic() + seconds
        blocks: list[bytes] = []
        left = status.st_size + 1  # one byte more shows a file that grows
        while left > 0 and (block := os.read(descriptor, min(left, READ_BYTES))):
            blocks.append(block)
            left -= len(block)
            if time.monotonic() > end:
                raise too_slow(path, seconds)
        if left != 1:
            raise changed(path)
        return b"".join(blocks)

    def _absent(self, path: str, file: Path) -> FetchError:
        """The error of a file that is not there: its own, or that of a file system that is not mounted."""
        folder = next((each for each in file.parents if each.is_dir()), self.root)
        mount_point = folder != file.parent or self.root in (folder, folder.parent)
        try:
            if mount_point and folder.resolve().is_relative_to(self.root) and _is_empty(folder):
                message = f"{path} is not there, and nothing else is in the folder {folder}: mount what belongs there"
                return FetchError(message, Problem.STORE)
        except OSError as error:
            return _refused(f"{path} cannot be looked for in {folder}", error)
        return FetchError(f"{path} is not in the image store {self.root}; copy it there", Problem.ABSENT)


def open_below(root: Path, file: Path) -> int:
    """Opens a file by its resolved name. A folder on the way that has become a link since is not followed.

    A pipe or device in place of an image must not block the step for ever, so nothing is waited for.
    """
    *folders, name = file.relative_to(root).parts or (".",)
    held = os.open(root, FOLDER_FLAGS)
    try:
        for folder in folders:
            above, held = held, os.open(folder, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=held)
            os.close(above)
        return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=held)
    finally:
        os.close(held)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _refused(what: str, error: OSError | RuntimeError) -> FetchError:
    """The error that the operating system gives. Python reports a circle of links as a ``RuntimeError``."""
    if not isinstance(error, OSError) or error.errno in OF_THE_FILE:
        return FetchError(f"{what}: {error}", Problem.FILE)
    return FetchError(f"{what}: {error}", Problem.STORE, passing=error.errno in PASSING)
