"""Single files over sftp: for hosts that run no tar, and for what a tar archive does not tell."""

import asyncio
import stat
from typing import cast

import asyncssh

from resources.errors import ConfigurationError, ImageError, Unavailable
from resources.image_store.base import FetchError, checked_size
from resources.image_store.tar_stream import encoded
from resources.records import Problem
from resources.ssh import ConnectionLost, is_lost

NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
"""Errors of sftp for a path at which nothing is."""

OF_THE_FILE = (
    asyncssh.SFTPBadMessage,
    asyncssh.SFTPInvalidFilename,
    asyncssh.SFTPLinkLoop,
    asyncssh.SFTPFileIsADirectory,
)
"""Errors of sftp that concern the one file; a name that is too long is a bad message. All others concern the host."""


class NoSftp(ConfigurationError):
    """The host does not offer sftp to this account."""


class SftpFiles:
    """The files below a folder of a host. All methods are called on the event loop of the connection.

    Args:
        root: the folder, absolute.
        timeout: seconds that one request may take.
    """

    def __init__(self, host: str, root: str, timeout: float) -> None:
        self._host, self._root, self._timeout = host, root, timeout
        self._opening = asyncio.Lock()
        self._opened: tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient, bytes] | None = None

    async def real_name(self, connection: asyncssh.SSHClientConnection, path: str) -> str:
        """Resolves all links in a path below the root. The result is relative to the root.

        Raises:
            ImageError: the path leads out of the root, or nowhere.
        """
        client, root = await self._client(connection)
        try:
            async with asyncio.timeout(self._timeout):
                real = await client.realpath(root + b"/" + encoded(path))
        except asyncssh.SFTPError as error:
            raise self._told(path, error) from error
        return _below(path, real, root, self._host).decode("utf-8", "surrogateescape")

    async def read(self, connection: asyncssh.SSHClientConnection, path: str, name: str) -> bytes:
        """Reads a file.

        Args:
            path: the path to name in messages.
            name: the path to read, relative to the root.

        Raises:
            ImageError: there is no such file, it leads out of the root, or it changes while it is read.
        """
        client, root = await self._client(connection)
        asked = root + b"/" + encoded(name)
        try:
            # Both at once, which saves a round trip. Only a regular file is opened: a pipe would block the server.
            async with asyncio.timeout(self._timeout):
                real, status = await asyncio.gather(client.realpath(asked), client.stat(asked))
            _below(path, real, root, self._host)
            if not stat.S_ISREG(status.permissions or 0):
                raise ImageError(f"{path} is not a file")
            checked_size(path, status.size or 0)
            return await self._whole(client, real, path, status.size or 0)
        except asyncssh.SFTPError as error:
            raise self._told(path, error) from error

    async def _whole(self, client: asyncssh.SFTPClient, real: bytes, path: str, size: int) -> bytes:
        blocks: list[bytes] = []
        arrived = 0
        most = client.limits.max_read_len
        async with asyncio.timeout(self._timeout):
            file = await client.open(real, "rb", encoding=None, block_size=0)
        try:
            # One byte more than expected shows a file that grows.
            while arrived <= size:
                async with asyncio.timeout(self._timeout):
                    block = cast("bytes", await file.read(min(most, size + 1 - arrived), arrived))
                blocks.append(block)
                arrived += len(block)
                if not block or arrived == size:
                    break
        finally:
            async with asyncio.timeout(self._timeout):
                await file.close()
        if arrived != size:
            raise FetchError(f"{path} changed while it was read; it is read again later", Problem.ABSENT)
        return b"".join(blocks)

    async def _client(self, connection: asyncssh.SSHClientConnection) -> tuple[asyncssh.SFTPClient, bytes]:
        async with self._opening:
            if self._opened is None or self._opened[0] is not connection:
                self._opened = (connection, *await self._open(connection))
            return self._opened[1], self._opened[2]

    async def _open(self, connection: asyncssh.SSHClientConnection) -> tuple[asyncssh.SFTPClient, bytes]:
        try:
            async with asyncio.timeout(self._timeout):
                client = await connection.start_sftp_client(path_encoding=None)
        except (asyncssh.ChannelOpenError, asyncssh.SFTPError) as error:
            if await is_lost(connection):
                raise ConnectionLost(f"The connection was lost ({error.reason})") from error
            raise NoSftp(
                f"{self._host} lets this account use neither tar nor sftp ({error.reason}): allow one of them there, "
                "or name another account in C4_STORE_URL."
            ) from error
        async with asyncio.timeout(self._timeout):
            root = bytes(await client.realpath(encoded(self._root)))
            there = await client.isdir(root)
        if not there:
            raise Unavailable(
                f"The image store {self._host} has no folder {self._root}: mount it there, or correct "
                "C4_STORE_URL. No image was marked as failed."
            )
        return client, root

    def _told(self, path: str, error: asyncssh.SFTPError) -> Exception:
        """The exception for an sftp error: of the image, or of the connection."""
        if isinstance(error, asyncssh.SFTPNoConnection | asyncssh.SFTPConnectionLost):
            return ConnectionLost(f"The connection was lost ({error.reason})")
        if isinstance(error, NOT_THERE):
            message = f"{path} is not in the image store {self._host}:{self._root}; copy it there"
            return FetchError(message, Problem.ABSENT)
        problem = Problem.FILE if isinstance(error, OF_THE_FILE) else Problem.STORE
        return FetchError(f"{path} cannot be opened: {error.reason}", problem)


def _below(path: str, real: bytes, root: bytes, host: str) -> bytes:
    """The part of a resolved path below the resolved root."""
    base = root.rstrip(b"/") + b"/"
    if not (real + b"/").startswith(base):
        raise ImageError(f"{path} is a link that leads out of the image store {host}:{root.decode(errors='replace')}")
    return real[len(base) :]
