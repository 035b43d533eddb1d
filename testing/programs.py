"""The programs of this machine that the servers need."""

import os
import shutil

PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin"
"""Where programs are looked for: those of servers are in /usr/sbin, which not every user's path has."""


class NotInstalled(RuntimeError):
    """This machine lacks something that a server needs; the message says what to install."""


def require(what: str, *programs: str, root: bool = False) -> None:
    """Makes sure that the programs are installed.

    Args:
        what: what they are needed for, as the first words of the message.
        root: the rights of root are needed, too.

    Raises:
        NotInstalled: something is missing.
    """
    missing = [program for program in programs if shutil.which(program, path=PATH) is None]
    missing += ["root's rights"] if root and os.geteuid() != 0 else []
    if missing:
        raise NotInstalled(f"{what} needs {', '.join(missing)}: run deploy/system-packages (as root).")


def path_of(program: str) -> str:
    """Where a program lies.

    Raises:
        NotInstalled: it is missing.
    """
    require(program, program)
    return str(shutil.which(program, path=PATH))
