"""The staging area: one Arrow file an inspection, between the image store and the classifier.

One file and not two hundred, because parallel file systems die of small files. It is a buffer and no archive: an
inspection leaves it as soon as its probabilities are durable, and one that cannot be read is fetched again.
"""

import logging
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from resources.archive.tables import Columns, read_arrow, write_arrow
from resources.archive.unreadable import UnreadableFile, make_way, reading, set_aside
from resources.atomic_write import remove_abandoned
from resources.records import Image, Problem

log = logging.getLogger("c4.staging")

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
    "problem": "string",
    "data_crc32": "int64",
    "row_crc32": "int64",
}
"""Arrow files have no checksums of their own: ``row_crc32`` is that of all columns but ``data`` and itself."""

_FILE_NAME = re.compile(r"(0|-?[1-9][0-9]*)\.arrow")
"""Names of staged files. Whatever else lies in the folder is not ours."""


@dataclass(frozen=True)
class StagedImage:
    """An image on its way to the classifier. Exactly one of ``data`` and ``error`` is set, ``problem`` with the error.

    ``fetched_at`` names the attempt: whatever becomes of the image, and however often that is reported.
    """

    image: Image
    fetched_at: datetime
    data: bytes | None
    error: str | None = None
    sha256: str | None = None
    taken_at: datetime | None = None
    """When the file itself says that it was taken."""
    problem: Problem | None = None


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

    def changed_at(self) -> datetime | None:
        """When an inspection was staged or left last, by the clock of the folder's host. None if none ever did.

        Raises:
            OSError: the folder cannot be looked at.
        """
        if not self._root.exists():
            return None
        times = [folder.stat().st_mtime for folder in self._root.iterdir() if folder.is_dir()]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _file(self, day: date, inspection_id: int) -> Path:
        return self._root / day.isoformat() / f"{inspection_id}.arrow"

    def inspections(self, day: date) -> list[int]:
        """Identifiers of the inspections that are staged for a day."""
        files = (self._root / day.isoformat()).glob("*.arrow")
        return sorted(int(found[1]) for file in files if (found := _FILE_NAME.fullmatch(file.name)))

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
                yield _with_checksums(_row(row))

        file = self._file(day, inspection_id)
        make_way(file, self._root)
        remove_abandoned(file.parent)
        write_arrow(file, STAGED_COLUMNS, counted(), ROWS_A_BATCH)
        return StagedInspection(images, failed, size)

    def images(self, day: date, inspection_id: int) -> set[Image]:
        """The images that are staged of an inspection, as they were listed then; none if it is not staged."""
        return {_image(row) for row in self._without_data(day, inspection_id)}

    def files(self, day: date, inspection_id: int) -> list[StagedFile]:
        """What is known of an inspection's staged images; none if it is not staged."""
        names = StagedFile.__dataclass_fields__
        return [StagedFile(**{name: row[name] for name in names}) for row in self._without_data(day, inspection_id)]

    def _without_data(self, day: date, inspection_id: int) -> list[dict[str, Any]]:
        try:
            return list(self._rows(self._file(day, inspection_id), STAGED_COLUMNS.keys() - {"data"}))
        except UnreadableFile as error:
            self.discard(day, inspection_id, error)
            return []

    def read(self, day: date, inspection_id: int) -> Iterator[StagedImage]:
        """The staged images of an inspection, a batch in memory at a time.

        Nothing comes of one that is not staged any more: another run has finished it.

        Raises:
            UnreadableFile: the file was damaged since it was written. Nothing that came before it may be used, and
                the caller is to :meth:`discard` the inspection.
        """
        file = self._file(day, inspection_id)
        for row in self._rows(file):
            with reading(file):
                staged = StagedImage(
                    _image(row),
                    row["fetched_at"],
                    row["data"],
                    row["error"],
                    row["sha256"],
                    row["taken_at"],
                    # What an earlier release staged does not say.
                    Problem(row["problem"]) if row.get("problem") else None,
                )
            yield staged

    def _rows(self, file: Path, names: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        for row in read_arrow(file, names):
            with reading(file):
                _verify(row)
            yield row

    def discard(self, day: date, inspection_id: int, error: UnreadableFile) -> None:
        """Removes an inspection that cannot be read. It counts as not staged, so its images are fetched again."""
        log.warning("%s The images of inspection %d are fetched again.", error, inspection_id)
        self.remove(day, inspection_id)

    def remove(self, day: date, inspection_id: int) -> None:
        """Gives an inspection's space back."""
        file = self._file(day, inspection_id)
        if file.is_dir() or self._root.joinpath(day.isoformat()).is_file():
            set_aside(file, self._root)  # somebody else's
        else:
            file.unlink(missing_ok=True)


def _with_checksums(row: dict[str, object]) -> dict[str, object]:
    data = row["data"]
    row = {**row, "data_crc32": zlib.crc32(data) if isinstance(data, bytes) else None}
    return {**row, "row_crc32": _checksum(row)}


def _checksum(row: Mapping[str, object]) -> int:
    values = [(name, value) for name, value in sorted(row.items()) if value is not None]
    return zlib.crc32(repr([(name, _as_written(value)) for name, value in values if name not in _CHECKED]).encode())


_CHECKED = ("data", "row_crc32")


def _as_written(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, str) else value  # a member of an enumeration is written as its text


def _verify(row: Mapping[str, Any]) -> None:
    if row["image_id"] is None or row["inspection_id"] is None:
        raise ValueError("it has no images")
    if row.get("row_crc32") is None:
        return  # an earlier release staged it
    if row["row_crc32"] != _checksum(row):
        raise ValueError(f"the row of image {row['image_id']} is not as it was written")
    if "data" in row and row["data_crc32"] != (None if row["data"] is None else zlib.crc32(row["data"])):
        raise ValueError(f"the bytes of image {row['image_id']} are not as they were written")


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
        "problem": staged.problem,
    }
