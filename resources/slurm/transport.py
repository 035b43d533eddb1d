"""Where Slurm's commands run: on this machine, or on a login node over ssh.

Commands get a clean environment: what the run worker has in its own must change neither what a command means
(``SBATCH_*``, ``SQUEUE_*``, a job's own ``SLURM_*``) nor its words, and must not travel into
jobs, where anybody may read it.
"""

import asyncio
import os
import shlex
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from resources.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import asyncssh

T = TypeVar("T")

KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF")
"""What a command sees of its environment. ``SLURM_CONF`` says where a cluster's configuration is."""


@dataclass(frozen=True)
class Completed:
    """What a command answered."""

    code: int
    out: str
    err: str


class Transport(Protocol):
    """Runs commands on a machine that has Slurm's command line."""

    name: str
    """Where that is, for messages."""

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        """Runs one command and waits for it, at most ``timeout`` seconds.

        Raises:
            Unavailable: the machine or the command did not answer in time: nobody knows what it did.
            ConfigurationError: it cannot work like this (no such command, an unknown host key, a refused login).
        """
        ...

    def close(self) -> None:
        """Ends what is kept open."""
        ...


class LocalTransport:
    """Slurm's command line on this machine."""

    name = "this machine"

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        try:
            done = subprocess.run(
                list(command),
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env={**environment, "LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"{command[0]} is not installed on {self.name}. Install Slurm's client commands, or set `transport` to "
                "the login node of the cluster."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{command[0]} did not answer within {timeout:g} s on {self.name}.") from error
        return Completed(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        return


class SshTransport:
    """Slurm's command line on a login node. One connection is kept and opened again when it is lost.

    Args:
        key: private key file; without one, the agent's and the user's default keys are tried.
        known_hosts: file with the host key of the login node; the user's own if None. It is always checked.
        connect_timeout: seconds.
    """

    def __init__(
        self,
        host: str,
        user: str | None = None,
        port: int = 22,
        key: Path | None = None,
        known_hosts: Path | None = None,
        connect_timeout: float = 15,
    ) -> None:
        self.name = f"{user}@{host}" if user else host
        self._host, self._port, self._user, self._key = host, port, user, key
        self._known_hosts = known_hosts or Path("~/.ssh/known_hosts").expanduser()
        self._connect_timeout = connect_timeout
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        return self._wait_for(self._run(shell_line(command), stdin), command[0], timeout)

    def close(self) -> None:
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        if self._connection is not None:
            loop.call_soon_threadsafe(self._connection.abort)
        loop.call_soon_threadsafe(loop.stop)

    def _wait_for(self, answer: "Coroutine[object, object, T]", what: str, timeout: float) -> T:
        import asyncssh

        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(answer, timeout), self._running_loop())
        try:
            return future.result()
        except asyncssh.HostKeyNotVerifiable as error:
            raise ConfigurationError(
                f"The host key of {self.name} is not the one in {self._known_hosts}. Compare it with the one that the "
                f"cluster's administrators publish and add it (ssh-keyscan -p {self._port} {self._host})."
            ) from error
        except asyncssh.PermissionDenied as error:
            raise ConfigurationError(
                f"{self.name} refused the login: {error.reason}. Set `transport.user` and `transport.key` to an "
                "account that may submit jobs, and add the public key to its authorized_keys there."
            ) from error
        except TimeoutError as error:
            raise Unavailable(f"{what} on {self.name} did not answer within {timeout:g} s.") from error
        except (OSError, asyncssh.Error) as error:
            raise Unavailable(f"{self.name} cannot be reached by ssh: {error}") from error

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._connection, self._connecting = None, asyncio.Lock()
                threading.Thread(target=self._loop.run_forever, name=f"ssh to {self.name}", daemon=True).start()
            return self._loop

    async def _run(self, line: str, stdin: str) -> Completed:
        import asyncssh

        connection = await self._connected()
        try:
            # Closed input is what sbatch and squeue see from a script, too: nothing may ask for a password.
            done = await connection.run(line, input=stdin, encoding="utf-8", errors="replace")
        except asyncssh.ChannelOpenError as error:  # the kept connection died unseen
            connection.abort()
            raise Unavailable(f"The connection to {self.name} was lost: {error.reason}") from error
        if done.exit_status is None:
            raise Unavailable(f"The connection to {self.name} was lost while a command ran.")
        return Completed(done.exit_status, str(done.stdout or ""), str(done.stderr or ""))

    async def _connected(self) -> "asyncssh.SSHClientConnection":
        import asyncssh

        assert self._connecting is not None  # noqa: S101 (made with the loop)
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                if not self._known_hosts.exists():
                    raise asyncssh.HostKeyNotVerifiable(f"{self._known_hosts} does not exist")
                self._connection = await asyncssh.connect(
                    self._host,
                    self._port,
                    username=self._user or (),
                    client_keys=[str(self._key)] if self._key else (),
                    known_hosts=str(self._known_hosts),
                    connect_timeout=self._connect_timeout,
                    login_timeout=self._connect_timeout,
                    keepalive_interval=15,
                    keepalive_count_max=2,
                )
            return self._connection


def shell_line(command: Sequence[str]) -> str:
    """One line for a login node's shell that runs a command in a clean environment."""
    kept = " ".join(f'${{{name}:+{name}="${name}"}}' for name in KEPT_VARIABLES)
    return f"env -i {kept} LC_ALL=C {shlex.join(command)}"
