"""Parquet files as no release of C4 writes them: made of those that it wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast


def rewrite_parquet(file: Path, change: Callable[[Any], Any]) -> None:
    """Puts what a function makes of a file's ``pyarrow.Table`` in the file's place."""
    import pyarrow.parquet

    untyped = cast("Any", pyarrow.parquet)
    table = change(untyped.ParquetFile(file).read())
    untyped.write_table(table.replace_schema_metadata(None), file)  # without the checksum of the columns
