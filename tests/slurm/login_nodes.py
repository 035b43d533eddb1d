"""Login nodes whose shells are not the usual ones."""

import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resources.executors.slurm.transport import SshTransport
from testing.sshd import Sshd

GREETING = "*** Welcome *** Quota | 3 of 5 TB Have a nice day"

GREET = """\
echo '*** Welcome ***'
echo 'Quota | 3 of 5 TB' >&2
sh -c "$SSH_ORIGINAL_COMMAND"
echo 'Have a nice day'
"""

NEEDED = ("sh", "mkdir", "cat", "mv", "env", "id", "stat")
"""What C4 runs on a login node besides Slurm's commands."""

SLURM = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct")


@dataclass
class LoginNode:
    """A login node, and the folder of Slurm's commands there."""

    sshd: Sshd
    commands: Path

    @property
    def login(self) -> dict[str, object]:
        """The table ``slurm.login``."""
        host = self.sshd
        return {
            "host": host.host,
            "user": "root",
            "port": host.port,
            "key": str(host.key),
            "known_hosts": str(host.known_hosts),
        }

    def transport(self, commands: Path | None = None) -> SshTransport:
        """The way to it."""
        return SshTransport(self.sshd.host, "root", self.sshd.port, self.sshd.access, commands)


@contextmanager
def login_node_with(folder: Path, shell: str) -> Generator[LoginNode]:
    """A login node on which every session runs the lines of a shell, which may run ``$SSH_ORIGINAL_COMMAND``."""
    folder.mkdir(parents=True)
    (folder / "shell").write_text(f"#!/bin/sh\n{shell}\n")
    (folder / "shell").chmod(0o755)
    commands = _links(folder / "slurm", SLURM)
    options = [f"ForceCommand {folder}/shell", f"SetEnv SLURM_CONF={os.environ['SLURM_CONF']}"]
    with Sshd(folder / "sshd", options) as sshd:
        yield LoginNode(sshd, commands)


def bare_path(folder: Path) -> str:
    """Lines of a shell whose PATH has no Slurm."""
    return f'export PATH={_links(folder, NEEDED)}\nsh -c "$SSH_ORIGINAL_COMMAND"'


def _links(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder
