"""Names and trees that imagers write: what they tell, what is left out by name, and what a site adds."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c4_assets.importing.imagings import imagings_of
from c4_assets.importing.names import NamedImage, NamesRead, from_names, nearest_pattern
from c4_assets.importing.patterns import PATTERNS, NamePattern, patterns_of
from c4_assets.importing.reading import Import
from resources.errors import ConfigurationError
from resources.settings import Settings

STORE = "539/plateID_14539"


def read(*names: str, folder: str = "/export/PLATE", **options: Any) -> NamesRead:
    return from_names(map(PurePosixPath, names), folder, **options)


def one(name: str, **options: Any) -> NamedImage:
    found = read(name, **options)
    assert len(found.images) == 1, found.left_out
    return found.images[0]


@pytest.mark.parametrize(
    ("name", "plate", "well", "drop"),
    [
        ("90j8_01A_1.jpg", "90j8", "A01", 1),
        ("90j8_12H_2.jpg", "90j8", "H12", 2),
        ("90j8_12h_2.JPG", "90j8", "H12", 2),
        ("90j8_048AF_1.jpg", "90j8", "AF48", 1),
        ("sub/my-plate_7_03C_1.JPG", "my-plate_7", "C03", 1),
        ("90j8_A01_1.png", "90j8", "A01", 1),
        ("90j8_b012_2.png", "90j8", "B12", 2),
        ("90j8_A01a.jpg", "90j8", "A01", 1),
        ("A01_1.png", "PLATE", "A01", 1),
        ("a1_1.png", "PLATE", "A01", 1),
        ("X17/B3_2.png", "X17", "B03", 2),
        ("X17/A001_2.png", "X17", "A01", 2),
        ("X17/H12.png", "X17", "H12", 1),
        ("X17/2026-11-20/B3_2.png", "X17", "B03", 2),
        ("X17_2018-05-04_RI1000-0276-3drop/B3_2.png", "X17", "B03", 2),
        ("RMM3_01_222_ROBO_Clon1_CI_0000CI022987_003_121121_12_08_01_HF_99_030_001_RDI.jpg", "CI022987", "H12", 1),
        ("RMM3_01_328_ROBO_Clon1_MC_0000MC100341_004_100716_01_06_02_00_99_030_001_RDI.jpg", "MC100341", "F01", 2),
        ("FORMULATRIX_ZZ099999_3_04-12-2025_02_03_03_00_99_Vis.jpg", "ZZ099999", "C02", 3),
        ("9z5j/Clear/9z5j_H12_ImagerDefaults_1_7001.jpg", "9z5j", "H12", 1),
        ("9z5j_A1c_ImagerDefaults__7001.jpg", "9z5j", "A01", 2),
        ("002s_C6_ImagerDefaults_9.jpg", "002s", "C06", 1),
        (f"{STORE}/batchID_7001/wellNum_96/profileID_1/d3_r1963_ef.jpg", "14539", "H12", 3),
        ("X0000056450155200509052032.png", "X000005645", "D11", 1),
        ("X0000056451536200509052032.png", "X000005645", "AF48", 1),
    ],
)
def test_names_of_imagers_and_exporters_are_understood(name: str, plate: str, well: str, drop: int) -> None:
    image = one(name)
    assert (image.plate, image.well, image.drop_number) == (plate, well, drop)


@pytest.mark.parametrize(
    ("name", "number", "day"),
    [
        ("a_CI_0000CI022987_003_121121_01_02_01_HF_99.jpg", "inspection-3", "2012-11-21"),
        ("FORMULATRIX_ZZ099999_3_04-12-2025_02_03_03_00_99_Vis.jpg", "inspection-3", "2025-12-04"),
        (f"{STORE}/batchID_7001/wellNum_1/profileID_1/d1_r9_ef.jpg", "batch-7001", None),
        ("9z5j_A1_ImagerDefaults_1_7001.jpg", "batch-7001", None),
        ("X0000056450155200509052032.png", None, "2005-09-05"),
        ("2026-11-20/90j8_01A_1.jpg", None, "2026-11-20"),
        ("20.11.2026/90j8_01A_1.jpg", None, "2026-11-20"),
        ("90j8/inspection_4/90j8_01A_1.jpg", "inspection-4", None),
        ("2026-99-20/90j8_01A_1.jpg", None, None),
    ],
)
def test_names_and_folders_tell_the_imaging_and_its_day(name: str, number: str | None, day: str | None) -> None:
    image = one(name)
    assert image.imaging == number
    assert (image.imaged_at and f"{image.imaged_at:%Y-%m-%d}") == day


def test_a_tree_may_be_named_at_any_depth() -> None:
    image = one("profileID_1/d1_r9_ef.jpg", folder=f"/RockMakerStorage/WellImages/{STORE}/batchID_70/wellNum_13")
    assert (image.plate, image.imaging, image.well) == ("14539", "batch-70", "B01")


@pytest.mark.parametrize(("highest", "expected"), [(96, "B01"), (97, "A13"), (384, "A13"), (385, "A13"), (1536, "A13")])
def test_counted_wells_are_of_the_smallest_plate_that_has_them(highest: int, expected: str) -> None:
    names = [f"{STORE}/batchID_1/wellNum_{number}/profileID_1/d1_r1_ef.jpg" for number in (13, highest)]
    found = read(*names)
    assert found.images[0].well == expected
    assert "a plate of" in found.notes[0]


def test_the_plate_format_can_be_said_and_a_well_beyond_it_is_left_out() -> None:
    names = [f"{STORE}/batchID_1/wellNum_{number}/profileID_1/d1_r1_ef.jpg" for number in (13, 97)]
    found = read(*names, plate_format=96)
    assert [image.well for image in found.images] == ["B01"]
    assert "no well of this number" in found.left_out[names[1]]


@pytest.mark.parametrize(("letters", "drops"), [("acd", [1, 2, 3]), ("ad", [1, 3]), ("abcd", [1, 2, 3, 4])])
def test_subwell_letters_are_numbered_as_the_plate_uses_them(letters: str, drops: list[int]) -> None:
    found = read(*(f"90j8_A01{letter}.jpg" for letter in letters))
    assert [image.drop_number for image in found.images] == drops


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{STORE}/batchID_1/wellNum_1/profileID_1/d1_r9_th.jpg", "thumbnail"),
        (f"{STORE}/batchID_1/wellNum_1/profileID_1/d1_r9_dl.jpg", "where the drop lies"),
        (f"{STORE}/batchID_1/wellNum_1/profileID_14/d1_r9_2.png", "slice"),
        ("90j8_01A_1_thumb.jpg", "thumbnail"),
        ("thumbnails/90j8_01A_1.jpg", "thumbnails"),
        ("90j8_01A_1_z03.jpg", "slice"),
        ("9z5j_A2_UV_1_7001.jpg", "other light (UV)"),
        ("90j8_01A_1_uv.jpg", "other light (uv)"),
        ("UV/90j8_01A_1.jpg", "other light (UV)"),
        ("a_CI_0000CI022987_003_121121_01_02_01_UV_99.jpg", "other light (UV)"),
        ("FORMULATRIX_ZZ099999_3_04-12-2025_02_03_03_00_99_UV.jpg", "other light (UV)"),
        ("holiday.jpg", "does not tell plate, well and drop"),
        ("90j8_99A_1.jpg", "does not tell plate, well and drop"),
        ("90j8_01A_1_Blue488.jpg", "other light (Blue488)"),
    ],
)
def test_derived_pictures_other_light_and_other_names_are_left_out_with_the_reason(name: str, reason: str) -> None:
    found = read(name, other_light=["blue488"])
    assert not found.images
    assert reason in found.left_out[name]


def test_of_a_drop_the_newest_picture_of_the_main_profile_is_taken() -> None:
    well = f"{STORE}/batchID_1/wellNum_1"
    names = [f"{well}/profileID_{profile}/d{drop}_r{revision}_ef.jpg" for profile, drop, revision in PICTURES]
    (imaging,), left_out = imagings_of(read(*names).images)
    assert {image.file.as_posix().removeprefix(f"{well}/") for image in imaging.images} == {
        "profileID_2/d1_r20_ef.jpg",
        "profileID_2/d3_r11_ef.jpg",
    }
    assert any("another imaging profile (9)" in reason for reason in left_out.values())
    assert any("earlier picture" in reason for reason in left_out.values())


PICTURES = [(2, 1, 3), (2, 1, 20), (2, 3, 11), (9, 1, 99)]
"""Profile, drop and revision: profile 2 has most."""


def test_of_a_picture_in_several_formats_one_is_taken() -> None:
    names = ["A02_1.JPG", "A02_1.tif", "A02_1.gif", "A02_1.webp", "A01_1.jpg"]
    (imaging,), left_out = imagings_of(read(*names).images)
    assert {image.file.name for image in imaging.images} == {"A02_1.JPG", "A01_1.jpg"}
    assert set(left_out) == {"A02_1.tif", "A02_1.gif", "A02_1.webp"}


def test_what_is_not_understood_is_told_with_the_nearest_pattern() -> None:
    assert nearest_pattern("CI022987_3_211112_1_2_HF_99_30_1_RDI.jpg").name == "Minstrel"
    assert nearest_pattern("90j8-01A-1.jpg").example == "90j8_01A_1.jpg"
    assert "the nearest that C4 knows is plate, well" in read("90j8-01A-x.jpg").left_out["90j8-01A-x.jpg"]


def test_each_pattern_reads_its_own_example() -> None:
    for pattern in PATTERNS:
        assert from_names([PurePosixPath(pattern.example)], "/x", [pattern]).images, pattern.name


def test_a_site_adds_names_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "c4.toml").write_text(
        "[importing]\npatterns = ['(?P<plate>\\w+)-(?P<row>[A-H])(?P<column>\\d\\d)-d(?P<drop>\\d)-(?P<ymd>\\d{8})']\n"
    )
    settings = Settings.from_environment({"C4_HOME": str(tmp_path)})
    image = one("lab7-C04-d2-20260302.jpg", patterns=patterns_of(settings.importing.patterns))
    assert (image.plate, image.well, image.drop_number) == ("lab7", "C04", 2)
    assert f"{image.imaged_at:%Y-%m-%d}" == "2026-03-02"


@pytest.mark.parametrize(("expression", "words"), [("(?P<plate>", "no regular expression"), ("(?P<tray>x)", "'tray'")])
def test_a_pattern_of_the_site_that_cannot_be_used_is_named(expression: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        patterns_of([expression])


names = st.text(max_size=60).map(lambda text: text.replace("/", "_").replace("\0", "_").strip(".") or "x")
namelike = st.from_regex(r"[\w-]{0,6}_?[A-Za-z]{0,2}[0-9]{0,5}_?[A-Za-z0-9]{0,5}(_[a-zA-Z0-9]{1,3})?", fullmatch=True)


@given(names | namelike.map(lambda text: text or "x"))
def test_any_other_name_is_set_aside_and_never_an_error(name: str) -> None:
    found = read(f"{name}.jpg")
    assert len(found.images) + len(found.left_out) == 1
    imagings_of(found.images)


def test_a_name_that_is_not_utf8_is_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    for folder in ("good", b"Pl\xe4tte".decode("utf-8", "surrogateescape")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "A01_1.jpg").touch()
    what = Import(tmp_path)
    _, imagings, _ = what.read()
    assert [imaging.plate for imaging in imagings] == ["good"]
    assert what.left_out.keys() == {"Pl\\xe4tte/A01_1.jpg"}


def test_patterns_with_a_word_for_their_number_keep_two_imagings_apart() -> None:
    own = NamePattern("own", r"(?P<plate>\w+)-(?P<inspection>\d+)-(?P<row>[A-H])(?P<column>\d\d)", "x-1-A01.jpg")
    found = read("p-1-A01.jpg", "p-2-A01.jpg", patterns=[own])
    assert len(imagings_of(found.images)[0]) == 2
