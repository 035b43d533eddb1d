"""Images in a folder, local or mounted."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.errors import ImageError, Unavailable
from resources.image_store.base import FetchedImage, FetchError, checked_size, fetch_each, safe_path
from resources.records import Problem

OF_THE_FILE = frozenset({errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EOVERFLOW})
"""Errors of the operating system that concern the one file. All others concern whoever keeps the files."""


@dataclass(frozen=True)
class LocalStore:
    """A folder. ``root`` is resolved once, so that links below it can be checked against it."""

    root: Path

    @classmethod
    def at(cls, folder: str) -> "LocalStore":
        """Opens the store in a folder, which need not exist yet."""
        return cls(Path(folder).expanduser().resolve())

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """See :meth:`ImageStore.fetch`."""
        if not self.root.is_dir():
            raise Unavailable(
                f"The image store {self.root} is not there: mount it, or correct C4_STORE_URL. No image was "
                "marked as failed."
            )
        return fetch_each(paths, self._read)

    def close(self) -> None:
        """See :meth:`ImageStore.close`."""

    def _read(self, path: str) -> bytes:
        file = self.root / safe_path(path)
        try:
            resolved = file.resolve(strict=True)
            if not resolved.is_relative_to(self.root):
                raise ImageError(f"{path} is a link that leads out of the image store {self.root}")
            # A pipe or device in place of an image must not block the step for ever.
            descriptor = os.open(resolved, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise FetchError(f"{path} is not in the image store {self.root}; copy it there", Problem.ABSENT) from None
        except (OSError, RuntimeError) as error:
            raise FetchError(f"{path} cannot be opened: {error}", _problem(error)) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} is not a file")
            checked_size(path, status.st_size)
            with os.fdopen(os.dup(descriptor), "rb") as opened:
                return opened.read()
        except OSError as error:
            raise FetchError(f"{path} cannot be read: {error}", _problem(error)) from error
        finally:
            os.close(descriptor)


def _problem(error: OSError | RuntimeError) -> Problem:
    """Whose matter an error is. Python 3.12 reports a circle of links as a ``RuntimeError``."""
    own = not isinstance(error, OSError) or error.errno in OF_THE_FILE
    return Problem.FILE if own else Problem.STORE
