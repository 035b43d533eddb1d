"""The interface of an image store, and the rules that every store keeps."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from resources.errors import ImageError
from resources.records import Problem

MAX_IMAGE_BYTES = 64 * 1024**2
"""Largest image file that is read. A 5-megapixel JPEG has 0.2 to 2 MB, an uncompressed 16-bit RGB image 30 MB."""

MAX_CONCURRENT_READS = 8
"""Files read at the same time from one store: enough to hide the latency of a network file system."""


@dataclass(frozen=True)
class FetchedImage:
    """The bytes of one image file, or why there are none.

    Exactly one of ``data`` and ``error`` is set; ``problem``, whose matter the error is, is set with the error.
    """

    path: str
    data: bytes | None
    error: str | None = None
    problem: Problem | None = None

    @classmethod
    def failed(cls, path: str, error: ImageError) -> "FetchedImage":
        """An image that could not be fetched. An error that says nothing else is a matter of the file."""
        problem = error.problem if isinstance(error, FetchError) else Problem.FILE
        return cls(path, None, str(error), problem)


class FetchError(ImageError):
    """An image cannot be fetched; ``problem`` is whose matter that is."""

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message)
        self.problem = problem


class ImageStore(Protocol):
    """Fetches image files by their paths below the store's root."""

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """Yields every path once, in the order given, with its bytes or its error.

        A problem with one file becomes that file's error and does not stop the others.

        Raises:
            Unavailable: the store as a whole cannot be reached.
        """
        ...

    def close(self) -> None:
        """Closes what is kept open between inspections. A later fetch opens it again."""
        ...


def safe_path(path: str) -> PurePosixPath:
    """Checks a path from the database: it must be relative and stay within the store.

    Raises:
        ImageError: the path is empty, absolute, or has a part that is ``..`` or cannot be a file name.
    """
    parts = PurePosixPath(path)
    impossible = "\0" in path or "\\" in path or any("\ud800" <= character <= "\udc7f" for character in path)
    if not path or parts.is_absolute() or impossible or ".." in parts.parts or not parts.name:
        raise ImageError(f"the path {path!r} is not one below the image store's root; correct it in the database")
    return parts


def fetch_each(paths: Sequence[str], read: Callable[[str], bytes]) -> Iterator[FetchedImage]:
    """Reads files in a few threads and yields them in order. Only those being read are held in memory.

    Args:
        read: returns a file's bytes; its :class:`ImageError` becomes the image's error, other exceptions are raised.
    """

    def one(path: str) -> FetchedImage:
        try:
            return FetchedImage(path, read(path))
        except ImageError as error:
            return FetchedImage.failed(path, error)

    with ThreadPoolExecutor(MAX_CONCURRENT_READS, thread_name_prefix="image-store") as readers:
        for first in range(0, len(paths), MAX_CONCURRENT_READS):
            yield from readers.map(one, paths[first : first + MAX_CONCURRENT_READS])


def checked_size(path: str, size: int) -> None:
    """Refuses files that cannot be an image.

    Raises:
        ImageError: the file is empty or larger than :data:`MAX_IMAGE_BYTES`.
    """
    if size == 0:
        raise ImageError(f"{path} is empty; copy it again from the imager")
    if size > MAX_IMAGE_BYTES:
        raise ImageError(f"{path} has {size:,} bytes, more than any image of a drop ({MAX_IMAGE_BYTES:,} at most)")
