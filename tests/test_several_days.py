"""A backfill's run takes several days in one step: what is said of each of them, and what happens when one fails."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from sqlalchemy import text

from c4_assets.command.run import failure_reason
from c4_assets.runs.partitions import DAYS as EVERY_DAY
from c4_assets.scoring.classify import ClassifiedDay, classify_day
from resources.archive.score_archive import ScoreArchive
from tests.conftest import Facility, noon, photograph

ASSETS = ("raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores")
DAYS = [noon(days_ago).date().isoformat() for days_ago in (4, 3, 2)]

quickly_judged = pytest.mark.usefixtures("judged_without_great_expectations")


@pytest.fixture
def three_days(facility: Facility) -> Facility:
    """A facility with an inspection of two drops on each of three days."""
    for number in range(3):
        files = {"a.jpg": photograph(10 * number), "b.jpg": photograph(10 * number + 1)}
        facility.add_plate(f"P{number}", files, noon(4 - number))
    return facility


@contextmanager
def file_of_the_second_day_damaged(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    merge = ScoreArchive.merge

    def broken(self: ScoreArchive, day: date) -> object:
        if day.isoformat() == DAYS[1]:
            raise OSError("the file of this day is damaged")
        return merge(self, day)

    with monkeypatch.context() as patched:
        patched.setattr(ScoreArchive, "merge", broken)
        yield


def materialised(facility: Facility, asset: str) -> dict[str, list[dict[str, object]]]:
    """Metadata of an asset's materialisations, by day, oldest first."""
    days: dict[str, list[dict[str, object]]] = {}
    for record in reversed(facility.instance.fetch_materializations(AssetKey(asset), limit=100).records):
        event = record.asset_materialization
        assert event and event.partition
        days.setdefault(event.partition, []).append({name: v.value for name, v in event.metadata.items()})
    return days


@quickly_judged
def test_each_day_is_materialised_once_with_its_own_numbers(three_days: Facility) -> None:
    three_days.add_plate("P9", {"c.jpg": photograph(99)}, noon(3) + timedelta(hours=1))
    three_days.backfill(noon(4), noon(2))
    for asset, number in zip(ASSETS, ("images staged", "images scored", "images flagged", "rows written"), strict=True):
        days = materialised(three_days, asset)
        assert sorted(days) == DAYS, asset
        assert {len(events) for events in days.values()} == {1}, "each day is materialised once"
        if number != "images flagged":
            assert [days[day][0][number] for day in DAYS] == [2, 3, 2], asset
    assert three_days.progress().scored == 7


def test_a_day_is_told_of_alike_whether_it_is_alone_or_among_others(make_facility: Callable[..., Facility]) -> None:
    facility = make_facility()
    for number in range(3):
        facility.add_plate(f"P{number}", {"a.jpg": photograph(number), "gone.jpg": None}, noon(4 - number))
    together = make_facility(data=facility.settings.home / "b", scratch=facility.settings.home / "c")
    together.database.upgrade()
    for days_ago in (4, 3, 2):
        facility.score(noon(days_ago))
    with facility.database.writing() as connection:
        for table in ("scores", "c4_image_failures"):
            connection.execute(text(f"delete from {table}"))
    together.backfill(noon(4), noon(2))
    waits = {"seconds the network waited", "seconds the network computed"}
    changing = {"seconds", "images per second", "peak memory (MB)", *waits}
    for asset in ASSETS:
        alone, among = materialised(facility, asset), materialised(together, asset)
        for day in DAYS:
            assert {k: v for k, v in alone[day][-1].items() if k not in changing} == {
                k: v for k, v in among[day][-1].items() if k not in changing
            }, (asset, day)
        assert checks(facility, asset) == checks(together, asset), asset


def checks(facility: Facility, asset: str) -> dict[tuple[str, str | None], tuple[bool, str | None]]:
    """Verdict and words of every check of every day."""
    found: dict[tuple[str, str | None], tuple[bool, str | None]] = {}
    for run in facility.instance.get_runs():
        for record in facility.instance.get_records_for_run(
            run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION
        ).records:
            event = record.event_log_entry.dagster_event
            assert event
            check = event.asset_check_evaluation_data
            if check.asset_key == AssetKey(asset) and check.partition:
                found[check.check_name, check.partition] = (check.passed, check.description)
    return found


