"""Which file system a path lies on. SQLite must not lie on one that other machines write to."""

from pathlib import Path, PurePosixPath

import dagster as dg

from resources.errors import ConfigurationError

NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "lustre",
        "gpfs",
        "beegfs",
        "beegfs_nodev",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "afs",
        "9p",
        "orangefs",
    ]
)
"""Types of file systems, as in /proc/mounts, on which SQLite's locks do not work between machines."""


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that an absolute path lies on, from the text of /proc/mounts; empty if unknown."""
    found, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = PurePosixPath(fields[1].replace("\\040", " "))
        # A later line with the same mount point hides the earlier one.
        if path.is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = fields[2].removeprefix("fuse."), len(mount.parts)
    return found


def refuse_sqlite_on_network_file_system(instance: dg.DagsterInstance, mounts: Path = Path("/proc/mounts")) -> None:
    """Refuses a Dagster instance that access from compute nodes would damage.

    Raises:
        ConfigurationError: the instance is SQLite on a network file system.
    """
    storage = type(instance.event_log_storage).__name__
    if "Sqlite" not in storage or not mounts.exists():
        return
    root = Path(instance.root_directory).resolve()
    kind = file_system_of(root, mounts.read_text())
    if kind in NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"The Dagster instance in {root} is SQLite on {kind}: its locks do not hold between machines there, and "
            "several nodes writing would damage it. Use PostgreSQL (runs.dagster_storage)."
        )
