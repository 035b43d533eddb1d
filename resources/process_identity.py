"""Which process something was done by, so that another process can tell later whether that one still lives."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Fate = Literal["lives", "is gone", "went with its machine", "cannot be looked at"]

NO_PROCESS_STATES = ("Z", "X")
"""States in which the kernel lists a process that has ended."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told from every other one: of any machine, of any boot of it, and of any that gets its number later.

    Args:
        host: the machine's name, and ``machine`` its id, which tells apart machines of one name; empty if it has none.
        boot: the kernel's id of this boot; empty where there is no ``/proc``.
        namespace: in which ``pid`` counts: a container has numbers of its own.
        started: when the process started, in the kernel's ticks since the boot.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def of_this_process(cls) -> "ProcessIdentity":
        in_namespace = Path("/proc/self/ns/pid")
        namespace = str(in_namespace.readlink()) if in_namespace.is_symlink() else ""
        boot = _text("/proc/sys/kernel/random/boot_id")
        machine = _text("/etc/machine-id")
        return cls(socket.gethostname(), machine, boot, namespace, os.getpid(), _state_and_start(os.getpid())[1])

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def fate(self) -> Fate:
        """What became of the process, as this one sees it. Only a process of this machine can be looked at."""
        here = ProcessIdentity.of_this_process()
        if not self.boot or not here.boot:
            return "cannot be looked at"
        if (self.boot, self.namespace) == (here.boot, here.namespace):
            return self._fate_by_number()
        # Machines without an id may share a name, as containers and clones of a machine do.
        if self.machine and (self.host, self.machine) == (here.host, here.machine) and self.boot != here.boot:
            return "went with its machine"
        return "cannot be looked at"

    def _fate_by_number(self) -> Fate:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return "is gone"
        except PermissionError:
            pass  # it is another user's
        state, started = _state_and_start(self.pid)
        if not started:
            return "cannot be looked at"  # /proc hides other users' processes
        return "lives" if started == self.started and state not in NO_PROCESS_STATES else "is gone"


def _state_and_start(pid: int) -> tuple[str, str]:
    """State and start of a process, fields 3 and 22 of its ``stat``; empty where there is none to read."""
    # The second field is the program's name in parentheses, and may hold spaces and parentheses.
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
