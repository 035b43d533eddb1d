"""The staging area: one Arrow file an inspection, between the image store and the classifier.

One file and not two hundred, because parallel file systems die of small files. It is a buffer and no archive: an
inspection leaves it as soon as its probabilities are durable.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from resources.archive.tables import Columns, read_arrow, write_arrow
from resources.records import Image

ROWS_A_BATCH = 16
"""Images written and read at once, which bounds the memory of both ends (about 5 MB at 5 megapixels)."""


STAGED_COLUMNS: Columns = {
    "image_id": "int64",
    "inspection_id": "int64",
    "plate": "string",
    "well": "string",
    "drop_number": "int64",
    "path": "string",
    "fetched_at": "time",
    "sha256": "string",
    "size": "int64",
    "taken_at": "time",
    "data": "large_binary",
    "error": "string",
}


@dataclass(frozen=True)
class StagedImage:
    """An image on its way to the classifier. Exactly one of ``data`` and ``error`` is set.

    ``fetched_at`` names the attempt: whatever becomes of the image, and however often that is reported.
    """

    image: Image
    fetched_at: datetime
    data: bytes | None
    error: str | None = None
    sha256: str | None = None
    taken_at: datetime | None = None
    """When the file itself says that it was taken."""


@dataclass(frozen=True)
class StagedFile:
    """What is known of a staged image without reading its bytes. ``size`` is their number."""

    image_id: int
    sha256: str | None
    size: int | None
    taken_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class StagedInspection:
    """What :meth:`Staging.write` put down, in files and bytes of images."""

    images: int
    failed: int
    bytes: int


class Staging:
    """The staged inspections, a folder a day: an image is fetched once, however many models classify it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def size(self) -> int:
        """Bytes that are staged."""
        return sum(_size(file) for file in self._root.glob("*/*.arrow"))

    def _file(self, day: date, inspection_id: int) -> Path:
        return self._root / day.isoformat() / f"{inspection_id}.arrow"

    def inspections(self, day: date) -> list[int]:
        """Identifiers of the inspections that are staged for a day."""
        return sorted(int(file.stem) for file in (self._root / day.isoformat()).glob("*.arrow"))

    def write(self, day: date, inspection_id: int, staged: Iterable[StagedImage]) -> StagedInspection:
        """Stages an inspection. It becomes visible when all of it is on disk.

        Raises:
            OSError: the disk is full, say; nothing is left behind.
        """
        images = failed = size = 0

        def counted() -> Iterator[dict[str, object]]:
            nonlocal images, failed, size
            for row in staged:
                images += 1
                failed += row.error is not None
                size += len(row.data or b"")
                yield _row(row)

        write_arrow(self._file(day, inspection_id), STAGED_COLUMNS, counted(), ROWS_A_BATCH)
        return StagedInspection(images, failed, size)

    def images(self, day: date, inspection_id: int) -> set[Image]:
        """The images that are staged of an inspection, as they were listed then; none if it is not staged."""
        return {_image(row) for row in self._without_data(day, inspection_id)}

    def files(self, day: date, inspection_id: int) -> list[StagedFile]:
        """What is known of an inspection's staged images; none if it is not staged."""
        names = StagedFile.__dataclass_fields__
        return [StagedFile(**{name: row[name] for name in names}) for row in self._without_data(day, inspection_id)]

    def _without_data(self, day: date, inspection_id: int) -> Iterator[dict[str, Any]]:
        return read_arrow(self._file(day, inspection_id), STAGED_COLUMNS.keys() - {"data"})

    def read(self, day: date, inspection_id: int) -> Iterator[StagedImage]:
        """The staged images of an inspection, a batch in memory at a time.

        Nothing comes of one that is not staged any more: another run has finished it.
        """
        for row in read_arrow(self._file(day, inspection_id)):
            yield StagedImage(_image(row), row["fetched_at"], row["data"], row["error"], row["sha256"], row["taken_at"])

    def remove(self, day: date, inspection_id: int) -> None:
        """Gives an inspection's space back."""
        self._file(day, inspection_id).unlink(missing_ok=True)


def _image(row: dict[str, Any]) -> Image:
    return Image(**{name: row[name] for name in Image.__dataclass_fields__})


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0  # it was classified meanwhile


def _row(staged: StagedImage) -> dict[str, object]:
    return {
        **vars(staged.image),
        "fetched_at": staged.fetched_at,
        "sha256": staged.sha256,
        "size": None if staged.data is None else len(staged.data),
        "taken_at": staged.taken_at,
        "data": staged.data,
        "error": staged.error,
    }
