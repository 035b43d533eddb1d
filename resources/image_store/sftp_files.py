"""Single files over sftp: for hosts that run no tar, and for what a tar archive does not tell."""

import asyncio
import logging
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import PurePosixPath
from typing import cast

import asyncssh

from resources.errors import ConfigurationError, ImageError, Unavailable
from resources.image_store.base import (
    TIMEOUTS_PER_FILE,
    FetchError,
    ReadAlone,
    Refusals,
    changed,
    checked_size,
    too_slow,
)
from resources.image_store.tar_stream import Silent, encoded
from resources.records import Problem
from resources.ssh import ConnectionLost, is_lost

log = logging.getLogger("c4.fetch")

NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
"""Errors of sftp for a path at which nothing is."""

OF_THE_FILE = (
    asyncssh.SFTPBadMessage,
    asyncssh.SFTPInvalidFilename,
    asyncssh.SFTPLinkLoop,
    asyncssh.SFTPFileIsADirectory,
)
"""Errors of sftp that concern the one file; a name that is too long is a bad message. All others concern the host."""


MAX_SFTP_REQUESTS = 16
"""Files requested at the same time over sftp."""

MAX_GREETING_BYTES = 80
"""How much of a greeting is shown."""


class NoSftp(ConfigurationError):
    """The host does not offer sftp to this account."""


class SftpFiles:
    """The files below a folder of a host. All methods are called on the event loop of the connection.

    Args:
        root: the folder, absolute.
        timeout: seconds that one request may take. A file may take :data:`TIMEOUTS_PER_FILE` times as long.
    """

    def __init__(self, host: str, root: str, timeout: float) -> None:
        self._host, self._root, self._timeout = host, root, timeout
        self._opening = asyncio.Lock()
        self._opened: tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient, bytes] | None = None
        self._silent: asyncssh.SSHClientConnection | None = None
        self._at_once = AtOnce(MAX_SFTP_REQUESTS)

    async def real_name(self, connection: asyncssh.SSHClientConnection, path: str) -> str:
        """Resolves all links in a path below the root. The result is relative to the root.

        Raises:
            ImageError: the path leads out of the root, or nowhere.
        """
        client, root = await self._client(connection)
        try:
            async with asyncio.timeout(self._timeout):
                real = await client.realpath(root + b"/" + encoded(path))
        except TimeoutError as error:
            raise self._fell_silent(connection) from error
        except asyncssh.SFTPError as error:
            raise self._told(path, error, connection) from error
        return _below(path, real, root, self._host).decode("utf-8", "surrogateescape")

    async def read(self, connection: asyncssh.SSHClientConnection, path: str, name: str, most: int) -> bytes:
        """Reads a file. A server that refuses it is asked for fewer at once, and again after a while.

        Args:
            path: the path to name in messages.
            name: the path to read, relative to the root.
            most: most bytes that the file may have now.

        Raises:
            ImageError: there is no such file, it leads out of the root, it changes while it is read, or the server
                keeps refusing it.
            ReadAlone: the file has more than ``most`` bytes.
            Silent: the server does not answer.
        """
        client, root = await self._client(connection)
        refused_alone = 0
        while True:
            async with self._at_once.place():
                whole = asyncio.timeout(TIMEOUTS_PER_FILE * self._timeout)
                try:
                    async with whole:
                        data = await self._once(connection, client, root, path, name, most)
                except TimeoutError as error:
                    if whole.expired():
                        raise too_slow(path, TIMEOUTS_PER_FILE * self._timeout) from error
                    raise self._fell_silent(connection) from error
                except FetchError as error:
                    if not error.passing:
                        raise
                    if self._at_once.refused():
                        continue
                    waits = self._at_once.refusals.waits()
                    if refused_alone >= len(waits):
                        self._at_once.gave_up()
                        raise
                    await asyncio.sleep(waits[refused_alone])
                    refused_alone += 1
                else:
                    self._at_once.served()
                    return data

    async def _once(
        self,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
        root: bytes,
        path: str,
        name: str,
        most: int,
    ) -> bytes:
        asked = root + b"/" + encoded(name)
        try:
            # Both at once, which saves a round trip. Only a regular file is opened: a pipe would block the server.
            async with asyncio.timeout(self._timeout):
                real, status = await asyncio.gather(client.realpath(asked), client.stat(asked))
            _below(path, real, root, self._host)
            if not stat.S_ISREG(status.permissions or 0):
                raise ImageError(f"{path} is not a file")
            checked_size(path, status.size or 0)
            if (status.size or 0) > most:
                raise ReadAlone
            return await self._whole(client, real, path, status.size or 0)
        except NOT_THERE:
            raise await self._absent(client, root, path, asked) from None
        except asyncssh.SFTPError as error:
            raise self._told(path, error, connection) from error

    async def _whole(self, client: asyncssh.SFTPClient, real: bytes, path: str, size: int) -> bytes:
        blocks: list[bytes] = []
        arrived = 0
        most = max(client.limits.max_read_len, 1)
        async with asyncio.timeout(self._timeout):
            file = await client.open(real, "rb", encoding=None, block_size=0)
        try:
            # One byte more than expected shows a file that grows.
            while arrived <= size:
                asked = min(most, size + 1 - arrived)
                async with asyncio.timeout(self._timeout):
                    block = cast("bytes", await file.read(asked, arrived))
                blocks.append(block)
                arrived += len(block)
                if not block or arrived == size:
                    break
        finally:
            async with asyncio.timeout(self._timeout):
                await file.close()
        if arrived != size:
            raise changed(path)
        return b"".join(blocks)

    async def _absent(self, client: asyncssh.SFTPClient, root: bytes, path: str, asked: bytes) -> FetchError:
        """The error of a file that is not there: its own, or that of a file system that is not mounted."""
        message = f"{path} is not in the image store {self._host}:{self._root}; copy it there"
        own = folder = PurePosixPath(asked.decode("utf-8", "surrogateescape")).parent
        try:
            async with asyncio.timeout(self._timeout):
                while (there := encoded(str(folder))) != root and not await client.isdir(there):
                    folder = folder.parent
                mount_point = folder != own or root in (there, encoded(str(folder.parent)))
                if mount_point and await _is_empty(client, there):
                    message = f"{path} is not there, and nothing else is in the folder {folder} of {self._host}"
                    return FetchError(f"{message}: mount what belongs there", Problem.STORE)
        except asyncssh.SFTPError as error:
            log.debug("cannot see why %s is not there: %s", path, error)
        return FetchError(message, Problem.ABSENT)

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
            if greeting := await self._greeting(connection):
                raise NoSftp(
                    f"The login shell of {self._host} prints «{greeting}» ahead of everything, which breaks sftp: let "
                    "its start-up files (.bashrc, .profile) print in interactive shells alone, or let sshd_config have "
                    "«Subsystem sftp internal-sftp»."
                ) from error
            raise NoSftp(
                f"{self._host} lets this account use neither tar nor sftp ({error.reason}): allow one of them there, "
                "or name another account in C4_STORE_URL."
            ) from error
        async with asyncio.timeout(self._timeout):
            root = bytes(await client.realpath(encoded(self._root)))
            wrong = "has no folder" if not await client.isdir(root) else ""
            wrong = wrong or ("has nothing in the folder" if await _is_empty(client, root) else "")
        if wrong:
            raise Unavailable(
                f"The image store {self._host} {wrong} {self._root}: mount it there, or correct C4_STORE_URL. No image "
                "was marked as failed."
            )
        return client, root

    async def _greeting(self, connection: asyncssh.SSHClientConnection) -> str:
        """What the login shell prints when it is told to do nothing: its first line, or nothing."""
        try:
            async with asyncio.timeout(self._timeout):
                async with connection.create_process("true", encoding=None) as shell:
                    said = await shell.stdout.read(MAX_GREETING_BYTES)
        except (TimeoutError, asyncssh.Error):
            return ""
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[0][:MAX_GREETING_BYTES] if lines else ""

    def _fell_silent(self, connection: asyncssh.SSHClientConnection) -> Silent:
        """Ends a connection on which nothing comes any more; what else was asked for on it learns why it ended."""
        self._silent = connection
        connection.abort()
        return Silent(f"Nothing has come for {self._timeout:g} s")

    def _told(self, path: str, error: asyncssh.SFTPError, connection: asyncssh.SSHClientConnection) -> Exception:
        """The exception for an sftp error: of the image, or of the connection."""
        if isinstance(error, asyncssh.SFTPNoConnection | asyncssh.SFTPConnectionLost):
            if connection is self._silent:
                return Silent(f"Nothing has come for {self._timeout:g} s")
            return ConnectionLost(f"The connection was lost ({error.reason})")
        if isinstance(error, NOT_THERE):
            message = f"{path} is not in the image store {self._host}:{self._root}; copy it there"
            return FetchError(message, Problem.ABSENT)
        problem = Problem.FILE if isinstance(error, OF_THE_FILE) else Problem.STORE
        return FetchError(f"{path} cannot be opened: {error.reason}", problem, passing=problem is Problem.STORE)


