"""Images at any address that fsspec knows: object stores, HTTP servers, archives."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast

from resources.errors import ConfigurationError, ImageError, Unavailable
from resources.image_store.base import FetchedImage, FetchError, checked_size, fetch_each, safe_path
from resources.records import Problem


class FsspecStore:
    """The files below an fsspec address. Credentials come from the environment, as the fsspec driver documents."""

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec import core

        try:
            return cast("Any", core).url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"C4_STORE_URL cannot be used: {error}.") from error

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """See :meth:`ImageStore.fetch`."""
        files, root = self._opened
        try:
            there = files.exists(root)
        except Exception as error:  # every driver raises errors of its own
            raise Unavailable(f"The image store at {root!r} does not answer: {error}.") from error
        if not there:
            raise Unavailable(
                f"The image store has nothing at {root!r}: correct C4_STORE_URL. No image was marked as failed."
            )
        return fetch_each(paths, self._read)

    def close(self) -> None:
        """See :meth:`ImageStore.close`."""

    def _read(self, path: str) -> bytes:
        files, root = self._opened
        address = f"{root.rstrip('/')}/{safe_path(path)}"
        try:
            checked_size(path, files.size(address) or 0)
            return files.cat_file(address)
        except FileNotFoundError:
            raise FetchError(f"{path} is not in the image store; copy it there", Problem.ABSENT) from None
        except ImageError:
            raise
        except Exception as error:
            raise FetchError(f"{path} cannot be read: {error}", Problem.STORE) from error
