"""Connections to other machines by ssh. One is opened on first use, kept, used from any thread, and reopened when lost.

Host keys are always verified. Login is by key alone: one in a file, those of an agent, or the user's own.
``~/.ssh/config`` is read, so that aliases and jump hosts work.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from resources.errors import C4Error, ConfigurationError, Unavailable
from resources.extras import naming_extras
from resources.ssh_hosts import Asked, Hop, way_to

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

KEEPALIVE_SECONDS = 15
"""Seconds between keepalive messages. A connection on which two in a row get no answer is lost."""


LAST_MOMENT_SECONDS = 0.5
"""How long a broken connection may still seem open. Only a request that was refused waits for it, once."""


class ConnectionLost(Unavailable):
    """The connection broke or could not be made. The request may be tried again on a new one."""


class NoAnswer(Unavailable):
    """The host did not answer in time. Whether it did what was asked is not known."""


@dataclass(frozen=True)
class SshAccess:
    """What a login needs, besides the address.

    Attributes:
        key: private key file; without one, the agent's and the user's default keys are tried.
        known_hosts: file with the host's key, and perhaps those of jump hosts, which are looked for in the user's own
            files as well; the user's own alone if ``None``.
        timeout: seconds that a login may take, or that the host may be silent when it should send something.
    """

    key: Path | None = None
    known_hosts: Path | None = None
    timeout: float = 15


class SshConnection:
    """One connection to a host, on an event loop in a thread of its own.

    Args:
        when_refused: advice to the operator for when the host refuses the login.
    """

    def __init__(self, host: str, user: str | None, port: int | None, access: SshAccess, when_refused: str) -> None:
        self._asked, self._access = Asked(host, user, port), access
        self.name = self._asked.name
        self._when_refused = when_refused
        self._connection: asyncssh.SSHClientConnection | None = None
        self._jump_hosts: list[asyncssh.SSHClientConnection] = []
        self._connecting: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def ask(
        self,
        use: "Callable[[asyncssh.SSHClientConnection], Coroutine[Any, Any, T]]",
        what: str,
        timeout: float | None = None,
    ) -> "Answer[T]":
        """Starts ``use(connection)`` on the connection's event loop, which connects first if necessary.

        Args:
            what: what is asked of the host, for the message when no answer comes.
            timeout: seconds for connecting and use together; without one, ``use`` must limit itself.
        """

        async def within_time() -> T:
            return await use(await self._connected())

        async def answer() -> T | Exception:
            try:
                return await asyncio.wait_for(within_time(), timeout)
            except Exception as error:  # returned, because nobody may be waiting for it any more
                return error

        future = asyncio.run_coroutine_threadsafe(answer(), self._running_loop())
        return Answer(future, lambda: self._explained(f"{what} on {self.name}", timeout or self._access.timeout))

    def soon(self, callback: Callable[[], object]) -> None:
        """Schedules a call on the connection's event loop, from another thread; does nothing after :meth:`close`."""
        with self._starting:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback)

    def drop(self) -> None:
        """Aborts the connection; the next use opens another one."""
        if (connection := self._connection) is not None:
            self.soon(connection.abort)

    def close(self) -> None:
        """Closes the connection and ends its thread. A later use starts both again."""
        with self._starting:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        closed = asyncio.run_coroutine_threadsafe(self._closed(), loop)
        concurrent.futures.wait([closed])
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _closed(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            try:
                # The host counts a connection as open until it has seen its end.
                await asyncio.wait_for(connection.wait_closed(), 5)
            except TimeoutError:
                connection.abort()
        self._leave_jump_hosts()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._connection, self._connecting = None, asyncio.Lock()
                self._thread = threading.Thread(target=self._loop.run_forever, name=f"ssh to {self.name}", daemon=True)
                self._thread.start()
            return self._loop

    async def _connected(self) -> "asyncssh.SSHClientConnection":
        assert self._connecting is not None  # noqa: S101 (made with the loop)
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._leave_jump_hosts()
                way = await asyncio.to_thread(way_to, self._asked)
                for hop in way[:-1]:
                    self._jump_hosts.append(await self._logged_in(hop))
                self._connection = await self._logged_in(way[-1])
            return self._connection

    def _leave_jump_hosts(self) -> None:
        while self._jump_hosts:
            self._jump_hosts.pop().close()

    async def _logged_in(self, hop: Hop) -> "asyncssh.SSHClientConnection":
        """Logs in to a host, through the last of the jump hosts that there is a connection to."""
        import asyncssh

        key = self._access.key
        if hop.asked == self._asked and key and not key.is_file():
            raise ConfigurationError(f"There is no key {key} to log in to {self.name} with.")
        # A jump host has a key of its own where ~/.ssh/config says so.
        offered = key if hop.asked == self._asked or not hop.has_own_key else None
        through = self._jump_hosts[-1] if self._jump_hosts else None
        with self._explained_login(hop):
            known = [file for file in self._known_hosts_of(hop) if file.exists()]
            if not known:
                raise asyncssh.HostKeyNotVerifiable("none of the files exists")
            return await asyncssh.connect(
                hop.asked.host,
                hop.asked.port or (),
                username=hop.asked.user or (),
                tunnel=through,
                client_keys=[str(offered)] if offered else (),
                known_hosts=_read_known_hosts(known),
                connect_timeout=self._access.timeout,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=2,
            )

    def _known_hosts_of(self, hop: Hop) -> tuple[Path, ...]:
        if (given := self._access.known_hosts) is None:
            return hop.known_hosts
        return (given,) if hop.asked == self._asked else (given, *hop.known_hosts)

    @contextmanager
    def _explained_login(self, hop: Hop) -> Generator[None]:
        """Names the host on the way that an error is of, and the files in which its key was looked for."""
        import asyncssh

        name, files = hop.asked.name, " or ".join(map(str, self._known_hosts_of(hop)))
        is_end = hop.asked == self._asked
        try:
            yield
        except C4Error:
            raise
        except asyncssh.KeyExchangeFailed as error:
            raise ConfigurationError(
                f"{name} offers no host key or cipher that can be used: {error.reason}. If its host key is of another "
                f"kind now, compare it with the one that the host's administrators publish and correct {files}."
            ) from error
        except asyncssh.HostKeyNotVerifiable as error:
            known_as = f", under the name {hop.known_as}" if hop.known_as else ""
            where = f"on {hop.behind}: " if hop.behind else ""
            raise ConfigurationError(
                f"The host key of {name} is not the one in {files}. Compare it with the one that the host's "
                f"administrators publish and add it{known_as} ({where}ssh-keyscan -p {hop.port} {hop.address})."
            ) from error
        except asyncssh.PermissionDenied as error:
            advice = self._when_refused if is_end else f"Name its User and IdentityFile in ~/.ssh/config (Host {name})."
            raise ConfigurationError(f"{name} refused the login: {error.reason}. {advice}") from error
        except asyncssh.KeyImportError as error:
            key = self._access.key if is_end and self._access.key else f"A key of ~/.ssh for {name}"
            raise ConfigurationError(f"{key} cannot be used as a key: {error}.") from error
        except TimeoutError as error:
            raise NoAnswer(f"The login to {name} was not answered within {self._access.timeout:g} s.") from error
        except (OSError, asyncssh.Error) as error:
            through = f" through {hop.behind}" if hop.behind else ""
            raise ConnectionLost(f"{name} cannot be reached by ssh{through}: {error}") from error

    @contextmanager
    def _explained(self, what: str, timeout: float) -> Generator[None]:
        """Turns exceptions of asyncssh, on a connection that there is, into errors with a message for the operator."""
        with naming_extras():
            import asyncssh

        try:
            yield
        except C4Error:
            raise
        except TimeoutError as error:
            raise NoAnswer(f"{what} did not answer within {timeout:g} s.") from error
        except (OSError, asyncssh.Error) as error:
            raise ConnectionLost(f"{self.name} cannot be reached by ssh: {error}") from error


def _read_known_hosts(files: Sequence[Path]) -> "asyncssh.SSHKnownHosts":
    import asyncssh

    try:
        return asyncssh.read_known_hosts([str(file) for file in files])
    except (OSError, ValueError) as error:
        names = " or ".join(map(str, files))
        raise ConfigurationError(f"The host keys in {names} cannot be read: {error}.") from error


async def is_lost(connection: "asyncssh.SSHClientConnection") -> bool:
    """Whether a connection is lost on which a request failed: its channels fail a moment before it reports so."""
    try:
        await asyncio.wait_for(connection.wait_closed(), LAST_MOMENT_SECONDS)
    except TimeoutError:
        return False
    return True


@dataclass(frozen=True)
class Answer(Generic[T]):
    """The pending answer of a host."""

    _future: "concurrent.futures.Future[T | Exception]"
    _explained: Callable[[], Any]

    def wait(self) -> T:
        """Waits for the answer and returns it.

        Raises:
            ConnectionLost: the host cannot be reached, or the connection broke.
            NoAnswer: no answer in time.
            ConfigurationError: an unknown host key, or a refused login.
        """
        try:
            answer = self._future.result()
        except BaseException:
            self.forget()  # after an interrupt, the request is still running
            raise
        with self._explained():
            if isinstance(answer, Exception):
                raise answer
            return answer

    def forget(self) -> None:
        """Drops the answer: nobody waits for it any more."""
        self._future.cancel()
