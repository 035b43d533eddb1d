"""File systems that are soon full."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import unavailable


@contextmanager
def small_file_system(folder: Path, size: str = "1m", inodes: int = 20) -> Generator[Path]:
    """A new folder on a file system of its own in memory, until the block ends.

    Args:
        size: as ``mount`` takes it; 1 MB without.
        inodes: of files and folders; 0 for as many as there is room for.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        unavailable("a small file system cannot be mounted: run the tests as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
