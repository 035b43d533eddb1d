"""The asset graph through Dagster: what is scored, what fails with which words, what happens the second time."""

import resource
import shutil
import struct
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
import pytest
from sqlalchemy import text

from c4_assets.command.run import failure_reason
from resources.imaging_database.work import failures, forget_failures
from resources.records import crystal_probability
from resources.settings import Settings
from tests.conftest import Facility, noon, photograph

FOUR = {f"{seed}.jpg": photograph(seed) for seed in range(4)}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    """What the UI shows of an asset's materialisation."""
    for event in result.get_asset_materialization_events():
        if event.asset_key and event.asset_key.to_user_string() == asset:
            return {name: value.value for name, value in event.materialization.metadata.items()}
    raise AssertionError(f"{asset} was not materialised")


def test_every_image_of_the_day_gets_one_score_with_its_probabilities(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    rows = facility.rows(
        "select s.*, c.name as class from scores s join score_classes c on c.id = s.score_class_id order by image_id"
    )
    assert [row.image_id for row in rows] == [1, 2, 3, 4]
    assert {row.scorer_version for row in rows} == {row.scorer for row in rows} == {facility.scorer_version}
    for row in rows:
        vector = (row.p_clear, row.p_crystals, row.p_other, row.p_precipitate)
        assert sum(vector) == pytest.approx(1, abs=1e-6)
        assert row.__getattr__(f"p_{row._mapping['class']}") == max(vector)
        assert bool(row.crystal) == (row.p_crystals >= 0.25)


def test_a_second_run_fetches_classifies_and_writes_nothing(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    again = facility.score()
    assert len(facility.seen) == 4
    assert metadata(again, "raw_inspection_images")["images staged"] == 0
    assert metadata(again, "db_scores")["rows written"] == 0
    assert metadata(again, "db_scores")["rows there before"] == 4


def test_only_images_that_arrived_since_are_scored_by_the_next_run(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    facility.add_plate("P1", {**FOUR, "late.jpg": photograph(99)})
    again = facility.score()
    assert metadata(again, "marco_probabilities")["images scored"] == 1
    assert facility.progress().scored == 5


def test_staged_images_are_gone_and_the_day_is_one_parquet_file_when_the_run_ends(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.add_plate("P2", {"x.jpg": photograph(50)})
    facility.score()
    assert not list(facility.settings.staging.rglob("*.arrow"))
    assert not list((facility.settings.archive / "checkpoints").rglob("*.parquet"))
    assert len(list((facility.settings.archive / "probabilities").rglob("*.parquet"))) == 1


def test_the_archive_reads_as_one_dataset_in_pandas_and_in_duckdb(facility: Facility) -> None:
    import duckdb
    import pandas as pd

    facility.add_plate("P1", FOUR, noon(2))
    facility.add_plate("P2", FOUR, noon(1))
    facility.score(noon(2))
    facility.score(noon(1))
    folder = facility.settings.archive / "probabilities"
    frame = pd.read_parquet(folder)
    assert sorted(frame["plate"]) == ["P1"] * 4 + ["P2"] * 4
    assert set(frame["model"].astype(str)) == {facility.models.current.version.model_version}
    query = f"select count(distinct image_id) from read_parquet('{folder}/**/*.parquet')"
    count = duckdb.connect().execute(query).fetchone()
    assert count == (8,)


def test_the_rank_orders_each_inspection_by_the_probability_of_crystals(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.add_plate("P2", {f"{n}.jpg": photograph(n) for n in range(10, 15)})
    facility.score()
    predictions = facility.archive.predictions(noon(1).date())
    for plate, size in (("P1", 4), ("P2", 5)):
        ranked = sorted((p for p in predictions if p.outcome.image.plate == plate), key=lambda p: p.rank)
        assert [p.rank for p in ranked] == list(range(1, size + 1))
        crystals = [crystal_probability(p.outcome) for p in ranked if p.outcome.probabilities]
        assert crystals == sorted(crystals, reverse=True)


def bomb(side: int) -> bytes:
    """A PNG of a hundred bytes that promises an image of ``side`` squared pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD: dict[str, tuple[bytes | None, str]] = {
    "truncated.png": (photograph(1, form="PNG")[:25], "not an image"),
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"<html>not found</html>", "not an image"),
    "missing.jpg": (None, "is not in the image store"),
    "drop.jpg": (photograph(2, form="PPM"), "not an image of a kind that C4 reads"),
    "../../outside.jpg": (None, "is not one below the image store's root"),
    "bomb.png": (bomb(10_000), "too large to decode (10000 x 10000"),
    "great bomb.png": (bomb(100_000), "too large to decode"),
}


def test_each_bad_image_costs_itself_alone_and_is_listed_with_its_reason(facility: Facility) -> None:
    facility.add_plate("P1", {**{name: data for name, (data, _) in BAD.items()}, **FOUR})
    facility.score()
    assert facility.progress().scored == 4
    reasons = {
        failure.image.path.removeprefix("P1/"): failure.reason
        for failure in failures(facility.database, facility.scorer_version)
    }
    assert set(reasons) == set(BAD)
    for name, (_, words) in BAD.items():
        assert words in reasons[name], name


def test_an_image_that_has_no_thumbnail_keeps_its_score(facility: Facility) -> None:
    whole = photograph(1, (400, 300))
    facility.add_plate("P1", {"cut.jpg": whole[: len(whole) // 2], "whole.jpg": whole})
    facility.score()
    assert facility.progress().scored == 2
    outcomes = facility.archive.outcomes(noon(1).date())
    assert [outcome.thumbnail is not None for outcome in outcomes] == [False, True]


def test_a_failed_image_is_tried_three_times_and_no_more_until_it_is_given_its_attempts_back(
    facility: Facility,
) -> None:
    facility.add_plate("P1", {"cut.jpg": b"cut off", **FOUR})
    for attempt, (failed, retrying) in enumerate([(0, 1), (0, 1), (1, 0), (1, 0)], start=1):
        facility.score()
        progress = facility.progress()
        assert (progress.failed, progress.retrying) == (failed, retrying), f"after attempt {attempt}"
    assert [failure.attempts for failure in failures(facility.database, facility.scorer_version)] == [3]
    (facility.images / "P1" / "cut.jpg").write_bytes(photograph(7))
    assert forget_failures(facility.database, facility.scorer_version) == 1
    facility.score()
    assert facility.progress().scored == 5
    assert failures(facility.database, facility.scorer_version) == []


def test_a_mended_image_is_scored_and_no_longer_listed_as_failed(facility: Facility) -> None:
    facility.add_plate("P1", {"late.jpg": None, **FOUR})
    facility.score()
    (facility.images / "P1" / "late.jpg").write_bytes(photograph(7))
    facility.score()
    assert facility.progress().scored == 5
    assert facility.rows("select * from c4_image_failures") == []


def test_another_scorer_version_scores_beside_the_first_and_changes_none_of_its_rows(
    make_facility: Callable[..., Facility],
) -> None:
    first = make_facility()
    of_the_other = {"C4_HOME": str(first.settings.home), "C4_CRYSTAL_THRESHOLD": "0.1"}
    second = make_facility(settings=Settings.from_environment(of_the_other))
    assert first.scorer_version != second.scorer_version
    first.add_plate("P1", FOUR)
    first.score()
    before = first.rows("select * from scores order by id")
    second.score()
    after = first.rows("select * from scores order by id")
    assert after[: len(before)] == before
    assert len(after) == 2 * len(before)
    assert first.progress().pending == second.progress().pending == 0


def test_an_image_that_the_sites_view_lists_twice_is_scored_once(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    with facility.database.writing() as connection:
        connection.execute(text("PRAGMA legacy_alter_table=ON"))
        connection.execute(text("alter table images rename to lims_images"))
        connection.execute(text("create view images as select * from lims_images union all select * from lims_images"))
    facility.score()
    assert [row.image_id for row in facility.rows("select image_id from scores order by image_id")] == [1, 2, 3, 4]
    assert facility.progress().listed == facility.progress().scored == 4


def test_two_rows_of_one_file_are_two_images_with_a_score_each(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.add_plate("P2", {"x.jpg": photograph(1)})
    with facility.database.writing() as connection:
        connection.execute(text("update images set path = 'P1/0.jpg' where path = 'P2/x.jpg'"))
    facility.score()
    assert facility.progress().scored == 5


def test_an_image_withdrawn_from_the_database_meanwhile_stops_nobody(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.run("score_images", noon(1).date().isoformat())
    with facility.database.writing() as connection:
        connection.execute(text("delete from scores"))
        connection.execute(text("delete from images where id = 2"))
    again = facility.score()
    assert metadata(again, "db_scores")["images no longer listed"] == 1
    assert [row.image_id for row in facility.rows("select image_id from scores order by image_id")] == [1, 3, 4]


def test_an_inspection_imaged_near_midnight_elsewhere_belongs_to_its_day_in_utc(facility: Facility) -> None:
    melbourne = datetime.fromisoformat("2026-03-02T08:30:00+11:00")  # still the first of March in UTC
    facility.add_plate("P1", FOUR, melbourne)
    facility.score(datetime(2026, 3, 1, tzinfo=UTC))
    assert facility.progress().scored == 4


def test_a_database_without_tables_stops_the_run_and_says_how_to_make_them(facility: Facility) -> None:
    facility.database.engine.dispose()
    for file in facility.settings.home.glob("imaging.db*"):
        file.unlink()
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert "c4 db upgrade" in failure_reason(result)


def test_an_empty_database_is_nothing_to_do(facility: Facility) -> None:
    assert facility.score().success


def test_a_missing_store_fails_the_run_and_no_image(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    shutil.move(facility.images, facility.images.with_name("unmounted"))
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert "C4_STORE_URL" in failure_reason(result)
    shutil.move(facility.images.with_name("unmounted"), facility.images)
    facility.score()
    assert facility.progress().scored == 4
    assert facility.rows("select * from c4_image_failures") == []


def test_a_database_that_lost_its_classes_keeps_the_scores_for_the_next_run(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    with facility.database.writing() as connection:
        connection.execute(text("delete from score_classes"))
    result = facility.score(raise_on_error=False)
    assert "c4 db seed-classes" in failure_reason(result)
    from resources.imaging_database.register import seed_classes

    seed_classes(facility.database)
    facility.score()
    assert facility.progress().scored == 4
    assert len(facility.seen) == 4, "what was classified before the database failed is not classified again"


@contextmanager
def files_at_most(size: int) -> Generator[None, None, None]:
    """The operating system refuses to let any file grow beyond so many bytes: what a full disk does to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_fails_the_run_leaves_nothing_half_written_and_the_next_run_completes(facility: Facility) -> None:
    facility.add_plate("P1", {f"{n}.jpg": photograph(n, (1200, 900)) for n in range(3)})
    with files_at_most(1_000_000):
        result = facility.score(raise_on_error=False)
    assert not result.success
    assert not [file for file in facility.settings.staging.rglob("*") if file.is_file()]
    facility.score()
    assert facility.progress().scored == 3


def test_every_asset_says_what_an_operator_wants_to_know(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    result = facility.score()
    predictions = metadata(result, "class_predictions")
    assert sum(int(str(predictions[f"images {c}"])) for c in ("clear", "crystals", "other", "precipitate")) == 4
    assert str(predictions["likeliest crystals"]).startswith("![contact sheet](data:image/jpeg;base64,")
    assert metadata(result, "raw_inspection_images")["images staged"] == 4
    assert metadata(result, "marco_probabilities")["images of the day with a score"] == 4
    assert metadata(result, "db_scores")["rows written"] == 4
    assert "dagster/column_lineage" in predictions
