"""Room on the file systems of a deployment's folders."""

from collections.abc import Iterator
from pathlib import Path

from c4_assets.operations.disks import room_of
from c4_assets.operations.metrics.catalogue import Sample


def room(place: str, folder: Path) -> Iterator[Sample]:
    """Room of one folder, or of the nearest folder above it that is there.

    Raises:
        OSError: its file system does not answer in the right way; it may also hang.
    """
    found = room_of(folder)
    yield Sample("c4_disk_free_bytes", found.bytes_free, (place,))
    yield Sample("c4_disk_size_bytes", found.bytes, (place,))
