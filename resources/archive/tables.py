"""Rows in Parquet and Arrow files. The one module that touches pyarrow, which ships without types.

A table is a mapping of column names to kinds; a row is a mapping of column names to Python's own values, and a column
that a row lacks is ``None``. Every write is atomic (:func:`resources.atomic_write.atomic_write`), and a file that is
not there holds no rows. One that was damaged since it was written raises :class:`UnreadableFile`: Parquet's pages and
its columns have checksums, which are verified.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resources.archive.unreadable import reading
from resources.atomic_write import atomic_write

ColumnKind: TypeAlias = Literal[
    "bool", "int32", "int64", "float32", "float64", "string", "binary", "large_binary", "time"
]
"""What a column holds. ``large_binary`` has no limit of 2 GB a batch; ``time`` is in UTC, to the microsecond."""

Columns: TypeAlias = Mapping[str, ColumnKind]

COLUMNS_CHECKSUM = b"c4_columns_crc32"
"""Key in a Parquet file's metadata: the checksum of its columns, which no page's checksum covers."""

FILES_KEPT = 4
"""Files whose rows :func:`reread_parquet` keeps: probabilities and thumbnails of a day by two models."""


def write_parquet(file: Path, columns: Columns, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes rows as one Parquet file, compressed with zstd and with checksums.

    Raises:
        OSError: the disk is full, say; what was there before is untouched.
    """
    schema = _schema(columns)
    table = _pyarrow().Table.from_pylist(
        list(rows), schema.with_metadata({COLUMNS_CHECKSUM: _checksum_of_columns(schema)})
    )
    with atomic_write(file) as temporary:
        _parquet().write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_parquet(file: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file.

    Raises:
        UnreadableFile: it is damaged, or something else.
    """
    try:
        with reading(file), _opened(file) as opened:
            return opened.read().to_pylist()
    except FileNotFoundError:
        return []


def reread_parquet(file: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of a Parquet file that is asked for again and again: read once, as long as it is not replaced.

    Raises:
        UnreadableFile: it is damaged, or something else.
    """
    try:
        with reading(file):
            found = file.stat()
            return _rows_of(file, found.st_ino, found.st_mtime_ns, found.st_size)
    except FileNotFoundError:
        return ()


@lru_cache(maxsize=FILES_KEPT)
def _rows_of(file: Path, *_identity: int) -> Sequence[Mapping[str, Any]]:
    with _opened(file) as opened:
        return tuple(opened.read().to_pylist())


def read_parquet_columns(file: Path, *names: str) -> dict[str, list[Any]]:
    """Some columns of a Parquet file, by name. One that the file lacks is all ``None``.

    Raises:
        UnreadableFile: it is damaged, or something else.
    """
    try:
        with reading(file), _opened(file) as opened:
            table = opened.read(columns=list(names))
            present = table.to_pydict()
    except FileNotFoundError:
        return {name: [] for name in names}
    return {name: present.get(name, [None] * table.num_rows) for name in names}


def _opened(file: Path) -> Any:
    # The file itself and not the dataset around it: the folders' names must not become columns here.
    opened: Any = _parquet().ParquetFile(file, page_checksum_verification=True)
    schema = opened.schema_arrow
    metadata: Mapping[bytes, bytes] = schema.metadata or {}
    written = metadata.get(COLUMNS_CHECKSUM)  # files of earlier releases have none
    if written not in (None, _checksum_of_columns(schema)):
        raise ValueError("its columns are not those that were written")
    return opened


def _checksum_of_columns(schema: Any) -> bytes:
    return str(zlib.crc32("\n".join(f"{field.name} {field.type}" for field in schema).encode())).encode()


def write_arrow(file: Path, columns: Columns, rows: Iterable[Mapping[str, object]], rows_a_batch: int) -> None:
    """Writes rows as one Arrow file, as they come. Readers and the writer hold ``rows_a_batch`` of them in memory.

    Raises:
        OSError: the disk is full, say; what was there before is untouched.
    """
    pa = _pyarrow()
    schema = _schema(columns)
    left = iter(rows)
    with (
        atomic_write(file) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        while batch := list(islice(left, rows_a_batch)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def read_arrow(file: Path, names: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of an Arrow file, a batch in memory at a time.

    Args:
        names: the columns to read, all if not given. One that the file lacks is ``None`` in every row.

    Raises:
        UnreadableFile: it is damaged, or something else. What has been read of it before is not.
    """
    pa = _pyarrow()
    try:
        # A mapping leaves the columns that are not read on the disk. Without names everything is read, and what has
        # been read of a mapping counts as memory of the process: so it is not mapped.
        with reading(file):
            source = pa.OSFile(str(file), "rb") if names is None else pa.memory_map(str(file))
    except FileNotFoundError:
        return
    with source:
        with reading(file):
            reader = pa.ipc.open_file(source)
            present = [name for name in reader.schema.names if names is None or name in names]
            batches = reader.num_record_batches
        lacking = dict.fromkeys(set(names or ()) - set(present))
        for i in range(batches):
            with reading(file):
                batch = reader.get_batch(i).select(present)
                batch.validate(full=True)  # an offset that leads out of the file would end the process
                rows = batch.to_pylist()
            for row in rows:
                yield {**row, **lacking}


def _pyarrow() -> Any:
    import pyarrow

    return pyarrow


def _parquet() -> Any:
    import pyarrow.parquet

    return pyarrow.parquet


def _schema(columns: Columns) -> Any:
    pa = _pyarrow()
    time = pa.timestamp("us", tz="UTC")
    return pa.schema({name: time if kind == "time" else pa.type_for_alias(kind) for name, kind in columns.items()})
