"""Image files in folders and archives: each is found, or named as left out with the reason."""

import io
import stat
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from c4_assets.importing.folder import import_folder
from c4_assets.importing.reading import Import
from c4_assets.scoring.image_archives import open_files
from c4_assets.scoring.image_files import FolderFiles, readable, summary
from resources.errors import ConfigurationError, ImageError
from resources.image_store import LocalStore
from resources.image_store.base import MAX_IMAGE_BYTES
from tests.conftest import Facility, photograph

NOT_UTF8 = b"bad\xff".decode("utf-8", "surrogateescape")


def test_what_looks_like_an_image_is_named_as_left_out_by_its_ending(tmp_path: Path) -> None:
    kept = ["a.jpg", "b.JPEG", "c.jpe", "d.jfif", "e.png", "f.tif", "g.TIFF", "h.webp", "i.bmp", "j.gif"]
    others = ["k.jpx", "l.heic", "m.avif", "n.jpg_original", "o.jxl", "._a.jpg", "p.zip"]
    for name in [*kept, *others, "notes.txt", "Thumbs.db"]:
        (tmp_path / name).touch()
    found = FolderFiles.below(tmp_path)
    assert [path.name for path in found.images] == kept
    assert set(found.left_out) == set(others)


def test_folders_that_storage_systems_make_are_not_walked(tmp_path: Path) -> None:
    for name in ("@eaDir", ".snapshot", "__MACOSX", "90z8"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "A01_1.jpg").touch()
    assert FolderFiles.below(tmp_path).images == [PurePosixPath("90z8/A01_1.jpg")]


def test_a_folder_keeps_its_own_name_where_a_link_leads_to_it_too(tmp_path: Path) -> None:
    (tmp_path / "z" / "real").mkdir(parents=True)
    (tmp_path / "z" / "real" / "A01_1.jpg").touch()
    (tmp_path / "a").symlink_to(tmp_path / "z" / "real")
    assert FolderFiles.below(tmp_path).images == [PurePosixPath("z/real/A01_1.jpg")]


def test_names_are_shown_as_text_that_any_file_and_terminal_takes() -> None:
    assert readable(f"{NOT_UTF8}/a\nb.jpg") == "bad\\xff/a\\nb.jpg"
    readable(f"{NOT_UTF8}/\u2028").encode()


def test_reasons_are_counted_with_a_few_of_the_files() -> None:
    left_out = {f"{n}.heic": "no decoder" for n in range(5)} | {"x": "gone"}
    assert summary(left_out) == ["Left out 0.heic, 1.heic, 2.heic and 2 more: no decoder.", "Left out x: gone."]


def packed(place: Path, files: dict[str, bytes]) -> Path:
    """An archive of the kind that its name says."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 9, 30, 0)), data)
        return place
    form: Any = "w:" + {".tgz": "gz", ".gz": "gz", ".xz": "xz"}.get(place.suffix, "")
    with tarfile.open(place, form) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), datetime(2026, 3, 2, 9, 30, tzinfo=UTC).timestamp()
            archive.addfile(member, io.BytesIO(data))
    return place


KINDS = ["e.zip", "e.tar", "e.tar.gz", "e.tgz", "e.tar.xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_imported_where_it_lies_and_again_there_is_nothing_new(
    facility: Facility, tmp_path: Path, kind: str
) -> None:
    names = ["90z8/90z8_01A_1.jpg", "90z8/90z8_02A_1.jpg", "91z8/A01_1.jpg"]
    place = packed(tmp_path / kind, {name: photograph(number) for number, name in enumerate(names)})
    for known in (0, 1):
        result = import_folder(Import(place), facility.database, LocalStore.at(facility.settings.store.url))
        assert [(one.plate, one.new_images, one.known_images) for one in result.inspections] == [
            ("90z8", 2 - 2 * known, 2 * known),
            ("91z8", 1 - known, known),
        ]
        assert {one.imaged_at for one in result.inspections} == {datetime(2026, 3, 2, 9, 30, tzinfo=UTC)}
    facility.score(datetime(2026, 3, 2, tzinfo=UTC))
    assert facility.progress().scored == 3


@pytest.mark.parametrize("kind", KINDS)
def test_names_in_an_archive_cannot_lead_out_of_it(tmp_path: Path, kind: str) -> None:
    names = ["../A01_1.jpg", "/etc/A01_1.jpg", "x/../../A01_1.jpg", "win\\A02_1.jpg", "ok/A01_1.jpg"]
    found = open_files(packed(tmp_path / kind, dict.fromkeys(names, b"x")))
    assert set(found.images) == {PurePosixPath("win/A02_1.jpg"), PurePosixPath("ok/A01_1.jpg")}
    assert len(found.left_out) == 3


def test_links_in_archives_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "l.tar", "w") as archive:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)):
            member = tarfile.TarInfo(f"A0{number}_1.jpg")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    link = zipfile.ZipInfo("A01_1.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    for name, count in (("l.tar", 3), ("l.zip", 1)):
        found = open_files(tmp_path / name)
        assert not found.images
        assert len(found.left_out) == count


def test_an_archive_that_expands_like_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("A01_1.jpg")
    member.size = 10**13
    (tmp_path / "b.tar").write_bytes(member.tobuf() + bytes(2048))
    with pytest.raises(ConfigurationError, match="more than 100 times its own size"):
        open_files(tmp_path / "b.tar")


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("h")
    header.type, header.size = tarfile.XHDTYPE, MAX_IMAGE_BYTES * 4
    (tmp_path / "h.tar").write_bytes(header.tobuf() + bytes(2048))
    with pytest.raises(ConfigurationError, match="a header is larger than any image"):
        open_files(tmp_path / "h.tar")


def test_an_entry_that_is_larger_than_it_says_or_damaged_costs_itself_alone(tmp_path: Path) -> None:
    place = packed(tmp_path / "d.zip", {"A01_1.jpg": photograph(1), "A02_1.jpg": photograph(2), "A03_1.jpg": b""})
    data = place.read_bytes()
    first = data.index(b"A01_1.jpg") + len("A01_1.jpg") + 20
    place.write_bytes(data[:first] + bytes(40) + data[first + 40 :])
    found = open_files(place)
    assert found.read(PurePosixPath("A02_1.jpg")) == photograph(2)
    for name in ("A01_1.jpg", "A03_1.jpg"):
        with pytest.raises(ImageError, match=r"cannot be read|is empty"):
            found.read(PurePosixPath(name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06"])
def test_a_damaged_archive_is_refused_in_words(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / kind).write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        open_files(tmp_path / kind)


def test_the_times_in_a_zip_are_of_the_zone_given(tmp_path: Path) -> None:
    place = packed(tmp_path / "e.zip", {"A01_1.jpg": b"x"})
    found = open_files(place, ZoneInfo("Australia/Melbourne"))
    assert found.size_and_time(PurePosixPath("A01_1.jpg")) == (1, datetime(2026, 3, 1, 22, 30, tzinfo=UTC))
