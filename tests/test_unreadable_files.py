"""A file of C4's own that cannot be read costs what is in it and nothing else: no day stops, and nothing is removed."""

import errno
import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet
import pytest

from c4_assets.checks.catalogue import checks_of
from c4_assets.checks.expectations import judge
from c4_assets.labels.collect import collect_labels
from c4_assets.scoring.classify import classify_day
from resources import atomic_write as durable
from resources.archive.label_archive import ArchivedLabel, read_labels, write_labels
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedImage, Staging
from resources.archive.tables import read_parquet, write_parquet
from resources.archive.unreadable import UnreadableFile
from resources.atomic_write import atomic_write, remove_abandoned
from resources.errors import ConfigurationError
from resources.records import HumanLabel, Image, ImageOutcome
from tests.check_results import failed
from tests.conftest import Facility, noon, photograph
from tests.stand_in_engine import StandIn

ARROW, PARQUET = cast("Any", pyarrow), cast("Any", pyarrow.parquet)
"""Arrow ships without types."""

DAY, NOON = date(2026, 3, 2), datetime(2026, 3, 2, 12, tzinfo=UTC)

Damage = Callable[[Path], None]


def empty(file: Path) -> None:
    file.write_bytes(b"")


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def noise(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(5000))


def folder(file: Path) -> None:
    file.unlink()
    (file / "of somebody").mkdir(parents=True)


def file_for_folder(file: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.write_text("not a folder")


def of_another_program(file: Path) -> None:
    """A whole file of the format, and none of C4's."""
    if file.suffix == ".parquet":
        PARQUET.write_table(ARROW.table({"a": [1, 2]}), file)
    else:
        batch = ARROW.record_batch({"a": [1, 2]})
        with ARROW.OSFile(str(file), "wb") as sink, ARROW.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)


DAMAGES: list[Damage] = [empty, torn, noise, folder, file_for_folder, of_another_program]


def image(number: int, inspection_id: int = 1) -> Image:
    return Image(number, inspection_id, "P1", "A01", 1, f"P1/{number}.jpg")


def scored(number: int, inspection_id: int = 1) -> ImageOutcome:
    return ImageOutcome(image(number, inspection_id), NOON, f"digest {number}", (0.125, 0.5, 0.125, 0.25), None, b"j")


def staged(number: int, inspection_id: int = 1) -> StagedImage:
    return StagedImage(image(number, inspection_id), NOON, photograph(number), None, f"digest {number}")


def files_below(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.is_file() and file.suffix != ".lock")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_staged_file_that_cannot_be_read_counts_as_absent_and_others_are_classified(
    tmp_path: Path, damage: Damage
) -> None:
    staging, archive = Staging(tmp_path / "staging"), ScoreArchive(tmp_path / "archive", "model", "scorer")
    other = DAY.replace(day=3)
    staging.write(DAY, 1, [staged(1), staged(2)])
    staging.write(other, 2, [staged(3, 2)])
    damage(tmp_path / "staging" / "2026-03-02" / "1.arrow")
    assert classify_day(DAY, staging, archive, StandIn).outcomes == ()
    assert len(classify_day(other, staging, archive, StandIn).outcomes) == 1
    assert staging.inspections(DAY) == []
    assert staging.images(DAY, 1) == set()
    staging.write(DAY, 1, [staged(1), staged(2)])
    assert [outcome.error for outcome in classify_day(DAY, staging, archive, StandIn).outcomes] == [None, None]
    kept = list((tmp_path / "staging").rglob("of somebody"))
    assert bool(kept) == (damage is folder), "what others put there is not removed"


@pytest.mark.parametrize("damage", DAMAGES)
def test_listing_what_is_staged_notices_that_it_cannot_be_read(tmp_path: Path, damage: Damage) -> None:
    staging = Staging(tmp_path)
    staging.write(DAY, 1, [staged(1)])
    damage(tmp_path / "2026-03-02" / "1.arrow")
    assert staging.images(DAY, 1) == set()
    assert staging.files(DAY, 1) == []
    assert staging.inspections(DAY) == []