def _below(path: str, real: bytes, root: bytes, host: str) -> bytes:
    """The part of a resolved path below the resolved root."""
    base = root.rstrip(b"/") + b"/"
    if not (real + b"/").startswith(base):
        raise ImageError(f"{path} is a link that leads out of the image store {host}:{root.decode(errors='replace')}")
    return real[len(base) :]


async def _is_empty(client: asyncssh.SFTPClient, folder: bytes) -> bool:
    """Whether nothing is in a folder; one that cannot be listed has something."""
    try:
        found = cast("AsyncGenerator[asyncssh.SFTPName]", client.scandir(folder))
        async with aclosing(found) as names:
            async for name in names:
                if name.filename not in (b".", b".."):
                    return False
            return True
    except asyncssh.SFTPError:
        return False


class AtOnce:
    """How many files are read at once: as many as the server takes, which its refusals show.

    After a refusal it is the number of the others that were being read; each file that comes makes room for a part of
    another one.
    """

    def __init__(self, most: int) -> None:
        self._ceiling = most
        self._most = float(most)
        self._inside = 0
        self._left = asyncio.Condition()
        self.refusals = Refusals()

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Waits until one more file may be read."""
        async with self._left:
            await self._left.wait_for(lambda: self._inside < int(self._most))
            self._inside += 1
        try:
            yield
        finally:
            async with self._left:
                self._inside -= 1
                self._left.notify_all()

    def refused(self) -> bool:
        """Whether other files were being read, so that the refused one may be let in with fewer of them."""
        others = self._inside - 1
        self._most = max(1.0, min(self._most - 1, others))
        return others > 0

    def served(self) -> None:
        """Notes that a file came."""
        self._most = min(self._most + 1 / self._most, self._ceiling)
        self.refusals.ended(well=True)

    def gave_up(self) -> None:
        """Notes that a file is refused however few are read. Unless that goes on, it was for no number of them."""
        self.refusals.ended(well=False)
        if self.refusals.waits():
            self._most = self._ceiling
