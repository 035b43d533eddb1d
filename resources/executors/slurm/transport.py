"""Where Slurm's commands run: on this machine, or on a login node over ssh.

Commands get a clean environment. The run worker's own variables must not change what a command does (``SBATCH_*``,
``SQUEUE_*``, a job's own ``SLURM_*``) or the language of its messages, and must not reach jobs, where anybody may read
them.
"""

import os
import secrets
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from resources.errors import ConfigurationError, Unavailable
from resources.redaction import redacted
from resources.ssh import ConnectionLost, SshAccess, SshConnection

if TYPE_CHECKING:
    import asyncssh

KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF")
"""Variables that a command keeps. ``SLURM_CONF`` says where a cluster's configuration is."""

NO_SUCH_COMMAND = (126, 127)
"""Exit codes of a shell, and of env, for a command that cannot be run or is not there."""

SHOWN_CHARACTERS = 200
"""So much of what a shell says is shown in a message."""


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

    greeting: str
    """What its shell said of its own accord around the last command; empty if nothing."""

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
    """Slurm's command line on this machine.

    Args:
        commands: the folder of Slurm's commands; what PATH has if ``None``.
    """

    name = "this machine"
    greeting = ""

    def __init__(self, commands: Path | None = None) -> None:
        self._commands = commands

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        if self._commands:
            environment["PATH"] = f"{self._commands}:{environment.get('PATH', os.defpath)}"
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
        except (FileNotFoundError, PermissionError) as error:
            raise ConfigurationError(
                f"{command[0]} is not in the PATH of C4's account on {self.name}. Install Slurm's client commands, "
                "name their folder in slurm.commands, or set slurm.login to a login node of the cluster."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{command[0]} did not answer within {timeout:g} s on {self.name}.") from error
        return Completed(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        return


class SshTransport:
    """Slurm's command line on a login node. One connection is kept and opened again when it is lost.

    What the account's shell prints of its own accord, before or after a command, is told from what the command prints.

    Args:
        access: key, known host keys and time-out.
        commands: the folder of Slurm's commands; what PATH has there if ``None``.
    """

    def __init__(
        self,
        host: str,
        user: str | None = None,
        port: int | None = None,
        access: SshAccess | None = None,
        commands: Path | None = None,
    ) -> None:
        self._connection = SshConnection(
            host,
            user,
            port,
            access or SshAccess(),
            when_refused="Set slurm.login.user and slurm.login.key to an account that may submit jobs, and add the "
            "public key to its authorized_keys there.",
        )
        self._commands = commands
        self._mark = f"c4-{secrets.token_hex(8)}"
        self.name = self._connection.name
        self.greeting = ""

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        line = shell_line(command, self._mark, self._commands)

        async def answer(connection: "asyncssh.SSHClientConnection") -> Completed:
            import asyncssh

            try:
                # Without an input it is closed, as in a script: no command may wait for a password.
                given: dict[str, Any] = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
                done = await connection.run(line, **given, encoding="utf-8", errors="replace")
            except asyncssh.ChannelOpenError as error:  # the kept connection broke unnoticed
                connection.abort()
                raise ConnectionLost(f"The connection to {self.name} was lost: {error.reason}") from error
            if done.exit_status is None:
                raise ConnectionLost(f"The connection to {self.name} was lost while a command ran.")
            return Completed(done.exit_status, str(done.stdout or ""), str(done.stderr or ""))

        done = self._told_apart(command[0], self._connection.ask(answer, command[0], timeout).wait())
        if done.code in NO_SUCH_COMMAND and command[0] != "sh" and command[0] in done.err:
            raise ConfigurationError(
                f"{command[0]} is not in the PATH of an ssh session on {self.name}. Name the folder of Slurm's "
                f"commands there in slurm.commands (a terminal on that machine tells it: command -v {command[0]})."
            )
        return done

    def close(self) -> None:
        self._connection.close()

    def _told_apart(self, command: str, session: Completed) -> Completed:
        """What the command printed and how it ended, from what its session did."""
        before, began, rest = session.out.partition(f"{self._mark}\n")
        out, ended, after = rest.rpartition(f"\n{self._mark} ")
        err_before, err_began, err_rest = session.err.partition(f"{self._mark}\n")
        err, _, err_after = err_rest.rpartition(f"{self._mark}\n")
        code, _, after = after.partition("\n")
        if began and ended and code.isdigit():
            self.greeting = _one_line(before, err_before if err_began else "", after, err_after)
            return Completed(int(code), out, err if err_began else session.err)
        if began:
            raise ConnectionLost(f"{command} on {self.name} was broken off.")
        said = _one_line(session.out, session.err) or "nothing"
        raise Unavailable(
            f"The shell of {self.name} ran no command. It said: {said}. Try: ssh {self.name} true. The account must be "
            "one that may run commands."
        )


def shell_line(command: Sequence[str], mark: str, commands: Path | None = None) -> str:
    """A command line that runs a command in a clean environment, whatever the shell of the account is.

    A line with ``mark`` comes before what the command prints, on both outputs, and one after it: on standard output
    with the exit code behind the mark.
    """
    kept = " ".join(f'${{{name}:+{name}="${name}"}}' for name in KEPT_VARIABLES)
    folder = f"PATH={shlex.quote(str(commands))}:$PATH; " if commands else ""
    script = (
        f"{folder}echo {mark}; echo {mark} >&2; env -i {kept} LC_ALL=C {shlex.join(command)}; "
        f'code=$?; echo; echo "{mark} $code"; echo {mark} >&2'
    )
    return f"/bin/sh -c {shlex.quote(script)}"


def _one_line(*texts: str) -> str:
    """What was said, short enough for a message."""
    words = redacted(" ".join(" ".join(texts).split()))  # before it is cut
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS]} …"
