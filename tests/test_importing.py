"""Importing folders: names that imagers write, times of imaging, copies into the store, and doing it again."""

import os
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from c4_assets.importing.folder import ImportResult, import_folder
from c4_assets.importing.names import NamedImage, from_csv, from_names
from resources.errors import ConfigurationError
from resources.image_store import LocalStore
from tests.conftest import Facility, photograph

TAKEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def named(name: str) -> NamedImage | None:
    known, _ = from_names([PurePosixPath(name)], "PLATE")
    return known[0] if known else None


@pytest.mark.parametrize(
    ("name", "plate", "well", "drop"),
    [
        ("90j8_01A_1.jpg", "90j8", "A01", 1),
        ("90j8_12H_2.jpg", "90j8", "H12", 2),
        ("sub/my-plate_7_03C_1.JPG", "my-plate_7", "C03", 1),
        (
            "RMM3_01_222_ROBO_Test1_Clon1_CI_0000CI022987_003_121121_12_08_01_HF_99_030_001_RDI.jpg",
            "CI022987",
            "H12",
            1,
        ),
        ("A01_1.png", "PLATE", "A01", 1),
        ("X17/B3_2.png", "X17", "B03", 2),
    ],
)
def test_names_of_common_imagers_are_understood(name: str, plate: str, well: str, drop: int) -> None:
    image = named(name)
    assert image is not None
    assert (image.plate, image.well, image.drop_number) == (plate, well, drop)


def test_a_minstrel_name_tells_the_day_of_imaging() -> None:
    image = named("a_CI_0000CI022987_003_121121_01_02_01_HF_99.jpg")
    assert image is not None
    assert image.imaged_at == datetime(2012, 11, 21, tzinfo=UTC)
    assert image.well == "B01"