@pytest.mark.parametrize("name", ["notes.arrow", "007.arrow", "1 (copy).arrow", "٣.arrow", "-0.arrow", ".1.arrow"])
def test_a_foreign_name_in_the_staging_area_is_passed_over(tmp_path: Path, name: str) -> None:
    staging = Staging(tmp_path)
    staging.write(DAY, -4, [staged(1, -4)])
    shutil.copyfile(tmp_path / "2026-03-02" / "-4.arrow", tmp_path / "2026-03-02" / name)
    assert staging.inspections(DAY) == [-4]


def flips(content: bytes) -> list[bytes]:
    """The content with one bit changed, at every byte."""
    return [content[:at] + bytes([byte ^ 1 << at % 8]) + content[at + 1 :] for at, byte in enumerate(content)]


def test_a_flipped_bit_anywhere_in_a_staged_file_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    staging, file = Staging(tmp_path), tmp_path / "2026-03-02" / "1.arrow"
    row = StagedImage(image(1), NOON, b"some bytes of an image", None, "digest", NOON)
    staging.write(DAY, 1, [row, StagedImage(image(2), NOON, None, "not there")])
    whole = list(staging.read(DAY, 1))
    content = file.read_bytes()
    noticed = 0
    for flipped in flips(content):
        file.write_bytes(flipped)
        try:
            assert list(staging.read(DAY, 1)) == whole
        except UnreadableFile:
            noticed += 1
    assert noticed > 300


def test_a_flipped_bit_anywhere_in_the_long_term_archive_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    archive = ScoreArchive(tmp_path, "model", "scorer")
    archive.checkpoint(DAY, 1, [scored(1), scored(2), ImageOutcome(image(3), NOON, error="not there")])
    (file,) = files_below(tmp_path)
    whole, content = read_parquet(file), file.read_bytes()
    noticed = 0
    for flipped in flips(content):
        file.write_bytes(flipped)
        try:
            assert read_parquet(file) == whole
        except UnreadableFile:
            noticed += 1
    assert noticed > len(content) / 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_cannot_be_read_is_set_aside_and_the_others_are_merged(
    tmp_path: Path, damage: Damage
) -> None:
    archive = ScoreArchive(tmp_path, "model", "scorer")
    archive.checkpoint(DAY, 1, [scored(1)])
    (bad,) = files_below(tmp_path)
    damage(bad)
    archive.checkpoint(DAY, 2, [scored(2, 2)])
    assert [outcome.image.image_id for outcome in archive.merge(DAY)] == [2]
    (evidence,) = archive.set_aside(DAY)
    assert evidence.name.startswith(f"_{bad.parent.name if damage is file_for_folder else bad.name}.unreadable-2")
    archive.checkpoint(DAY, 1, [scored(1)])
    assert [outcome.image.image_id for outcome in archive.merge(DAY)] == [1, 2]
    assert archive.set_aside(DAY) == [evidence], "it stays for who wants to know why"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("dataset", ["probabilities", "thumbnails", "predictions", "superseded"])
