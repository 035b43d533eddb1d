"""Rows in Parquet and Arrow files: what is written is read, and a write that dies leaves the old file."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resources.archive.tables import (
    Columns,
    read_arrow,
    read_parquet,
    read_parquet_columns,
    reread_parquet,
    write_arrow,
    write_parquet,
)
from resources.errors import Unavailable
from tests.small_disks import small_file_system

COLUMNS: Columns = {
    "known": "bool",
    "drop": "int32",
    "image_id": "int64",
    "crystals": "float32",
    "sharpness": "float64",
    "well": "string",
    "fingerprint": "binary",
    "data": "large_binary",
    "scored_at": "time",
}
FULL: dict[str, object] = {
    "known": True,
    "drop": 1,
    "image_id": 2**40,
    "crystals": 0.5,
    "sharpness": 0.1,
    "well": "A1 µ",
    "fingerprint": b"\x00\xff",
    "data": b"jpeg",
    "scored_at": datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}
EMPTY = dict.fromkeys(COLUMNS)


def test_every_kind_of_column_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_parquet(tmp_path / "rows.parquet", COLUMNS, [FULL, {}])
    write_arrow(tmp_path / "rows.arrow", COLUMNS, [FULL, {}], rows_a_batch=16)
    assert read_parquet(tmp_path / "rows.parquet") == [FULL, EMPTY]
    assert list(read_arrow(tmp_path / "rows.arrow")) == [FULL, EMPTY]


def test_a_file_that_is_not_there_holds_no_rows(tmp_path: Path) -> None:
    assert read_parquet(tmp_path / "none") == []
    assert read_parquet_columns(tmp_path / "none", "well", "drop") == {"well": [], "drop": []}
    assert list(read_arrow(tmp_path / "none")) == []
    assert list(read_arrow(tmp_path / "none", ["well"])) == []


def test_a_column_that_an_earlier_release_did_not_write_is_none(tmp_path: Path) -> None:
    rows = [{"well": "A1"}, {"well": "A2"}]
    write_parquet(tmp_path / "rows.parquet", {"well": "string"}, rows)
    write_arrow(tmp_path / "rows.arrow", {"well": "string"}, rows, rows_a_batch=1)
    assert read_parquet_columns(tmp_path / "rows.parquet", "well", "size") == {
        "well": ["A1", "A2"],
        "size": [None, None],
    }
    assert list(read_arrow(tmp_path / "rows.arrow", ["size", "well"])) == [
        {"well": "A1", "size": None},
        {"well": "A2", "size": None},
    ]


def test_the_names_of_the_folders_are_no_columns(tmp_path: Path) -> None:
    file = tmp_path / "scorer=marco-1" / "day=2024-01-31" / "probabilities.parquet"
    write_parquet(file, {"well": "string"}, [{"well": "A1"}])
    assert read_parquet(file) == [{"well": "A1"}]


def test_only_the_named_columns_of_every_batch_are_read(tmp_path: Path) -> None:
    rows = ({**FULL, "image_id": i} for i in range(37))
    write_arrow(tmp_path / "rows.arrow", COLUMNS, rows, rows_a_batch=16)
    assert list(read_arrow(tmp_path / "rows.arrow", ["image_id"])) == [{"image_id": i} for i in range(37)]


def test_rows_that_stop_coming_leave_the_old_file_as_it_was(tmp_path: Path) -> None:
    def stops() -> Iterator[Mapping[str, object]]:
        yield {"well": "B1"}
        raise OSError("no space left on device")

    file = tmp_path / "rows.arrow"
    write_arrow(file, {"well": "string"}, [{"well": "A1"}], rows_a_batch=1)
    with pytest.raises(OSError, match="no space"):
        write_arrow(file, {"well": "string"}, stops(), rows_a_batch=1)
    assert list(read_arrow(file)) == [{"well": "A1"}]
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_asked_for_again_is_read_again_only_when_it_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    assert list(reread_parquet(file)) == []
    write_parquet(file, {"n": "int64"}, [{"n": 1}])
    first = reread_parquet(file)
    assert [row["n"] for row in first] == [1]
    assert reread_parquet(file) is first
    write_parquet(file, {"n": "int64"}, [{"n": 2}])
    assert [row["n"] for row in reread_parquet(file)] == [2]
    file.unlink()
    assert list(reread_parquet(file)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    with small_file_system(tmp_path / "small", "256k", inodes=0) as folder:
        yield folder


def test_a_full_disk_is_an_outage_that_names_the_folder_and_the_setting(small_disk: Path) -> None:
    rows = [{"data": os.urandom(64_000)} for _ in range(8)]
    for write in (
        lambda: write_arrow(small_disk / "staging" / "1.arrow", {"data": "binary"}, rows, rows_a_batch=1),
        lambda: write_parquet(small_disk / "archive" / "day.parquet", {"data": "binary"}, rows),
    ):
        with pytest.raises(Unavailable) as error:
            write()
        assert isinstance(error.value, OSError), "what takes a failed write into account goes on doing so"
        assert f"The disk of {small_disk}" in str(error.value)
        assert "C4_SCRATCH" in str(error.value)
    assert [file for file in small_disk.rglob("*") if file.is_file()] == []
