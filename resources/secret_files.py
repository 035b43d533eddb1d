"""Which permissions of a file with secrets are too wide: one rule for all of them, wherever they are looked at."""

from pathlib import Path

SERVICES_ENVIRONMENT = Path("/etc/c4/environment")
"""What systemd reads for services of the whole machine, and for nothing else: passwords may be in it."""

TOO_OPEN = 0o027
"""Others may do nothing with it. A group may read: root's file that the services' account is to read has such a one."""

CHMOD_PRIVATE = "g-w,o-rwx"
"""The words by which ``chmod`` takes :data:`TOO_OPEN` away."""


def is_too_open(mode: int) -> bool:
    """Whether a file of this mode can be read or changed by more accounts than should."""
    return bool(mode & TOO_OPEN)


def environment_of_services(home: Path, user_manager: bool) -> Path:
    """The file with variables that services of systemd alone are given.

    Args:
        home: C4's home, which has the file where an account's own manager (``systemctl --user``) starts them.
    """
    return home / "environment" if user_manager else SERVICES_ENVIRONMENT