def test_a_file_of_a_day_that_cannot_be_read_is_set_aside_and_the_day_goes_on(
    tmp_path: Path, dataset: str, damage: Damage
) -> None:
    archive = ScoreArchive(tmp_path, "model", "scorer")
    archive.checkpoint(DAY, 1, [scored(1)])
    archive.merge(DAY)
    archive.write_predictions(DAY, [])
    replaced = ImageOutcome(image(1), NOON.replace(hour=13), "another digest", (0.25, 0.25, 0.25, 0.25))
    archive.checkpoint(DAY, 1, [replaced])
    archive.merge(DAY)
    (file,) = (tmp_path / dataset).rglob("*.parquet")
    damage(file)
    known = [outcome.sha256 for outcome in archive.outcomes(DAY)]
    assert known == ([] if dataset == "probabilities" else ["another digest"])
    assert [outcome.sha256 for outcome in archive.rows(DAY)] == known
    assert archive.predictions(DAY) == []
    assert (archive.doubled(DAY), archive.category_counts(DAY), archive.fingerprints(DAY)) == ([], {}, {})
    assert archive.replaced(DAY) == (frozenset() if dataset == "superseded" else {1})
    assert len(archive.set_aside(DAY)) == 1
    archive.checkpoint(DAY, 2, [scored(2, 2)])
    archive.merge(DAY)
    archive.write_predictions(DAY, [])
    assert 2 in {outcome.image.image_id for outcome in archive.outcomes(DAY)}
    readable = PARQUET.read_table(tmp_path / "probabilities")
    assert 2 in readable.column("image_id").to_pylist(), "what was set aside is not in the way of other programs"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_week_of_labels_that_cannot_be_read_is_set_aside_and_collected_again(tmp_path: Path, damage: Damage) -> None:
    archive, monday = ScoreArchive(tmp_path, "model", "scorer"), date(2026, 3, 2)
    label = HumanLabel(1, 1, 1, "P1", NOON, "A01", 1, "a.jpg", "ana", "needles", True, "crystals", NOON, None)
    write_labels(archive, monday, [ArchivedLabel(label, None, None)])
    (file,) = (tmp_path / "labels").rglob("labels.parquet")
    damage(file)
    assert read_labels(archive, monday) == {}
    assert len(archive.set_aside_of_week("labels", monday)) == 1
    write_labels(archive, monday, [ArchivedLabel(label, None, None)])
    assert len(read_labels(archive, monday)[monday]) == 1


def test_labels_that_cannot_be_read_are_named_by_a_check(facility: Facility) -> None:
    monday = date(2026, 3, 2)
    label = HumanLabel(1, 1, 1, "P1", NOON, "A01", 1, "a.jpg", "ana", "needles", True, "crystals", NOON, None)
    write_labels(facility.archive, monday, [ArchivedLabel(label, None, None)])
    torn(next((facility.settings.archive / "labels").rglob("labels.parquet")))
    thresholds = facility.settings.checks
    start = datetime(2026, 3, 9, tzinfo=UTC)
    week = (start, start + timedelta(weeks=1))
    _, tables = collect_labels(*week, facility.database, facility.archive, thresholds.labels)
    verdicts = {
        verdict.check.name: verdict for verdict in judge(checks_of("human_labels"), tables, thresholds).verdicts
    }
    assert not verdicts["label_archive_readable"].passed
    assert "labels.parquet.unreadable-" in str(verdicts["label_archive_readable"].rows)


def test_a_disk_that_does_not_answer_is_no_reason_to_set_a_file_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = ScoreArchive(tmp_path, "model", "scorer")
    archive.checkpoint(DAY, 1, [scored(1)])

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(PARQUET, "ParquetFile", fails)
        with pytest.raises(OSError, match="Input/output error"):
            archive.merge(DAY)
    assert archive.set_aside(DAY) == []
    assert len(archive.merge(DAY)) == 1


def test_a_scored_day_whose_file_was_damaged_is_made_again_from_the_database_and_a_check_names_it(
    facility: Facility,
) -> None:
    day = noon(1).date()
    facility.add_plate("P1", {f"{n:02d}.jpg": photograph(n) for n in range(24)})
    assert failed(facility.score()) == {}
    before, rows = facility.archive.outcomes(day), facility.rows("select * from scores order by id")
    (file,) = (facility.settings.archive / "probabilities").rglob("*.parquet")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    facility.add_plate("P2", {f"{n:02d}.jpg": photograph(100 + n) for n in range(24)})
    checks = failed(facility.score())
    assert set(checks) == {"archive_readable"}
    named = str(checks["archive_readable"].metadata["rows"].value)
    assert "probabilities.parquet.unreadable-" in named.replace("\\", "")
    after = {outcome.image.image_id: outcome for outcome in facility.archive.outcomes(day)}
    assert len(after) == 48
    for outcome in before:
        known = after[outcome.image.image_id]
        assert (known.image, known.at, known.sha256) == (outcome.image, outcome.at, outcome.sha256)
        assert known.probabilities == pytest.approx(outcome.probabilities)
    assert len(facility.archive.predictions(day)) == 48
    assert facility.rows("select * from scores order by id")[:24] == rows
    (evidence,) = facility.archive.set_aside(day)
    assert evidence.read_bytes() == content
    evidence.rename(facility.settings.home / "looked at")
    assert failed(facility.score()) == {}


