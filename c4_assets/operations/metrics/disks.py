"""Room on the file systems of a deployment's folders."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from c4_assets.operations.metrics.catalogue import Sample
from resources.settings import Settings


def places(settings: Settings) -> Mapping[str, Path]:
    """The folders that may fill, by what they are for."""
    return {
        "home": settings.home,
        "staging": settings.staging,
        "archive": settings.archive,
        "dagster": settings.dagster_home,
    }


def room(place: str, folder: Path) -> Iterator[Sample]:
    """Room of one folder, or of the nearest folder above it that is there.

    Raises:
        OSError: its file system does not answer in the right way; it may also hang.
    """
    there = next(each for each in (folder, *folder.parents) if each.exists())
    found = os.statvfs(there)
    yield Sample("c4_disk_free_bytes", found.f_bavail * found.f_frsize, (place,))
    yield Sample("c4_disk_size_bytes", found.f_blocks * found.f_frsize, (place,))
