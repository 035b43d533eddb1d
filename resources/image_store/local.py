"""Images in a folder, local or mounted."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.errors import ImageError, Unavailable
from resources.image_store.base import FetchedImage, checked_size, fetch_each, safe_path


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
                f"The image store {self.root} is not there: mount it, or correct C4_IMAGE_STORE_URL. No image was "
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
        except FileNotFoundError:
            raise ImageError(f"{path} is not in the image store {self.root}; copy it there") from None
        except (OSError, RuntimeError) as error:
            raise ImageError(f"{path} cannot be opened: {error}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} is not a file")
            checked_size(path, status.st_size)
            with os.fdopen(os.dup(descriptor), "rb") as opened:
                return opened.read()
        except OSError as error:
            raise ImageError(f"{path} cannot be read: {error}") from error
        finally:
            os.close(descriptor)