@pytest.mark.parametrize("damage", [empty, torn, noise, folder])
def test_word_of_the_active_models_that_cannot_be_read_is_written_anew(facility: Facility, damage: Damage) -> None:
    before = facility.models.publish()
    file = facility.settings.archive / "active_models.json"
    damage(file)
    with pytest.raises(ConfigurationError, match="materialise raw_inspection_images first"):
        facility.models.published()
    facility.models.publish()
    assert [model.version for model in facility.models.published()] == [model.version for model in before]


def test_word_of_the_active_models_that_was_changed_is_not_believed(facility: Facility) -> None:
    facility.models.publish()
    file = facility.settings.archive / "active_models.json"
    rows = json.loads(file.read_text())
    rows[0]["scorer_version"]["crystal_threshold"] = 0.75
    file.write_text(json.dumps(rows))
    with pytest.raises(ConfigurationError, match="is not the one of its name"):
        facility.models.published()


OURS = durable.TEMPORARY_NAME.format(unique="0123456789abcdef" * 2)

OTHERS = [".notes.txt.tmp", "." + "0123456789abcdef" * 2 + ".tmp", ".scores.csv.dead.tmp", ".c4-dead.tmp", f"x{OURS}"]


def test_a_write_touches_nothing_of_anybody_else_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "ABANDONED_AFTER_S", -1)
    for name in (*OTHERS, OURS):
        (tmp_path / name).write_text("theirs")
    with atomic_write(tmp_path / "scores.csv") as temporary:
        temporary.write_text("scores")
    assert {file.name for file in tmp_path.iterdir()} == {*OTHERS, OURS, "scores.csv"}


def test_the_longest_name_that_a_file_can_have_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / ("n" * 251 + ".csv")
    with atomic_write(file) as temporary:
        temporary.write_text("scores")
    assert file.read_text() == "scores"


def test_what_a_killed_writer_left_in_a_folder_of_ours_is_removed_after_a_day_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging, archive = Staging(tmp_path), ScoreArchive(tmp_path, "model", "scorer")
    for below in ("2026-03-02", "checkpoints/model/2026-03-02"):
        (tmp_path / below).mkdir(parents=True)
        for name in (*OTHERS, OURS):
            (tmp_path / below / name).write_text("left")

    def write() -> set[str]:
        staging.write(DAY, 1, [staged(1)])
        archive.checkpoint(DAY, 1, [scored(1)])
        return {file.name for file in tmp_path.rglob("*.tmp")}

    assert write() == {*OTHERS, OURS}, "its writer may still be at work"
    monkeypatch.setattr(durable, "ABANDONED_AFTER_S", -1)
    assert write() == set(OTHERS)


def test_a_clean_up_never_fails_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "ABANDONED_AFTER_S", -1)
    (tmp_path / "2026-03-02" / OURS / "a folder").mkdir(parents=True)
    remove_abandoned(tmp_path / "not there")
    Staging(tmp_path).write(DAY, 1, [staged(1)])
    assert (tmp_path / "2026-03-02" / OURS / "a folder").is_dir()
    assert Staging(tmp_path).inspections(DAY) == [1]


def test_files_of_an_earlier_release_have_no_checksums_and_are_read(tmp_path: Path) -> None:
    table = ARROW.table({"image_id": [1, 2]})
    PARQUET.write_table(table, tmp_path / "old.parquet")
    assert read_parquet(tmp_path / "old.parquet") == [{"image_id": 1}, {"image_id": 2}]
    write_parquet(tmp_path / "new.parquet", {"image_id": "int64"}, [{"image_id": 1}])
    assert PARQUET.read_table(tmp_path / "new.parquet").to_pylist() == [{"image_id": 1}]
