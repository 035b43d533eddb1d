"""Where Slurm's commands run: on this machine, or on a login node over ssh.

Commands get a clean environment. The run worker's own variables must not change what a command does (``SBATCH_*``,
``SQUEUE_*``, a job's own ``SLURM_*``) or the language of its messages, and must not reach jobs, where anybody may read
them.
"""

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resources.errors import ConfigurationError, Unavailable
from resources.ssh import ConnectionLost, SshAccess, SshConnection

if TYPE_CHECKING:
    import asyncssh

KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF")
"""Variables that a command keeps. ``SLURM_CONF`` says where a cluster's configuration is."""


@dataclass(frozen=True)
class Completed:
    """The result of a command."""

    code: int
    out: str
    err: str


class Transport(Protocol):
    """Runs commands on a machine that has Slurm's command line."""

    name: str
    """The machine's name, for messages."""

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        """Runs one command and waits for it, ``timeout`` seconds at most.

        Raises:
            Unavailable: the machine or the command did not answer in time; whether the command took effect is unknown.
            ConfigurationError: it cannot work like this (no such command, an unknown host key, a refused login).
        """
        ...

    def close(self) -> None:
        """Closes what is kept open."""
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
        access: key, known host keys and time-out.
    """

    def __init__(self, host: str, user: str | None = None, port: int = 22, access: SshAccess | None = None) -> None:
        self._connection = SshConnection(
            host,
            user,
            port,
            access or SshAccess(),
            when_refused="Set `transport.user` and `transport.key` to an account that may submit jobs, and add the "
            "public key to its authorized_keys there.",
        )
        self.name = self._connection.name

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        line = shell_line(command)

        async def answer(connection: "asyncssh.SSHClientConnection") -> Completed:
            import asyncssh

            try:
                # The input is closed, as in a script: no command may ask for a password.
                done = await connection.run(line, input=stdin, encoding="utf-8", errors="replace")
            except asyncssh.ChannelOpenError as error:  # the kept connection broke unnoticed
                connection.abort()
                raise ConnectionLost(f"The connection to {self.name} was lost: {error.reason}") from error
            if done.exit_status is None:
                raise ConnectionLost(f"The connection to {self.name} was lost while a command ran.")
            return Completed(done.exit_status, str(done.stdout or ""), str(done.stderr or ""))

        return self._connection.ask(answer, command[0], timeout).wait()

    def close(self) -> None:
        self._connection.close()


def shell_line(command: Sequence[str]) -> str:
    """A command line for a login node's shell that runs a command in a clean environment."""
    kept = " ".join(f'${{{name}:+{name}="${name}"}}' for name in KEPT_VARIABLES)
    return f"env -i {kept} LC_ALL=C {shlex.join(command)}"
