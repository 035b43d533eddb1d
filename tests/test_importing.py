"""Importing folders: imagings and their times, copies into the store, and doing it again."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from PIL import Image as Picture

from resources.errors import ConfigurationError
from resources.imaging_database.register import inspections_of_plate
from tests.conftest import Facility, photograph
from tests.imports import TAKEN, imported, plate_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plate_folder(tmp_path)


def test_a_folder_becomes_an_inspection_whose_images_can_be_scored(facility: Facility, folder: Path) -> None:
    (only,) = imported(facility, folder).inspections
    middle = TAKEN + timedelta(seconds=1)
    assert (only.plate, only.imaged_at, only.time_source, only.new_images) == ("90j8", middle, "files", 4)
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


def test_an_offset_in_exif_wins_over_the_zone_given(facility: Facility, folder: Path) -> None:
    with_exif(folder / "90j8_01A_1.jpg", "2026:03:02 11:00:00", "+02:00")
    (only,) = imported(facility, folder, timezone=ZoneInfo("Australia/Melbourne")).inspections
    assert only.imaged_at == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def test_a_time_that_is_given_wins_over_all(facility: Facility, folder: Path) -> None:
    with_exif(folder / "90j8_01A_1.jpg", "2025:03:02 11:00:00", "+02:00")
    (only,) = imported(facility, folder, TAKEN).inspections
    assert (only.imaged_at, only.time_source) == (TAKEN, "given")


def test_one_clock_that_was_reset_does_not_date_the_plate(facility: Facility, folder: Path) -> None:
    for drop, taken in enumerate(["2026:03:02 11:00:00", "2026:03:02 11:00:01", "2000:01:01 00:00:00"], start=1):
        with_exif(folder / f"90j8_0{drop}A_1.jpg", taken)
    (only,) = imported(facility, folder).inspections
    assert only.imaged_at == datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
    assert len(only.warnings) == 1
    assert "90j8_03A_1.jpg is another day's (2000-01-01 00:00 UTC) and was passed over" in only.warnings[0]


def test_a_clock_of_no_year_there_can_be_is_passed_over(facility: Facility, folder: Path) -> None:
    for file in folder.iterdir():
        with_exif(file, "0001:01:01 00:00:00")
        os.utime(file, (TAKEN.timestamp(), TAKEN.timestamp()))
    (only,) = imported(facility, folder).inspections
    assert (only.imaged_at, only.time_source) == (TAKEN, "files")


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
    assert result.left_out.keys() >= {"none.jpg", "../outside.jpg"}


def test_a_plate_name_cannot_lead_out_of_the_store(facility: Facility, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "plate.csv"
    table.write_text("file,plate,well,drop\n90j8_01A_1.jpg,../../escape,A01,1\n")
    imported(facility, folder, csv=table)
    assert all(file.is_relative_to(facility.images) for file in facility.images.rglob("*.jpg"))
    assert not (facility.images.parent / "escape").exists()
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


def times(facility: Facility) -> list[datetime]:
    plates = [row.barcode for row in facility.rows("select barcode from plates order by barcode")]
    return [one.imaged_at for plate in plates for one in inspections_of_plate(facility.database, plate)]


def plate_of(folder: Path, names: list[str], at: datetime = TAKEN, seed: int = 0) -> Path:
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photograph(100 * seed + number))
        os.utime(file, (at.timestamp(), at.timestamp()))
    return folder


MINSTREL = "P_CI_0000ZZ022987_{}_01_01_0{}_{}_99_030_001_RDI.jpg"
TREES = {
    "dated folders": ["90z8/2026-03-02/90z8_01A_{}.jpg", "90z8/2026-03-09/90z8_01A_{}.jpg"],
    "dated folders of many plates": ["2026-03-02/90z8/90z8_01A_{}.jpg", "2026-03-09/90z8/90z8_01A_{}.jpg"],
    "folders without dates": ["monday/90z8_01A_{}.jpg", "tuesday/90z8_01A_{}.jpg"],
    "Minstrel": [MINSTREL.format("003_121121", "{}", "HF"), MINSTREL.format("004_121205", "{}", "HF")],
    "two numbers of one day": [MINSTREL.format("003_121121", "{}", "HF"), MINSTREL.format("004_121121", "{}", "HF")],
    "Rock Imager": [f"539/plateID_14539/batchID_{b}/wellNum_2/profileID_1/d{{}}_r{{}}1_ef.jpg" for b in (7001, 7002)],
}


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("inside", [False, True], ids=["copied", "in the store"])
def test_each_imaging_is_one_inspection_and_again_there_is_nothing_new(
    facility: Facility, tmp_path: Path, tree: str, inside: bool
) -> None:
    folder = (facility.images if inside else tmp_path) / "export"
    for number, form in enumerate(TREES[tree]):
        names = [form.format(drop, drop) for drop in (1, 2)]
        plate_of(folder, names, TAKEN + timedelta(days=number), number)
    first = imported(facility, folder).inspections
    assert [one.new_images for one in first] == [2, 2]
    assert len(set(times(facility))) == 2
    again = imported(facility, folder).inspections
    assert [(one.inspection_id, one.new_images, one.known_images) for one in again] == [
        (one.inspection_id, 0, 2) for one in first
    ]


@pytest.mark.parametrize("tree", TREES)
def test_an_image_that_comes_later_joins_its_inspection_whatever_its_own_time(
    facility: Facility, tmp_path: Path, tree: str
) -> None:
    for number, form in enumerate(TREES[tree]):
        plate_of(tmp_path / "e", [form.format(d, d) for d in (1, 2)], TAKEN + timedelta(days=number), number)
    imported(facility, tmp_path / "e")
    plate_of(tmp_path / "e", [TREES[tree][1].format(3, 3)], TAKEN - timedelta(days=400), 7)
    assert [(one.new_images, one.known_images) for one in imported(facility, tmp_path / "e").inspections] == [
        (0, 2),
        (1, 2),
    ]


@pytest.mark.parametrize(
    ("tree", "together"),
    [*((tree, True) for tree in TREES), *((tree, False) for tree in TREES if tree != "folders without dates")],
)
def test_imagings_whose_pictures_are_all_the_same_are_kept_apart_by_what_names_tell(
    facility: Facility, tmp_path: Path, tree: str, together: bool
) -> None:
    for number, form in enumerate(TREES[tree]):
        plate_of(tmp_path / ("e" if together else str(number)), [form.format(d, d) for d in (1, 2)])
        for file in tmp_path.rglob("*.jpg"):
            if not file.is_relative_to(facility.images):
                file.write_bytes(photograph(1))
    folders = [tmp_path / "e"] if together else [tmp_path / "0", tmp_path / "1"]
    for new in (2, 0):
        done = [one for folder in folders for one in imported(facility, folder).inspections]
        assert [one.new_images for one in done] == [new, new]
        assert len(times(facility)) == 2


def test_a_folder_that_was_copied_anew_or_is_named_from_above_is_the_same_imaging(
    facility: Facility, folder: Path, tmp_path: Path
) -> None:
    imported(facility, folder)
    shutil.copytree(folder, tmp_path / "copy" / "deeper", copy_function=shutil.copyfile)
    (again,) = imported(facility, tmp_path / "copy").inspections
    assert (again.new_images, again.known_images) == (0, 4)
    assert sum(file.is_file() for file in facility.images.rglob("*")) == 4


def test_the_same_names_with_other_pictures_are_another_imaging(
    facility: Facility, folder: Path, tmp_path: Path
) -> None:
    imported(facility, folder)
    names = [file.name for file in folder.iterdir()]
    (later,) = imported(facility, plate_of(tmp_path / "later", names, TAKEN + timedelta(hours=5), 9)).inspections
    assert later.new_images == 4
    assert len(times(facility)) == 2


def test_a_table_gives_each_time_its_inspection(facility: Facility, folder: Path, tmp_path: Path) -> None:
    files = sorted(file.name for file in folder.iterdir())
    lines = [f"{name},Q,A0{n},1,2026-03-{'02' if n < 2 else '09'}T08:0{n}:00Z" for n, name in enumerate(files)]
    (tmp_path / "t.csv").write_text("\n".join(["file,plate,well,drop,imaged_at", *lines]))
    for known in (0, 2):
        result = imported(facility, folder, csv=tmp_path / "t.csv")
        assert [one.known_images for one in result.inspections] == [known, known]
        assert {one.time_source for one in result.inspections} == {"the CSV file"}
    assert [time.day for time in times(facility)] == [2, 9]


def test_one_time_for_two_imagings_of_a_plate_is_refused(facility: Facility, tmp_path: Path) -> None:
    plate_of(tmp_path / "e", [form.format(1) for form in TREES["dated folders"]])
    with pytest.raises(ConfigurationError, match="2 imagings of plate 90z8"):
        imported(facility, tmp_path / "e", TAKEN)


def test_the_number_of_a_name_is_trusted_before_a_clock_that_disagrees(facility: Facility, tmp_path: Path) -> None:
    name = MINSTREL.format("003_121121", 1, "HF")
    plate_of(tmp_path / "e", [name])
    with_exif(tmp_path / "e" / name, "2019:01:01 00:00:00")
    (only,) = imported(facility, tmp_path / "e").inspections
    assert (only.imaged_at, only.time_source) == (datetime(2012, 11, 21, tzinfo=UTC), "names")
    assert "2019-01-01" in only.warnings[0]


def test_other_light_is_left_out_and_the_visible_pictures_are_scored(facility: Facility, tmp_path: Path) -> None:
    plate_of(tmp_path / "e", [MINSTREL.format("003_121121", drop, light) for drop in (1, 2) for light in ("HF", "UV")])
    result = imported(facility, tmp_path / "e")
    assert result.inspections[0].new_images == 2
    assert set(result.left_out.values()) == {"taken in other light (UV); C4 scores what visible light shows"}


def test_linked_folders_are_walked_once_each_and_loops_end(facility: Facility, folder: Path, tmp_path: Path) -> None:
    plates = tmp_path / "plates"
    plates.mkdir()
    (plates / "90j8").symlink_to(folder)
    (plates / "again").symlink_to(folder)
    (folder / "up").symlink_to(plates)
    (plates / "itself").symlink_to(plates / "itself")
    (only,) = imported(facility, plates).inspections
    assert (only.plate, only.new_images) == ("90j8", 4)


def test_a_link_in_the_store_that_leads_out_of_it_is_copied_in(facility: Facility, folder: Path) -> None:
    (facility.images / "linked").symlink_to(folder)
    imported(facility, facility.images / "linked")
    facility.score(TAKEN)
    assert facility.progress().scored == 4


def test_a_file_that_cannot_be_read_or_is_empty_is_left_out_and_the_rest_is_imported(
    facility: Facility, folder: Path
) -> None:
    (folder / "90j8_01A_1.jpg").write_bytes(b"")
    (folder / "90j8_01A_2.jpg").unlink()
    (folder / "90j8_01A_2.jpg").symlink_to("nowhere")
    result = imported(facility, folder)
    assert result.inspections[0].new_images == 2
    assert "is empty" in result.left_out["90j8_01A_1.jpg"]
    assert "not there" in result.left_out["90j8_01A_2.jpg"]


def test_a_plate_or_well_that_the_database_cannot_hold_is_left_out(
    facility: Facility, folder: Path, tmp_path: Path
) -> None:
    lines = ["90j8_01A_1.jpg," + "P" * 65 + ",A01,1", "90j8_01A_2.jpg,P,A-very-long-well,1", "90j8_02A_1.jpg,P,A01,1"]
    (tmp_path / "t.csv").write_text("\n".join(["file,plate,well,drop", *lines]))
    result = imported(facility, folder, csv=tmp_path / "t.csv")
    assert result.inspections[0].new_images == 1
    assert len(result.left_out) == 2


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "1899-12-30T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_that_stands_for_none_is_named_and_costs_no_other_line_of_a_table(
    facility: Facility, folder: Path, tmp_path: Path, time: str
) -> None:
    lines = [f"90j8_01A_1.jpg,P,A01,1,{time}", "90j8_01A_2.jpg,P,A01,2,2026-03-02T09:30:00Z"]
    (tmp_path / "t.csv").write_text("\n".join(["file,plate,well,drop,imaged_at", *lines]))
    result = imported(facility, folder, csv=tmp_path / "t.csv")
    assert (times(facility), result.inspections[0].new_images) == ([TAKEN], 1)
    assert result.left_out["90j8_01A_1.jpg"].startswith(f"it is dated {time[:10]}, which stands for no time of imaging")


def test_a_drop_number_of_64_bits_is_registered_and_a_larger_one_is_left_out(
    facility: Facility, folder: Path, tmp_path: Path
) -> None:
    lines = [f"90j8_0{n}A_1.jpg,P,A0{n},{drop}" for n, drop in ((1, "3900000123"), (2, 2**63))]
    lines.append(f"90j8_01A_2.jpg,P,A01,{2**63 - 1}.0")
    (tmp_path / "t.csv").write_text("\n".join(["file,plate,well,drop", *lines]))
    result = imported(facility, folder, csv=tmp_path / "t.csv")
    assert facility.rows("select drop_number from images order by 1") == [(3_900_000_123,), (2**63 - 1,)]
    assert "larger than the database holds" in result.left_out["90j8_02A_1.jpg"]


def test_a_file_that_was_cut_off_and_comes_again_whole_takes_its_place(facility: Facility, folder: Path) -> None:
    whole = (folder / "90j8_01A_1.jpg").read_bytes()
    (folder / "90j8_01A_1.jpg").write_bytes(whole[:100])
    imported(facility, folder)
    (folder / "90j8_01A_1.jpg").write_bytes(whole)
    (again,) = imported(facility, folder).inspections
    assert (again.new_images, again.known_images) == (0, 4)
    assert "1 file differs from what was imported before" in again.warnings[-1]
    (row,) = facility.rows("select path from images where path like '%01A_1.jpg'")
    assert (facility.images / row.path).read_bytes() == whole
