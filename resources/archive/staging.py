"""The staging area: one Arrow file an inspection, between the image store and the classifier.

One file and not two hundred, because parallel file systems die of small files. It is a buffer and no archive: an
inspection leaves it as soon as its probabilities are durable.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.atomic_write import atomic_write
from resources.records import Image

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_A_BATCH = 16
"""Images written and read at once, which bounds the memory of both ends (about 5 MB at 5 megapixels)."""


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
        import pyarrow as pa

        schema = _schema()
        images = failed = size = 0
        with (
            atomic_write(self._file(day, inspection_id)) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            for rows in _batches(staged):
                writer.write_batch(pa.RecordBatch.from_pylist([_row(row) for row in rows], schema))
                images += len(rows)
                failed += sum(row.error is not None for row in rows)
                size += sum(len(row.data or b"") for row in rows)
        return StagedInspection(images, failed, size)

    def images(self, day: date, inspection_id: int) -> set[Image]:
        """The images that are staged of an inspection, as they were listed then; none if it is not staged."""
        return {_image(row) for row in self._without_data(day, inspection_id)}

    def files(self, day: date, inspection_id: int) -> list[StagedFile]:
        """What is known of an inspection's staged images; none if it is not staged."""
        names = StagedFile.__dataclass_fields__
        return [StagedFile(**{name: row[name] for name in names}) for row in self._without_data(day, inspection_id)]

    def _without_data(self, day: date, inspection_id: int) -> list[dict[str, Any]]:
        """An inspection's rows without the bytes of the images: of a mapped file, these are not read."""
        import pyarrow as pa

        try:
            with pa.memory_map(str(self._file(day, inspection_id))) as source:
                reader = pa.ipc.open_file(source)
                columns = [name for name in reader.schema.names if name != "data"]
                batches = (reader.get_batch(i).select(columns) for i in range(reader.num_record_batches))
                return [row for batch in batches for row in batch.to_pylist()]
        except FileNotFoundError:
            return []

    def read(self, day: date, inspection_id: int) -> Iterator[StagedImage]:
        """The staged images of an inspection, a batch in memory at a time.

        Nothing comes of one that is not staged any more: another run has finished it.
        """
        import pyarrow as pa

        try:
            # Not mapped: what has been read of a mapping counts as memory of the step.
            source = pa.OSFile(str(self._file(day, inspection_id)), "rb")
        except FileNotFoundError:
            return
        with source:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                for row in reader.get_batch(i).to_pylist():
                    yield StagedImage(
                        _image(row), row["fetched_at"], row["data"], row["error"], row["sha256"], row["taken_at"]
                    )

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


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        {
            "image_id": pa.int64(),
            "inspection_id": pa.int64(),
            "plate": pa.string(),
            "well": pa.string(),
            "drop_number": pa.int32(),
            "path": pa.string(),
            "fetched_at": pa.timestamp("us", tz="UTC"),
            "sha256": pa.string(),
            "size": pa.int64(),
            "taken_at": pa.timestamp("us", tz="UTC"),
            "data": pa.large_binary(),
            "error": pa.string(),
        }
    )


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


def _batches(staged: Iterable[StagedImage]) -> Iterator[list[StagedImage]]:
    batch: list[StagedImage] = []
    for row in staged:
        batch.append(row)
        if len(batch) == ROWS_A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