@quickly_judged
def test_the_page_of_a_check_counts_the_days_of_a_backfill(
    three_days: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_of_the_second_day_damaged(monkeypatch):
        three_days.backfill(noon(4), noon(2), raise_on_error=False)
    assert passed(three_days, "marco_probabilities", "probabilities_sound") == {DAYS[0], DAYS[2]}
    three_days.backfill(noon(4), noon(2))
    assert passed(three_days, "marco_probabilities", "probabilities_sound") == set(DAYS)
    assert passed(three_days, "db_scores", "rows_written_once") == set(DAYS)


@quickly_judged
def test_the_page_of_a_check_counts_a_backfills_run_of_one_day(three_days: Facility) -> None:
    three_days.backfill(noon(3), noon(3))
    assert passed(three_days, "marco_probabilities", "probabilities_sound") == {DAYS[1]}
    assert passed(three_days, "db_scores", "rows_written_once") == {DAYS[1]}


def passed(facility: Facility, asset: str, check: str) -> set[str]:
    """The days that the page of a check shows as passed."""
    key = AssetCheckKey(AssetKey(asset), check)
    state = facility.instance.event_log_storage.get_asset_check_state([(key, EVERY_DAY)])[key]
    subset = state.subsets[AssetCheckExecutionResolvedStatus.SUCCEEDED]
    return set(subset.subset_value.get_partition_keys())


@quickly_judged
def test_a_day_that_cannot_be_done_is_named_and_the_others_are_materialised(
    three_days: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_of_the_second_day_damaged(monkeypatch):
        result = three_days.backfill(noon(4), noon(2), raise_on_error=False)
    assert not result.success
    assert f"1 of 3 days are not done ({DAYS[1]}: OSError: the file of this day is damaged)" in failure_reason(result)
    assert sorted(materialised(three_days, "marco_probabilities")) == [DAYS[0], DAYS[2]]
    assert three_days.progress().scored == 0
    three_days.backfill(noon(4), noon(2))
    assert three_days.progress().scored == 6
    assert len(three_days.seen) == 6, "what was classified is not classified again"


@quickly_judged
def test_a_database_that_is_away_is_waited_for_in_a_backfill(
    three_days: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resources.errors import Unavailable

    asked: list[int] = []
    from resources.imaging_database.work import pending_images

    def away(*arguments: object) -> object:
        asked.append(1)
        if len(asked) in range(2, 9):  # more often than an hourly run would try
            raise Unavailable("the imaging database does not answer")
        return pending_images(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("c4_assets.scoring.fetch.pending_images", away)
    monkeypatch.setattr("c4_assets.runs.step_failures.MAX_RETRY_WAIT_S", 0)
    three_days.backfill(noon(4), noon(2))
    assert three_days.progress().scored == 6
    days = materialised(three_days, "raw_inspection_images")
    assert {len(events) for events in days.values()} == {1}, "not once more for each attempt"
    assert days[DAYS[0]][0]["images staged before"] == 2


@quickly_judged
def test_a_backfills_run_for_which_staging_had_no_room_is_repeated_from_its_first_step(
    make_facility: Callable[..., Facility],
) -> None:
    facility = make_facility(scratch_gigabytes=1e-9)
    for number in range(3):
        facility.add_plate(f"P{number}", {"a.jpg": photograph(number), "b.jpg": photograph(10 + number)}, noon(3))
    facility.add_plate("P9", {"a.jpg": photograph(20)}, noon(2))
    runs = [facility.backfill(noon(3), noon(2), raise_on_error=False) for _ in range(4)]
    assert [result.success for result in runs] == [False, False, False, True], "each has room for one inspection"
    for result in runs[:3]:
        run = facility.instance.get_run_by_id(result.run_id)
        assert run
        assert run.tags["dagster/retry_strategy"] == "ALL_STEPS"
        assert "C4_SCRATCH_GIGABYTES" in failure_reason(result)
    assert facility.progress().scored == 7
    assert len(facility.seen) == 7


@quickly_judged
def test_a_staged_file_that_is_damaged_in_a_backfill_is_fetched_again_when_the_run_is_repeated(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P0", {"a.jpg": photograph(1)}, noon(3))
    facility.add_plate("P1", {"a.jpg": photograph(2)}, noon(2))

    def damaged(day: date, *arguments: Any, **named: Any) -> ClassifiedDay:
        if day == noon(3).date():
            (file,) = (facility.settings.staging / day.isoformat()).glob("*.arrow")
            file.write_bytes(file.read_bytes()[:-100])
        return classify_day(day, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr("c4_assets.assets.marco_probabilities.classify_day", damaged)
        result = facility.backfill(noon(3), noon(2), raise_on_error=False)
    assert not result.success
    run = facility.instance.get_run_by_id(result.run_id)
    assert run
    assert run.tags["dagster/retry_strategy"] == "ALL_STEPS"
    assert "could not be read and are to be fetched again" in failure_reason(result)
    facility.backfill(noon(3), noon(2))
    assert (facility.progress().scored, facility.progress().pending) == (2, 0)


@quickly_judged
def test_images_that_arrive_during_a_backfill_are_the_next_runs_and_no_want_of_room(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P0", {"a.jpg": photograph(1)}, noon(3))
    facility.add_plate("P1", {"a.jpg": photograph(2)}, noon(2))

    def meanwhile(*arguments: Any, **named: Any) -> ClassifiedDay:
        facility.add_plate("P2", {"b.jpg": photograph(3)}, noon(3))
        return classify_day(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr("c4_assets.assets.marco_probabilities.classify_day", meanwhile)
        result = facility.backfill(noon(3), noon(2))
    run = facility.instance.get_run_by_id(result.run_id)
    assert run
    assert "dagster/max_retries" not in run.tags
    progress = facility.progress()
    assert (progress.scored, progress.pending) == (2, 1)
    facility.backfill(noon(3), noon(2))
    assert facility.progress().scored == 3
