"""A real OpenSSH server on loopback, with key pairs of its own, for benchmarks and tests."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType

from resources.ssh import SshAccess
from testing.ports import free_port
from testing.programs import path_of, require


class Sshd:
    """One server and what its clients need to log in as the user that runs it.

    Args:
        folder: for keys, configuration and log; made if it is not there.
        options: further lines of ``sshd_config``, such as ``ForceCommand internal-sftp``.
    """

    host = "127.0.0.1"
    user = getpass.getuser()

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder, self.options, self.port = folder, options, free_port()
        self.key, self.known_hosts = folder / "user_key", folder / "known_hosts"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Sshd":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the server and waits until it answers; one that was stopped comes back with the same keys and port.

        Raises:
            NotInstalled: sshd or ssh-keygen is missing.
        """
        require("A storage host or login node", "sshd", "ssh-keygen")
        if not self.key.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.new_host_key()
            make_key(self.key)
            shutil.copy(self.key.with_suffix(".pub"), self.folder / "authorized_keys")
            self.known_hosts.write_text(self.known_as(self.port))
        config = self.folder / "sshd_config"
        own = (
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"PidFile {self.folder}/sshd.pid",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "PermitRootLogin yes",
            "Subsystem sftp internal-sftp",
        )
        # What comes first counts in sshd_config.
        config.write_text("\n".join((*self.options, *own)) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen([path_of("sshd"), "-D", "-e", "-f", str(config)], stderr=log)
        end = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"sshd does not start: see {self.folder}/sshd.log")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server and its sessions, as when a host goes down."""
        if self._process is None:
            return
        self.end_sessions()
        self._process.terminate()
        self._process.wait(10)
        self._process = None

    def end_sessions(self) -> None:
        """Ends all sessions; the server stays."""
        for pid in self._sessions():
            with suppress(ProcessLookupError):  # it may end by itself
                os.kill(pid, signal.SIGTERM)

    def new_host_key(self) -> None:
        """Gives the host another key, which counts from the next start on."""
        (self.folder / "host_key").unlink(missing_ok=True)
        make_key(self.folder / "host_key")

    @property
    def access(self) -> SshAccess:
        """What logs in."""
        return SshAccess(self.key, self.known_hosts)

    def behind(self, port: int, timeout: float = 15) -> SshAccess:
        """What logs in through a port of loopback that leads to the server, such as a proxy's."""
        known_hosts = self.folder / f"known_hosts_{port}"
        known_hosts.write_text(self.known_as(port))
        return SshAccess(self.key, known_hosts, timeout)

    def known_as(self, port: int) -> str:
        """The line of a ``known_hosts`` file for this server at a port of loopback."""
        return f"[{self.host}]:{port} {(self.folder / 'host_key.pub').read_text()}"

    def _sessions(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def _answers(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex((self.host, self.port)) == 0


def make_key(file: Path) -> None:
    """Makes a key pair without a passphrase; the public key lies beside it, ending in ``.pub``."""
    subprocess.run([path_of("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
