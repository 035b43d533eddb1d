"""Locks between processes and machines: the operating system's, which end with the process that holds them.

A file system without such locks is refused. A lock that is a mere file would stay for ever when its holder dies on
another machine.
"""

import errno
import fcntl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resources.errors import ConfigurationError

WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
"""What a file system answers that has no locks, or none at the moment."""

HOW_TO_MEND = (
    "mount it with them (Lustre: the option flock, not localflock; NFS: without nolock and local_lock), or use another "
    "file system"
)


@contextmanager
def locked(file: Path, timeout: float = -1) -> Generator[None]:
    """Holds the lock of a file, which is made if it is not there and stays.

    Args:
        timeout: seconds to wait for another holder; without end if negative.

    Raises:
        ConfigurationError: the file system has no locks.
        TimeoutError: another process holds it for longer.
    """
    from filelock import FileLock

    lock = FileLock(file, timeout=timeout, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise ConfigurationError(_no_locks(file.parent, error)) from error
    try:
        yield
    finally:
        lock.release()


def refuse_folder_without_locks(folder: Path) -> None:
    """Makes a folder if necessary and tries a lock in it. Nothing stays.

    Raises:
        ConfigurationError: its file system has no locks, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        without = error.errno in WITHOUT_LOCKS
        why = _no_locks(folder, error) if without else f"{folder} cannot be written to: {error.strerror or error}."
        raise ConfigurationError(why) from error


def why_not_held(file: Path) -> str:
    """Why a file that another machine has locked is not seen as locked here; empty if it is.

    The answer is a sentence about its folder.
    """
    try:
        with file.open("rb+") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return "It is not the same folder as on the machine that checks."
    except BlockingIOError:
        return ""
    except OSError as error:
        return _no_locks(file.parent, error)
    return f"A lock on one machine does not hold on another: {HOW_TO_MEND}."


def _no_locks(folder: Path, error: OSError) -> str:
    return (
        f"The file system of {folder} has no locks that other machines see ({error.strerror}): {HOW_TO_MEND}. Without "
        "them, two runs of one day could undo each other's results."
    )
