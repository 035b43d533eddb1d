"""Images at an address that fsspec knows and C4 has no own way to: object stores, file servers, archives."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast

from resources.errors import ConfigurationError, ImageError, Unavailable
from resources.image_store.base import (
    MAX_IMAGE_BYTES,
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

PASSING_ON = re.compile(r"(simplecache|filecache|blockcache|cached|dir)::")
"""Drivers that pass names on to another, whose rules for a name C4 would then not see."""


class FsspecStore:
    """The files below an fsspec address. Credentials come from the environment, as the fsspec driver documents.

    Args:
        timeout: seconds; a file may take :data:`TIMEOUTS_PER_FILE` times as long, where the driver can be stopped.
    """

    def __init__(self, url: str, timeout: float = 15) -> None:
        self._url, self._timeout = url, timeout

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec import core

        if PASSING_ON.match(self._url):
            raise ConfigurationError("C4_STORE_URL cannot be used: name the address behind «::»; C4 keeps no copies.")
        try:
            return cast("Any", core).url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"C4_STORE_URL cannot be used: {error}.") from error

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """See :meth:`ImageStore.fetch`."""
        _, root = self._opened
        try:
            there = self._asked("exists", root)
        except Exception as error:  # every driver raises errors of its own
            raise Unavailable(f"The image store at {root!r} does not answer: {error}.") from error
        if not there:
            raise Unavailable(
                f"The image store has nothing at {root!r}: correct C4_STORE_URL. No image was marked as failed."
            )
        return within_time(fetch_each(paths, self._read), len(paths), self._timeout, root)

    def close(self) -> None:
        """See :meth:`ImageStore.close`."""

    def _read(self, path: str, most: int) -> bytes:
        _, root = self._opened
        address = f"{root.rstrip('/')}/{safe_path(path)}"
        try:
            return self._whole(path, address, most)
        except FileNotFoundError:
            raise FetchError(f"{path} is not in the image store; copy it there", Problem.ABSENT) from None
        except IsADirectoryError:
            raise ImageError(f"{path} is not a file") from None
        except (ImageError, ReadAlone):
            raise
        except TimeoutError as error:
            raise too_slow(path, TIMEOUTS_PER_FILE * self._timeout) from error
        except Exception as error:  # every driver raises errors of its own
            passing = not isinstance(error, PermissionError)
            raise FetchError(f"{path} cannot be read: {error}", Problem.STORE, passing=passing) from error

    def _whole(self, path: str, address: str, most: int) -> bytes:
        files, _ = self._opened
        about = self._asked("info", address)
        if about.get("type") == "directory":
            raise ImageError(f"{path} is not a file")
        size: int | None = about.get("size")
        if size is None:
            if most < MAX_IMAGE_BYTES:
                raise ReadAlone
            with files.open(address, "rb") as opened:
                data: bytes = opened.read(MAX_IMAGE_BYTES + 1)
            checked_size(path, len(data))
            return data
        checked_size(path, size)
        if size > most:
            raise ReadAlone
        data = self._asked("cat_file", address, start=0, end=size)
        if len(data) != size:
            raise changed(path)
        return data

    def _asked(self, what: str, address: str, **options: int) -> Any:
        """Calls a driver's method, for so long as a file may take where the driver lets itself be stopped."""
        files, _ = self._opened
        if not files.async_impl:
            return getattr(files, what)(address, **options)
        from fsspec import asyn

        seconds = TIMEOUTS_PER_FILE * self._timeout
        return cast("Any", asyn).sync(files.loop, getattr(files, f"_{what}"), address, timeout=seconds, **options)