@given(st.text(max_size=40).map(lambda text: text.replace("/", "_").replace("\0", "_")))
def test_any_other_name_is_set_aside_and_never_an_error(name: str) -> None:
    known, unknown = from_names([PurePosixPath(name or "x")], "PLATE")
    assert len(known) + len(unknown) == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plate of four drops outside the store, changed at a known time."""
    folder = tmp_path / "from the imager"
    folder.mkdir()
    for seed, name in enumerate(["90j8_01A_1.jpg", "90j8_01A_2.jpg", "90j8_02A_1.jpg", "90j8_02A_2.jpg"]):
        (folder / name).write_bytes(photograph(seed))
        os.utime(folder / name, (TAKEN.timestamp() + seed, TAKEN.timestamp() + seed))
    return folder


def imported(facility: Facility, folder: Path, **options: object) -> ImportResult:
    store = LocalStore.at(facility.settings.store.url)
    return import_folder(folder, facility.database, store, **options)  # pyright: ignore[reportArgumentType]


def test_a_folder_becomes_an_inspection_whose_images_can_be_scored(facility: Facility, folder: Path) -> None:
    (only,) = imported(facility, folder).inspections
    assert (only.plate, only.imaged_at, only.time_source, only.new_images) == ("90j8", TAKEN, "files", 4)
    facility.score(TAKEN)
    assert facility.progress().scored == 4
    assert (folder / "90j8_01A_1.jpg").exists(), "the imager's own files stay"


def test_importing_again_adds_only_what_is_new(facility: Facility, folder: Path) -> None:
    imported(facility, folder)
    (folder / "90j8_03A_1.jpg").write_bytes(photograph(9))
    (again,) = imported(facility, folder).inspections
    assert (again.new_images, again.known_images) == (1, 4)
    assert len(facility.rows("select * from inspections")) == 1


def test_a_folder_in_the_store_is_registered_where_it_lies(facility: Facility, folder: Path) -> None:
    inside = facility.images / "2026" / "march"
    inside.parent.mkdir()
    folder.rename(inside)
    imported(facility, inside)
    assert facility.rows("select path from images order by id")[0].path == "2026/march/90j8_01A_1.jpg"
    assert sum(file.is_file() for file in facility.images.rglob("*")) == 4, "nothing was copied"


def with_exif(file: Path, taken: str, offset: str | None = None) -> None:
    exif = Picture.Exif()
    details = exif.get_ifd(0x8769)
    details[0x9003] = taken
    if offset:
        details[0x9011] = offset
    Picture.new("RGB", (20, 20)).save(file, exif=exif)


def test_the_time_of_imaging_is_exifs_in_the_zone_given(facility: Facility, folder: Path) -> None:
    with_exif(folder / "90j8_01A_1.jpg", "2026:03:02 11:00:00")
    (only,) = imported(facility, folder, timezone=ZoneInfo("Australia/Melbourne")).inspections
    assert (only.imaged_at, only.time_source) == (datetime(2026, 3, 2, 0, 0, tzinfo=UTC), "EXIF")


def test_an_offset_in_exif_wins_over_the_zone_and_a_given_time_over_all(facility: Facility, folder: Path) -> None:
    with_exif(folder / "90j8_01A_1.jpg", "2026:03:02 11:00:00", "+02:00")
    (only,) = imported(facility, folder, timezone=ZoneInfo("Australia/Melbourne")).inspections
    assert only.imaged_at == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    (given_,) = imported(facility, folder, imaged_at=TAKEN).inspections
    assert (given_.imaged_at, given_.time_source) == (TAKEN, "given")


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "yesterday", ""])
def test_a_nonsense_time_in_exif_is_passed_over(facility: Facility, folder: Path, taken: str) -> None:
    with_exif(folder / "90j8_01A_1.jpg", taken)
    assert imported(facility, folder).inspections[0].time_source == "files"


def test_a_csv_file_names_what_names_do_not_tell(facility: Facility, folder: Path, tmp_path: Path) -> None:
    (folder / "90j8_01A_1.jpg").rename(folder / "IMG 1.jpg")
    table = tmp_path / "plate.csv"
    table.write_text(
        "\ufefffile,plate,well,drop,imaged_at\nIMG 1.jpg,Q1,C07,2,2026-03-01T10:00+10:00\nnone.jpg,Q1,C08,1,\n"
        "../outside.jpg,Q1,C09,1,\n"
    )
    result = imported(facility, folder, csv=table)
    (only,) = result.inspections
    assert (only.plate, only.imaged_at, only.new_images) == ("Q1", datetime(2026, 3, 1, tzinfo=UTC), 1)
    assert facility.rows("select well, drop_number from images") == [("C07", 2)]
    assert {str(file): reason for file, reason in result.left_out.items()}.keys() == {"none.jpg", "../outside.jpg"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,plate,well\n", "lacks the columns drop"),
        ("file,plate,well,drop\na.jpg,P,A01,two\n", "line 2"),
        ("file,plate,well,drop\na.jpg,,A01,1\n", "must not be empty"),
        ("file,plate,well,drop,imaged_at\na.jpg,P,A01,1,noon\n", "line 2"),
    ],
)
def test_a_csv_file_that_cannot_be_read_names_the_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        from_csv(tmp_path / "t.csv")


def test_a_plate_name_cannot_lead_out_of_the_store(facility: Facility, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "plate.csv"
    table.write_text("file,plate,well,drop\n90j8_01A_1.jpg,../../escape,A01,1\n")
    imported(facility, folder, csv=table)
    assert all(file.is_relative_to(facility.images) for file in facility.images.rglob("*.jpg"))
    facility.score(TAKEN)
    assert facility.progress().scored == 1


def test_a_folder_without_images_says_what_is_missing(facility: Facility, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="there is no file that ends in"):
        imported(facility, tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="is not a folder"):
        imported(facility, tmp_path / "absent")
    (tmp_path / "empty" / "holiday.jpg").touch()
    with pytest.raises(ConfigurationError, match=r"holiday\.jpg: its name does not tell"):
        imported(facility, tmp_path / "empty")
