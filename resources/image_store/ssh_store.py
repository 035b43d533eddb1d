"""Images on another machine, over one ssh connection.

The images of an inspection come as one ``tar`` stream: one round trip for all of them instead of several for each.
Where the account may run no commands, they come over sftp, several at a time. A lost connection is reopened, and only
the images that have not arrived are requested again.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from resources.errors import ConfigurationError, ImageError, Unavailable
from resources.image_store.base import FetchedImage, checked_size, safe_path
from resources.ssh import Answer, ConnectionLost, NoAnswer, SshAccess, SshConnection, is_lost
from resources.ssh_hosts import Asked

if TYPE_CHECKING:
    import asyncssh

    from resources.image_store.sftp_files import SftpFiles
    from resources.image_store.tar_stream import ArrivingTar, Entry

T = TypeVar("T")

log = logging.getLogger("c4.fetch")

MAX_RECONNECTS = 3
"""How often in a row a lost connection is reopened without a single image arriving in between."""

FIRST_WAIT_SECONDS = 0.5
"""Wait before the first reconnect, on average; it doubles before each further one."""

MAX_SFTP_REQUESTS = 16
"""Files requested at the same time over sftp, which also bounds the memory used."""


@dataclass(frozen=True)
class Wanted:
    """An image that is being fetched.

    Attributes:
        path: the path in the database.
        name: the path that is requested, relative to the root.
        real: whether ``name`` is known to contain no link.
        error: why the image must not be requested at all.
    """

    path: str
    name: str = ""
    real: bool = False
    error: str | None = None


class SshStore:
    """The files below a folder of a host: ``ssh://[user@]host[:port]/folder``, or ``sftp://…`` to use no tar.

    At most one connection is open at a time, from the first fetch until :meth:`close`.

    Raises:
        ConfigurationError: the address has no host or folder, or has a password in it.
    """

    def __init__(self, url: str, access: SshAccess) -> None:
        host, user, port, self._root, self._tar_runs = _parsed(url)
        self._timeout = access.timeout
        self._connection = SshConnection(
            host,
            user,
            port,
            access,
            when_refused="Name an account that may read the images in C4_STORE_URL and its key in C4_STORE_SSH_KEY "
            "(or load the key into the agent), and add the public key to its authorized_keys there.",
        )
        at_port = f"-p {port} " if port else ""
        self._look = f"See whether it is up and lets you in (ssh {at_port}{self._connection.name})"
        self._sftp: SftpFiles | None = None

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """See :meth:`ImageStore.fetch`.

        Raises:
            Unavailable: the host cannot be reached, or is silent for too long, or has no such folder.
            ConfigurationError: the host key is not the known one, the login is refused, or nothing may be read.
        """
        wanted = [_wanted(path) for path in paths]
        done = losses = 0
        while done < len(wanted):
            try:
                for image in self._by_tar(wanted, done) if self._tar_runs else self._by_sftp(wanted[done:]):
                    yield image
                    done += 1
                    losses = 0
            except ConnectionLost as error:
                losses += 1
                if losses > MAX_RECONNECTS:
                    raise self._given_up(error) from error
                seconds = FIRST_WAIT_SECONDS * 2 ** (losses - 1) * random.uniform(0.5, 1.5)  # noqa: S311
                log.warning("%s; trying again in %.1f s. %d of %d images are here.", error, seconds, done, len(wanted))
                time.sleep(seconds)
            except NoAnswer as error:
                self._connection.drop()
                raise self._given_up(error) from error

    def close(self) -> None:
        """See :meth:`ImageStore.close`."""
        self._connection.close()
        self._sftp = None

    def _given_up(self, error: Unavailable) -> Unavailable:
        return Unavailable(
            f"The image store {self._connection.name} does not answer: {str(error).rstrip('.')}. {self._look}, or "
            "raise C4_TIMEOUT_SECONDS. No image was marked as failed."
        )

    def _by_tar(self, wanted: list[Wanted], first: int) -> Iterator[FetchedImage]:
        """Yields from the first on; ends early where the rest has to be requested in another way."""
        from resources.image_store.tar_stream import NoTar, entries

        asked = [index for index in range(first, len(wanted)) if wanted[index].error is None]
        if not asked:
            yield from self._by_sftp(wanted[first:])
            return
        files = [f"./{wanted[index].name}" for index in asked]
        # The root itself proves that tar runs. Folders are requested as well, so that one that is a link shows.
        names = [".", *_folders(files), *files]
        ahead = len(names) - len(files)
        done = first
        try:
            with self._tar(names) as tar:
                for entry in entries(tar, names):
                    if entry.at < ahead and not entry.is_link:
                        continue
                    index = asked[max(entry.at - ahead, 0)]
                    yield from self._by_sftp(wanted[done:index])  # tar left these out; sftp says why
                    if entry.is_link:
                        self._follow(wanted, index, names[entry.at])
                        return
                    yield self._taken(wanted[index], entry)
                    done = index + 1
                    if entry.is_too_large:
                        return
        except NoTar as error:
            self._without_tar(error)
            return
        yield from self._by_sftp(wanted[done:])

    @contextmanager
    def _tar(self, names: Sequence[str]) -> "Generator[ArrivingTar]":
        """Runs tar on the host, which begins to send those files; it ends with the context."""
        import asyncssh

        from resources.image_store.tar_stream import CHANNEL_WINDOW_BYTES, ArrivingTar, NoTar, tar_command

        tar = ArrivingTar(names, self._timeout, self._connection.soon)

        async def begin(connection: asyncssh.SSHClientConnection) -> None:
            try:
                opening: Coroutine[Any, Any, object] = cast("Any", connection).create_session(
                    lambda: tar, tar_command(self._root), encoding=None, window=CHANNEL_WINDOW_BYTES
                )
                await asyncio.wait_for(opening, self._timeout)
            except asyncssh.ChannelOpenError as error:
                if tar.begun:
                    return  # and it was lost since: what has arrived can still be read
                if await is_lost(connection):
                    raise ConnectionLost(f"The connection was lost ({error.reason})") from error
                raise NoTar(error.reason) from error

        self._connection.ask(begin, "tar").wait()
        try:
            yield tar
        finally:
            tar.leave()

    def _taken(self, one: Wanted, entry: "Entry") -> FetchedImage:
        if entry.size is None:
            return FetchedImage(one.path, None, f"{one.path} is not a file")
        try:
            checked_size(one.path, entry.size)
        except ImageError as error:
            return FetchedImage(one.path, None, str(error))
        return FetchedImage(one.path, entry.data) if entry.sound else next(self._by_sftp([one]))

    def _by_sftp(self, wanted: Sequence[Wanted]) -> Iterator[FetchedImage]:
        """Yields images in order, several requested at a time; only those are in memory."""
        ahead = deque[tuple[Wanted, Answer[bytes] | None]]()
        try:
            for one in wanted:
                ahead.append((one, None if one.error else self._ask_sftp(partial(_bytes_of, one))))
                if len(ahead) == MAX_SFTP_REQUESTS:
                    yield self._read(*ahead.popleft())
            while ahead:
                yield self._read(*ahead.popleft())
        finally:
            for _, answer in ahead:
                if answer:
                    answer.forget()

    def _read(self, one: Wanted, answer: Answer[bytes] | None) -> FetchedImage:
        from resources.image_store.sftp_files import NoSftp

        try:
            return FetchedImage(one.path, answer.wait()) if answer else FetchedImage(one.path, None, one.error)
        except ImageError as error:
            return FetchedImage(one.path, None, str(error))
        except NoSftp:
            if not self._tar_runs:
                raise
            return FetchedImage(one.path, None, f"{one.path} cannot be read by tar; sftp, which could say why, is off")

    def _follow(self, wanted: list[Wanted], first: int, link: str) -> None:
        """Resolves the links in all names from the first on, after a link was found.

        A resolved name that has a link again is refused: it might lead out of the root.
        """

        async def real_name(one: Wanted, files: "SftpFiles", connection: "asyncssh.SSHClientConnection") -> Wanted:
            if one.error:
                return one
            if one.real:
                behind = f"./{one.name}/".startswith(f"{link}/")
                return replace(one, error=f"{one.path} is behind a link that changes") if behind else one
            try:
                return replace(one, name=await files.real_name(connection, one.path), real=True)
            except ImageError as error:
                return replace(one, error=str(error))

        async def real_names(files: "SftpFiles", connection: "asyncssh.SSHClientConnection") -> list[Wanted]:
            return await asyncio.gather(*(real_name(one, files, connection) for one in wanted[first:]))

        wanted[first:] = self._ask_sftp(real_names).wait()

    def _without_tar(self, error: Exception) -> None:
        """Switches from tar to sftp, if that works. A missing root is no reason to switch."""

        async def looked(files: "SftpFiles", connection: "asyncssh.SSHClientConnection") -> None:
            await files.real_name(connection, ".")

        self._ask_sftp(looked).wait()
        self._tar_runs = False
        log.warning(
            "%s runs no tar for this account (%s): images come by sftp, %d at a time.",
            self._connection.name,
            error,
            MAX_SFTP_REQUESTS,
        )

    def _ask_sftp(
        self, use: "Callable[[SftpFiles, asyncssh.SSHClientConnection], Coroutine[Any, Any, T]]"
    ) -> "Answer[T]":
        from resources.image_store.sftp_files import SftpFiles

        files = self._sftp = self._sftp or SftpFiles(self._connection.name, self._root, self._timeout)
        return self._connection.ask(lambda connection: use(files, connection), "sftp")


async def _bytes_of(one: Wanted, files: "SftpFiles", connection: "asyncssh.SSHClientConnection") -> bytes:
    return await files.read(connection, one.path, one.name)


def _parsed(url: str) -> tuple[str, str | None, int | None, str, bool]:
    """Parses an address: host, user, port (``None`` if it names none), folder, and whether tar may be tried."""
    rule = "C4_STORE_URL cannot be used: an address over ssh is ssh://[user@]host[:port]/folder"
    try:
        parts = urlsplit(url)
        host = Asked.parsed(parts.netloc)
    except ValueError as error:
        raise ConfigurationError(f"{rule} ({error}).") from None
    if parts.password is not None:
        raise ConfigurationError(f"{rule}, without a password: log in with a key (C4_STORE_SSH_KEY) or an agent.")
    folder = unquote(parts.path)
    if folder in ("", "/") or "\0" in folder or parts.query or parts.fragment:
        raise ConfigurationError(f"{rule}.")
    return host.host, host.user, host.port, folder, parts.scheme == "ssh"


def _wanted(path: str) -> Wanted:
    try:
        return Wanted(path, str(safe_path(path)))
    except ImageError as error:
        return Wanted(path, error=str(error))


def _folders(names: Sequence[str]) -> list[str]:
    """The folders on the way to the names, each once and after its parent; without the root."""
    return list(
        dict.fromkeys(
            f"./{folder}" for name in names for folder in reversed(PurePosixPath(name).parents) if folder.name
        )
    )
