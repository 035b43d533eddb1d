"""Images below an address of an HTTP server.

Names are percent-encoded here, all that is not a letter, digit or one of ``-._~``, and sent as they are: neither the
client nor the server finds a query, a space or a way upwards in them.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import cached_property
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from resources.errors import C4Error, ConfigurationError, ImageError, Unavailable
from resources.image_store.base import (
    MAX_IMAGE_BYTES,
    TIMEOUTS_PER_FILE,
    FetchedImage,
    FetchError,
    ReadAlone,
    checked_size,
    fetch_each,
    safe_path,
    too_large,
    too_slow,
    within_time,
)
from resources.records import Problem

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

MAX_REDIRECTS = 5
"""How often in a row a server may name another place for a file."""

ABSENT = frozenset({404, 410})
"""Answers of a server that has nothing at an address."""

OF_THE_FILE = frozenset({400, 414})
"""Answers of a server that cannot make sense of a name."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be other ones in a moment."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpStore:
    """The files below an address. Headers and credentials come from fsspec's configuration, as its driver documents.

    Args:
        timeout: seconds in which the server must be connected to, and in which it must send something.

    Raises:
        ConfigurationError: the address has a query or a fragment.
    """

    def __init__(self, url: str, timeout: float) -> None:
        if "?" in url or "#" in url:
            raise ConfigurationError(
                "C4_STORE_URL cannot be used: an address over HTTP is https://host/folder, without «?» and «#»."
            )
        self._url, self._timeout = url, timeout

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """See :meth:`ImageStore.fetch`."""
        return within_time(fetch_each(paths, self._read), len(paths), self._timeout, self._host)

    def close(self) -> None:
        """See :meth:`ImageStore.close`."""

    @cached_property
    def _root(self) -> "URL":
        from yarl import URL

        try:
            return URL(self._url)
        except ValueError as error:
            raise ConfigurationError(f"C4_STORE_URL cannot be used: {error}.") from error

    @property
    def _host(self) -> str:
        """The address without a user and password."""
        return str(self._root.with_user(None))

    @cached_property
    def _files(self) -> Any:
        """Fsspec's driver, which keeps connections open in a thread of its own. It must not unpack what it reads."""
        import fsspec
        from fsspec.config import conf

        known = cast("Any", conf).get(self._root.scheme, {})
        kept = {**known.get("client_kwargs", {}), "auto_decompress": False}
        try:
            return cast("Any", fsspec).filesystem(self._root.scheme, client_kwargs=kept)
        except ImportError as error:
            raise ConfigurationError(f"C4_STORE_URL cannot be used: {error}.") from error

    def _read(self, path: str, most: int) -> bytes:
        from fsspec import asyn

        return cast("Any", asyn).sync(self._files.loop, self._within_time, path, self._address(path), most)

    def _address(self, path: str) -> "URL":
        """The address of a file.

        Raises:
            ImageError: the path is none below the root, or would be none for a server that decodes it once more.
        """
        from yarl import URL

        name = safe_path(path)
        decoded = path
        while (once := unquote(decoded)) != decoded:
            decoded = once
        try:
            safe_path(decoded)
        except ImageError:
            raise ImageError(
                f"the path {path!r}, once decoded, is not one below the image store's root; correct it in the database"
            ) from None
        encoded = "/".join(quote(part, safe="") for part in name.parts)
        return URL(f"{str(self._root).rstrip('/')}/{encoded}", encoded=True)

    async def _within_time(self, path: str, address: "URL", most: int) -> bytes:
        import aiohttp

        seconds = TIMEOUTS_PER_FILE * self._timeout
        whole = asyncio.timeout(seconds)
        try:
            async with whole:
                return await self._answered(path, address, most)
        except (C4Error, ReadAlone):
            raise
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f"The image store {self._host} cannot be reached: {error}. See whether it is up, or correct "
                "C4_STORE_URL. No image was marked as failed."
            ) from error
        except TimeoutError as error:
            if whole.expired():
                raise too_slow(path, seconds) from error
            message = f"{path} cannot be read: {self._host} sent nothing for {self._timeout:g} s"
            raise FetchError(message, Problem.STORE) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: headers that make no sense
            message = f"{path} cannot be read from {self._host}: {str(error) or type(error).__name__}"
            raise FetchError(message, Problem.STORE, passing=True) from error

    async def _answered(self, path: str, address: "URL", most: int) -> bytes:
        import aiohttp

        session: aiohttp.ClientSession = await self._files.set_session()
        silence = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=self._timeout)
        known: dict[str, Any] = dict(self._files.kwargs)
        headers = {**known.pop("headers", {}), "Accept-Encoding": "identity"}
        for _ in range(MAX_REDIRECTS + 1):
            async with session.get(address, headers=headers, timeout=silence, allow_redirects=False, **known) as answer:
                if answer.status not in REDIRECTS:
                    return await self._body(path, answer, most)
                address = self._redirected(path, answer)
        raise FetchError(f"{path} cannot be read: {self._host} sends in a circle", Problem.STORE)

    def _redirected(self, path: str, answer: "aiohttp.ClientResponse") -> "URL":
        """Where the server sends for a file. It must lie below the root: elsewhere is a login page, or anything."""
        from yarl import URL

        root = self._root
        try:
            target = answer.url.join(URL(answer.headers.get("Location", "")))
        except ValueError:
            target = URL("")
        moved = (target.host, target.port) != (root.host, root.port) or target.scheme != root.scheme
        upgraded = target.host == root.host and (root.scheme, target.scheme) == ("http", "https")
        inside = unquote(target.path).startswith(f"{root.path.rstrip('/')}/") and ".." not in unquote(target.path)
        if (moved and not upgraded) or not inside:
            raise FetchError(
                f"{path} cannot be read: {self._host} sends to {target.host or 'nowhere'}, which C4 does not follow. "
                "See whether it wants a login",
                Problem.STORE,
            )
        return target

    async def _body(self, path: str, answer: "aiohttp.ClientResponse", most: int) -> bytes:
        if answer.status != HTTPStatus.OK:
            raise self._refused(path, answer.status)
        if answer.content_type == "text/html" or answer.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(
                f"{path} cannot be read: {self._host} answers with a web page or packed data. See whether it wants a "
                "login",
                Problem.STORE,
            )
        if answer.content_length is not None:
            checked_size(path, answer.content_length)
            if answer.content_length > most:
                raise ReadAlone
        blocks: list[bytes] = []
        arrived = 0
        async for block in answer.content.iter_any():
            blocks.append(block)
            arrived += len(block)
            if arrived > most:
                raise ReadAlone if most < MAX_IMAGE_BYTES else too_large(path, f"more than {MAX_IMAGE_BYTES:,}")
        checked_size(path, arrived)
        return b"".join(blocks)

    def _refused(self, path: str, status: int) -> FetchError:
        if status in ABSENT:
            return FetchError(f"{path} is not in the image store {self._host}; copy it there", Problem.ABSENT)
        said = responses.get(status, "no known reason")
        problem = Problem.FILE if status in OF_THE_FILE else Problem.STORE
        message = f"{path} cannot be read: {self._host} answered {status} ({said})"
        return FetchError(message, problem, passing=status in PASSING)
