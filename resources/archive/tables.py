"""Rows in Parquet and Arrow files. The one module that touches pyarrow, which ships without types.

A table is a mapping of column names to kinds; a row is a mapping of column names to Python's own values, and a column
that a row lacks is ``None``. Every write is atomic (:func:`resources.atomic_write.atomic_write`), and a file that is
not there holds no rows.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resources.atomic_write import atomic_write

ColumnKind: TypeAlias = Literal[
    "bool", "int32", "int64", "float32", "float64", "string", "binary", "large_binary", "time"
]
"""What a column holds. ``large_binary`` has no limit of 2 GB a batch; ``time`` is in UTC, to the microsecond."""

Columns: TypeAlias = Mapping[str, ColumnKind]

FILES_KEPT = 4
"""Files whose rows :func:`reread_parquet` keeps: probabilities and thumbnails of a day by two models."""


def write_parquet(file: Path, columns: Columns, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes rows as one Parquet file, compressed with zstd.

    Raises:
        OSError: the disk is full, say; what was there before is untouched.
    """
    pa = _pyarrow()
    with atomic_write(file) as temporary:
        _parquet().write_table(pa.Table.from_pylist(list(rows), _schema(columns)), temporary, compression="zstd")


def read_parquet(file: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    try:
        # The file itself and not the dataset around it: the folders' names must not become columns here.
        return _parquet().ParquetFile(file).read().to_pylist()
    except FileNotFoundError:
        return []


def reread_parquet(file: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of a Parquet file that is asked for again and again: read once, as long as it is not replaced."""
    try:
        found = file.stat()
        return _rows_of(file, found.st_ino, found.st_mtime_ns, found.st_size)
    except FileNotFoundError:
        return ()


@lru_cache(maxsize=FILES_KEPT)
def _rows_of(file: Path, *_identity: int) -> Sequence[Mapping[str, Any]]:
    return tuple(_parquet().ParquetFile(file).read().to_pylist())


def read_parquet_columns(file: Path, *names: str) -> dict[str, list[Any]]:
    """Some columns of a Parquet file, by name. One that the file lacks is all ``None``."""
    try:
        table = _parquet().ParquetFile(file).read(columns=list(names))
    except FileNotFoundError:
        return {name: [] for name in names}
    present = table.to_pydict()
    return {name: present.get(name, [None] * table.num_rows) for name in names}


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
    """
    pa = _pyarrow()
    try:
        # A mapping leaves the columns that are not read on the disk. Without names everything is read, and what has
        # been read of a mapping counts as memory of the process: so it is not mapped.
        source = pa.OSFile(str(file), "rb") if names is None else pa.memory_map(str(file))
    except FileNotFoundError:
        return
    with source:
        reader = pa.ipc.open_file(source)
        present = [name for name in reader.schema.names if names is None or name in names]
        lacking = dict.fromkeys(set(names or ()) - set(present))
        for i in range(reader.num_record_batches):
            for row in reader.get_batch(i).select(present).to_pylist():
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
