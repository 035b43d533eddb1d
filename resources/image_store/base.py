"""The interface of an image store, and the rules that every store keeps."""

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from resources.errors import ImageError, Unavailable
from resources.records import Problem

MAX_IMAGE_BYTES = 64 * 1024**2
"""Largest image file that is read. A 5-megapixel JPEG has 0.2 to 2 MB, an uncompressed 16-bit RGB image 30 MB."""

MAX_BYTES_TOGETHER = 16 * 1024**2
"""Largest file that is read while others are; a larger one is read alone, which bounds the memory."""

MAX_CONCURRENT_READS = 8
"""Files read at the same time from one store: enough to hide the latency of a network file system."""

TIMEOUTS_PER_FILE = 20
"""Time that one file may take, in time-outs of the store, however busily its bytes trickle in."""

REFUSAL_WAITS_SECONDS = (0.5, 1.0, 2.0)
"""Waits before a store that refuses a file for now is asked for it again, on average."""

MAX_HOPELESS_FILES = 2
"""Files in a row for which waiting did not help; the further ones are asked for once."""


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
    """An image cannot be fetched.

    Attributes:
        problem: whose matter that is.
        passing: whether it may be over in a moment, so that asking again at once may help.
    """

    def __init__(self, message: str, problem: Problem, *, passing: bool = False) -> None:
        super().__init__(message)
        self.problem, self.passing = problem, passing


class ReadAlone(Exception):
    """A file is too large to be read while others are."""


class ImageStore(Protocol):
    """Fetches image files by their paths below the store's root."""

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """Yields every path once, in the order given, with its bytes or its error.

        A problem with one file becomes that file's error and does not stop the others.

        Raises:
            Unavailable: the store as a whole cannot be reached, or takes longer than :func:`within_time` allows.
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


def fetch_each(paths: Sequence[str], read: Callable[[str, int], bytes]) -> Generator[FetchedImage]:
    """Reads files in a few threads and yields them in order. Only those being read are held in memory.

    Args:
        read: returns a file's bytes, given its path and the most bytes that it may have now; raises :class:`ReadAlone`
            if it has more. Its :class:`ImageError` becomes the image's error, other exceptions are raised.
    """
    refusals = Refusals()

    def one(path: str, most: int = MAX_BYTES_TOGETHER) -> FetchedImage | None:
        try:
            return FetchedImage(path, refusals.outlasted(lambda: read(path, most)))
        except ImageError as error:
            return FetchedImage.failed(path, error)
        except ReadAlone:
            return None

    with ThreadPoolExecutor(MAX_CONCURRENT_READS, thread_name_prefix="image-store") as readers:
        for first in range(0, len(paths), MAX_CONCURRENT_READS):
            batch = paths[first : first + MAX_CONCURRENT_READS]
            for path, image in zip(batch, readers.map(one, batch), strict=True):
                if (read_now := image or one(path, MAX_IMAGE_BYTES)) is not None:
                    yield read_now


class Refusals:
    """Waits while a store refuses a file, as long as waiting helps."""

    def __init__(self) -> None:
        self._hopeless = 0

    def waits(self) -> Sequence[float]:
        """Seconds to wait before each further try at a file that was refused."""
        if self._hopeless >= MAX_HOPELESS_FILES:
            return ()
        return [seconds * random.uniform(0.5, 1.5) for seconds in REFUSAL_WAITS_SECONDS]  # noqa: S311

    def ended(self, *, well: bool) -> None:
        """Notes whether a file came in the end."""
        self._hopeless = 0 if well else self._hopeless + 1

    def outlasted(self, read: Callable[[], bytes]) -> bytes:
        """Reads a file, again and again while the store refuses it for now."""
        waits = [*self.waits()]
        while True:
            try:
                data = read()
            except FetchError as error:
                if error.passing and waits:
                    time.sleep(waits.pop(0))
                    continue
                if error.problem is Problem.STORE:
                    self.ended(well=False)
                raise
            self.ended(well=True)
            return data


def within_time(images: Generator[FetchedImage], count: int, timeout: float, store: str) -> Generator[FetchedImage]:
    """Passes images on, and gives the store up that takes too long for all of them together.

    The time in which nobody asks for the next image does not count.

    Args:
        count: number of images. Together they may take a time-out each, and once what a single file may take.
        timeout: the store's, in seconds.

    Raises:
        Unavailable: the time is over.
    """
    spent, allowed = 0.0, (TIMEOUTS_PER_FILE + count) * timeout
    with closing(images):
        while True:
            started = time.monotonic()
            image = next(images, None)
            spent += time.monotonic() - started
            if image is None:
                return
            yield image
            if spent > allowed:
                raise Unavailable(
                    f"The image store {store} has not sent {count} images within {allowed:g} s: see what slows it "
                    "down, or raise C4_TIMEOUT_SECONDS. No image was marked as failed."
                )


def too_slow(path: str, seconds: float) -> FetchError:
    """The error of a file whose bytes come too slowly."""
    return FetchError(
        f"{path} did not come within {seconds:g} s: see what slows the image store down, or raise C4_TIMEOUT_SECONDS",
        Problem.STORE,
    )


def checked_size(path: str, size: int) -> None:
    """Refuses files that cannot be an image.

    Raises:
        ImageError: the file is empty or larger than :data:`MAX_IMAGE_BYTES`.
    """
    if size == 0:
        raise ImageError(f"{path} is empty; copy it again from the imager")
    if size > MAX_IMAGE_BYTES:
        raise too_large(path, f"{size:,}")


def too_large(path: str, size: str) -> ImageError:
    """The error of a file that is larger than :data:`MAX_IMAGE_BYTES`."""
    return ImageError(f"{path} has {size} bytes, more than any image of a drop ({MAX_IMAGE_BYTES:,} at most)")


def changed(path: str) -> FetchError:
    """The error of a file that is being written, or was replaced, while it was read: it is not there in whole yet."""
    return FetchError(f"{path} changed while it was read; it is read again later", Problem.ABSENT)
