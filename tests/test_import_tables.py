"""CSV files as spreadsheets and LIMS write them."""

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c4_assets.importing.imagings import imagings_of
from c4_assets.importing.names import NamedImage, NamesRead
from c4_assets.importing.table import from_csv, in_the_files
from c4_assets.scoring.image_files import FolderFiles
from resources.errors import ConfigurationError

ROWS = [
    ("file", "plate", "well", "drop", "imaged_at"),
    ("a/1.jpg", "Müller", "A01", "1", "2026-11-20T08:00:00Z"),
    ("a/2.jpg", "Müller", "A02", "3", "2026-11-20T08:00:01Z"),
]


def text(delimiter: str = ",", rows: list[tuple[str, ...]] = ROWS, end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def table(folder: Path, content: str | bytes) -> NamesRead:
    file = folder / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return from_csv(file)


def facts(images: list[NamedImage]) -> list[tuple[str, str, str, int]]:
    return [(image.file.as_posix(), image.plate, image.well, image.drop_number) for image in images]


EXPECTED = [("a/1.jpg", "Müller", "A01", 1), ("a/2.jpg", "Müller", "A02", 3)]


def with_drops(first: str, second: str) -> str:
    return text(rows=[ROWS[0], (*ROWS[1][:3], first, ""), (*ROWS[2][:3], second, "")])


@pytest.mark.parametrize(
    "content",
    [
        text(),
        text(end="\r\n"),
        text(end="\r"),
        text(";"),
        text("\t"),
        text("|"),
        "sep=;\r\n" + text(";", end="\r\n"),
        "sep=,\n" + text(),
        ",,,,\n\n" + text(),
        "sep=;\r;;;;\r" + text(";", end="\r"),
        b"\xef\xbb\xbf" + text(";").encode(),
        text("\t").encode("utf-16"),
        text().replace("a/", "a\\"),
        with_drops("1.0", "3.0"),
        with_drops("1,0", "3,0").replace(",", ";").replace("1;0", "1,0").replace("3;0", "3,0"),
        with_drops("a", "d"),
        with_drops("A", "D"),
        text(rows=[(*row, "", "") for row in ROWS]) + ",,,,,,\n\n   \n",
        "\n".join(["File Name,Barcode,Well ID,Drop-Number,Date Imaged", *text().splitlines()[1:]]),
        text().replace("A01", "a1").replace("A02", "a-02"),
        text().replace("A01", '"A01"'),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_table_is_read_however_a_spreadsheet_saves_it(tmp_path: Path, content: str | bytes) -> None:
    read = table(tmp_path, content)
    assert facts(read.images) == EXPECTED
    assert not read.left_out


def test_another_encoding_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"t\.csv is not UTF-8 \(line 2\): save it as «CSV UTF-8»"):
        table(tmp_path, text().encode("cp1252"))
    with pytest.raises(ConfigurationError, match="no text file"):
        table(tmp_path, text().replace("ü", "u").encode("utf-16-le"))


def test_a_line_that_cannot_be_used_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    bad = [
        ("b.jpg", "P", "A01", "two", ""),
        ("c.jpg", "", "A01", "1", ""),
        ("d.jpg", "P", "A01", "1", "11/20/26 08:00:00"),
        ("e.jpg", "P", "A01", "1", "", "", "more"),
        ("a/1.jpg", "P", "A05", "1", ""),
        ("f.jpg", "P", "A01", "9" * 20, ""),
    ]
    read = table(tmp_path, text(rows=[*ROWS, *bad]))
    assert facts(read.images) == EXPECTED
    reasons = list(read.left_out.values())
    assert list(read.left_out) == [f"line {number} of t.csv" for number in range(4, 10)]
    for reason, words in zip(
        reasons,
        ["'two' is no number", "must not be empty", "'11/20/26 08:00:00' is not a time like", "more fields", "line 2"],
        strict=False,
    ):
        assert words in reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,plate,well\n", "lacks the columns drop"),
        ("", "lacks the columns file, plate, well, drop"),
        ("what\never\n", "its first line has what"),
        ('file,plate,well,drop\n"' + "x" * 200_000, "line 2"),
        ('file,plate,well,drop,"' + "x" * 200_000 + '"', "line 1"),
    ],
)
def test_a_table_that_is_none_is_refused_in_words(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        table(tmp_path, content)


def test_a_table_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    for missing in (tmp_path / "nope.csv", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            from_csv(missing)


def test_wells_that_are_counted_are_named(tmp_path: Path) -> None:
    rows = [ROWS[0], ("1.jpg", "P", "13", "1", ""), ("2.jpg", "P", "96", "1", "")]
    read = table(tmp_path, text(rows=rows))
    assert [image.well for image in read.images] == ["B01", "H12"]
    assert "plates of 96" in read.notes[0]


def test_files_are_found_by_the_end_of_a_path_from_another_machine(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "1.jpg").touch()
    files = FolderFiles.below(tmp_path / "x")
    left_out: dict[str, str] = {}
    told = ["D:\\export\\x\\a\\1.jpg", "a/1.jpg", "./a/1.jpg", "../x/a/1.jpg", "/etc/passwd", "a/2.jpg"]
    read = table(tmp_path, text(rows=[ROWS[0], *((name, "P", "A01", "1", "") for name in told)]))
    found = [image.file for image in in_the_files(read.images, files, left_out)]
    assert set(found) == {PurePosixPath("a/1.jpg")}
    assert set(left_out) == {"../x/a/1.jpg", "/etc/passwd", "a/2.jpg"}


def test_times_that_differ_row_by_row_are_one_imaging_and_another_day_is_the_next(tmp_path: Path) -> None:
    header = ROWS[0]
    rows = [
        (f"{day}/{drop}.jpg", "P", "A01", str(drop), f"2026-11-{day}T08:00:{drop:02d}Z")
        for day in (20, 27)
        for drop in (1, 2, 3)
    ]
    imagings, _ = imagings_of(table(tmp_path, text(rows=[header, *rows])).images)
    assert [[image.file.parent.name for image in imaging.images] for imaging in imagings] == [["20"] * 3, ["27"] * 3]


def test_a_drop_that_is_photographed_again_after_half_an_hour_is_of_the_next_imaging(tmp_path: Path) -> None:
    times = ["08:00", "08:00", "08:30", "08:30"]
    rows = [(f"{n}.jpg", "P", "A01", str(n % 2 + 1), f"2026-11-20T{time}Z") for n, time in enumerate(times)]
    imagings, _ = imagings_of(table(tmp_path, text(rows=[ROWS[0], *rows])).images)
    assert [imaging.told[0] for imaging in imagings] == [
        datetime(2026, 11, 20, 8, 0, tzinfo=UTC),
        datetime(2026, 11, 20, 8, 30, tzinfo=UTC),
    ]


cells = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(cells, max_size=7), max_size=5))
def test_whatever_stands_in_a_table_is_read_left_out_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    lines = [",".join(ROWS[0]), *(",".join(row) for row in rows), ",".join(ROWS[1])]
    file.write_bytes("\n".join(lines).encode())
    try:
        read = from_csv(file)
    except ConfigurationError:
        return
    imagings_of(read.images)
