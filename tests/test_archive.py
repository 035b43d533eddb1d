"""Staging and archive: what was written is read back, and no order of attempts loses or doubles an image."""

import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedImage, Staging
from resources.archive.tables import read_parquet
from resources.atomic_write import atomic_write
from resources.records import NO_NUMBER, Image, ImageOutcome, Problem

DAY, NOON = date(2026, 3, 2), datetime(2026, 3, 2, 12, tzinfo=UTC)


def image(number: int) -> Image:
    return Image(number, number // 10, "P1", "A01", 1, f"P1/{number}.jpg")


def scored(number: int, minute: int = 0, crystals: float = 0.5) -> ImageOutcome:
    at = NOON + timedelta(minutes=minute)
    return ImageOutcome(image(number), at, "digest", (0.125, crystals, 0.125, 0.75 - crystals), thumbnail=b"jpeg")


def failed(number: int, minute: int = 0) -> ImageOutcome:
    return ImageOutcome(image(number), NOON + timedelta(minutes=minute), error=f"attempt {minute}")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_staged_is_read_back_in_order(tmp_path: Path, contents: list[bytes]) -> None:
    staging = Staging(tmp_path)
    rows = [StagedImage(image(n), NOON, data, None, "digest") for n, data in enumerate(contents)]
    rows.append(StagedImage(image(999), NOON, None, "not there"))
    result = staging.write(DAY, 7, rows)
    assert (result.images, result.failed, result.bytes) == (len(rows), 1, sum(map(len, contents)))
    assert list(staging.read(DAY, 7)) == rows
    assert staging.images(DAY, 7) == {row.image for row in rows}
    assert staging.inspections(DAY) == [7]
    staging.remove(DAY, 7)
    assert staging.inspections(DAY) == []
    assert list(staging.read(DAY, 7)) == []


def attempt(number: int, minute: int, succeeds: bool) -> ImageOutcome:
    return scored(number, minute) if succeeds else failed(number, minute)


attempts = st.lists(
    st.lists(
        st.builds(attempt, st.integers(0, 8), st.integers(0, 5), st.booleans()),
        min_size=1,
        max_size=6,
        unique_by=lambda outcome: outcome.image.image_id,
    ),
    max_size=5,
)


@given(attempts, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_any_checkpoints_and_merges_leave_one_outcome_an_image_and_a_score_always_wins(
    tmp_path: Path, attempts: list[list[ImageOutcome]], data: st.DataObject
) -> None:
    archive = ScoreArchive(Path(tempfile.mkdtemp(dir=tmp_path)), "model", "scorer")
    for outcomes in attempts:
        archive.checkpoint(DAY, 1, outcomes)
        if data.draw(st.booleans()):
            archive.merge(DAY)
    before = archive.outcomes(DAY)
    assert archive.merge(DAY) == before == archive.outcomes(DAY)
    found = {outcome.image.image_id: outcome for outcome in before}
    everything = [outcome for outcomes in attempts for outcome in outcomes]
    assert set(found) == {outcome.image.image_id for outcome in everything}
    for number, outcome in found.items():
        tries = [o for o in everything if o.image.image_id == number]
        scores = [o.at for o in tries if o.error is None]
        assert (outcome.error is None) == bool(scores)
        assert outcome.at == (min(scores) if scores else max(o.at for o in tries))


def test_of_an_image_without_a_score_the_newest_attempt_counts_whatever_was_wrong_before(tmp_path: Path) -> None:
    archive = ScoreArchive(tmp_path, "v1", "v1")
    damaged = replace(failed(1), sha256="of the damaged file")
    archive.checkpoint(DAY, 0, [damaged])
    gone = replace(failed(1, 60), problem=Problem.ABSENT)
    archive.checkpoint(DAY, 0, [gone])
    assert archive.merge(DAY) == [gone]
    archive.checkpoint(DAY, 0, [scored(1, 120), failed(1, 180)])
    assert [outcome.error for outcome in archive.merge(DAY)] == [None]


def test_an_image_without_a_drop_number_is_read_back(tmp_path: Path) -> None:
    archive = ScoreArchive(tmp_path, "v1", "v1")
    odd = replace(failed(1), image=replace(image(1), drop_number=NO_NUMBER))
    archive.checkpoint(DAY, 0, [odd])
    assert archive.merge(DAY) == [odd]
    (file,) = (tmp_path / "probabilities").rglob("*.parquet")
    assert [row["drop_number"] for row in read_parquet(file)] == [None]


def test_thumbnails_of_the_likeliest_crystals_outlive_the_merge(tmp_path: Path) -> None:
    archive = ScoreArchive(tmp_path, "model", "scorer")
    archive.checkpoint(DAY, 1, [scored(n, crystals=n / 100) for n in range(60)])
    archive.merge(DAY)
    archive.checkpoint(DAY, 2, [scored(70, crystals=0.7)])
    archive.merge(DAY)
    kept = [outcome.image.image_id for outcome in archive.outcomes(DAY) if outcome.thumbnail]
    assert kept == [*range(13, 60), 70]


def test_models_do_not_see_each_other(tmp_path: Path) -> None:
    one, other = ScoreArchive(tmp_path, "one", "a"), ScoreArchive(tmp_path, "other", "b")
    one.checkpoint(DAY, 1, [scored(1)])
    one.merge(DAY)
    assert other.outcomes(DAY) == []


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(file) as temporary:
        temporary.write_text("half")
        assert file.read_text() == "old"
        raise RuntimeError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
