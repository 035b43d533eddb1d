"""The imaging database: its tables, its times, and the write-back that can be repeated at will.

Every test of a facility runs on each of the databases that ``tests/databases.py`` knows, with the same assertions.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select, text

from resources.errors import ConfigurationError, DataError, Unavailable
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.contract import check
from resources.imaging_database.crystals import crystals_of_inspection, decided_inspections, imaged_plates
from resources.imaging_database.day_numbers import day_numbers
from resources.imaging_database.human_scores import newest_human_scores
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.labels import human_labels
from resources.imaging_database.register import record_human_scores, register_inspection, seed_classes
from resources.imaging_database.schema import inspections, metadata
from resources.imaging_database.withheld import FailedCheck, release, withheld_inspections, withhold
from resources.imaging_database.work import (
    Progress,
    failures,
    forget_failures,
    newest_days,
    pending_by_day,
    pending_images,
    progress_by_day,
)
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from resources.records import Problem
from tests.conftest import Facility, noon, photograph
from tests.databases import KINDS

NOW = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def facility(make_facility: Callable[..., Facility], database_url: str) -> Facility:
    """A facility on each kind of database."""
    return make_facility(database={"url": database_url})


def test_an_upgraded_database_keeps_the_contract_and_upgrading_it_again_changes_nothing(facility: Facility) -> None:
    facility.database.upgrade()
    assert check(facility.database) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])  # Alembic cannot compare what it reflects from Oracle
def test_the_migrations_make_exactly_the_tables_that_the_code_uses(facility: Facility) -> None:
    with facility.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "c4_schema_version"})
        assert compare_metadata(context, metadata) == []


def test_upgrading_and_downgrading_leaves_nothing_behind() -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "resources:imaging_database/migrations")
    with create_engine("sqlite://").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.downgrade(config, "base")
        left = connection.execute(text("select name from sqlite_master where name != 'c4_schema_version'")).all()
    assert [name for (name,) in left if not name.startswith("sqlite_")] == []


def version(facility: Facility) -> dict[str, object]:
    return facility.models.current.version.as_row()


def score(image_id: int, crystals: float = 0.7) -> MachineScore:
    return MachineScore(image_id, "crystals", True, (0.1, crystals, 0.1, 0.9 - crystals - 0.1), NOW)


@pytest.fixture
def plate(facility: Facility) -> Facility:
    """A facility with one plate of six images."""
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(6)})
    return facility


def test_writing_the_same_scores_again_changes_nothing(plate: Facility) -> None:
    rows = [score(1), score(2)]
    assert write_back(plate.database, version(plate), rows, [], "run-1") == Written(2, 0, 0, 0)
    before = plate.rows("select * from scores")
    assert write_back(plate.database, version(plate), [score(1, 0.2), score(2)], [], "run-2") == Written(0, 2, 0, 0)
    assert plate.rows("select * from scores") == before, "the first score stays"


def test_a_failed_attempt_counts_once_however_often_it_is_reported(plate: Facility) -> None:
    first, second = FailedAttempt(1, "gone", NOW), FailedAttempt(1, "still gone", NOW + timedelta(hours=1))
    for attempt in (first, first, second, second, first):
        write_back(plate.database, version(plate), [], [attempt], "run")
    assert [(f.attempts, f.reason) for f in failures(plate.database, plate.scorer_version)] == [(2, "still gone")]


def test_nothing_is_written_when_one_row_cannot_be(plate: Facility) -> None:
    broken = MachineScore(2, "no category", True, (0.1, 0.7, 0.1, 0.1), NOW)
    with pytest.raises(ConfigurationError, match="no class named no category"):
        write_back(plate.database, version(plate), [score(1), broken], [FailedAttempt(3, "gone", NOW)], "run")
    assert plate.rows("select * from scores") == plate.rows("select * from c4_image_failures") == []


def test_the_graph_scores_every_image_once_lists_the_failed_and_repeats_nothing(facility: Facility) -> None:
    facility.add_plate("P1", {**{f"{n}.jpg": photograph(n) for n in range(4)}, "damaged.jpg": b"no image"})
    assert pending_by_day(facility.database, facility.scorer_version, 3, noon(30)) == {noon(1).date(): 5}
    for _ in range(2):
        facility.score()
    rows = facility.rows("select image_id, p_clear, p_crystals, p_other, p_precipitate from scores order by image_id")
    assert [row.image_id for row in rows] == [1, 2, 3, 4]
    outcomes = {o.image.image_id: o.probabilities for o in facility.archive.outcomes(noon(1).date())}
    assert [tuple(row)[1:] for row in rows] == [outcomes[row.image_id] for row in rows], "to the last bit"
    progress = facility.progress()
    assert (progress.listed, progress.scored, progress.retrying) == (5, 4, 1)
    assert facility.rows("select attempts from c4_image_failures") == [(2,)]


def test_status_counts_scored_failed_and_retried_images_of_each_day(plate: Facility) -> None:
    later = NOW + timedelta(hours=1)
    attempts = [FailedAttempt(2, "gone", NOW), FailedAttempt(3, "gone", NOW), FailedAttempt(3, "gone", later)]
    for attempt in attempts:
        write_back(plate.database, version(plate), [score(1)], [attempt], "run")
    yesterday = noon(1).date()
    expected = Progress(yesterday, inspections=1, listed=6, scored=1, failed=1, retrying=1)
    assert progress_by_day(plate.database, plate.scorer_version, 2, noon(2)) == [expected]
    assert progress_by_day(plate.database, "another", 2) == [Progress(yesterday, 1, 6, 0, 0, 0)]
    assert pending_by_day(plate.database, plate.scorer_version, 2, noon(2)) == {yesterday: 4}


def test_images_that_wait_and_images_that_are_given_up_are_told_apart(plate: Facility) -> None:
    plate.add_plate("P2", {"lost.jpg": None}, noon(9))
    scorer = plate.scorer_version
    now = datetime.now(UTC)
    attempts = [
        FailedAttempt(1, "waits", now, problem=Problem.ABSENT),
        FailedAttempt(2, "waited", now - timedelta(hours=3), problem=Problem.ABSENT),
        FailedAttempt(3, "refused", now, problem=Problem.STORE),
        FailedAttempt(4, "damaged", now),
        FailedAttempt(7, "lost", now, problem=Problem.ABSENT),
    ]
    for _ in range(2):
        write_back(plate.database, version(plate), [], attempts, "run")
    young, old = noon(1).date(), noon(9).date()
    counted = {day.day: (day.pending, day.retrying, day.failed) for day in progress_by_day(plate.database, scorer, 1)}
    assert counted == {young: (5, 3, 1), old: (0, 0, 1)}
    assert pending_by_day(plate.database, scorer, 1, noon(30)) == {young: 5}
    assert pending_by_day(plate.database, scorer, 1, noon(30), due_only=True) == {young: 4}
    assert [image.image_id for image in pending_images(plate.database, scorer, 1, young)] == [1, 2, 3, 5, 6]
    told = {
        each.image.image_id: (each.attempts, each.problem, each.failed) for each in failures(plate.database, scorer)
    }
    assert told[3] == (0, Problem.STORE, False)
    assert told[7] == (0, Problem.ABSENT, True)
    assert forget_failures(plate.database, scorer, young, "P1", "DAMAG") == 1
    assert forget_failures(plate.database, scorer, plate="P2") == 1
    assert forget_failures(plate.database, scorer) == 3


def test_a_withheld_inspection_is_counted_and_not_pending_until_it_is_released_or_grows(plate: Facility) -> None:
    yesterday, since = noon(1).date(), noon(2)
    write_back(plate.database, version(plate), [score(1)], [FailedAttempt(2, "gone", NOW)], "run")
    finding = FailedCheck(1, "check", "one frame", 6)
    for _ in range(2):
        assert withhold(plate.database, version(plate), {1: 6}, [finding]) == {1}
    (held,) = withheld_inspections(plate.database, plate.scorer_version)
    assert (held.plate, held.day, held.reason, held.images) == ("P1", yesterday, "one frame", 6)
    expected = Progress(yesterday, inspections=1, listed=6, scored=1, failed=0, retrying=0, withheld=5)
    assert progress_by_day(plate.database, plate.scorer_version, 2, since) == [expected]
    assert pending_by_day(plate.database, plate.scorer_version, 2, since) == {}
    plate.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(7)})
    assert pending_by_day(plate.database, plate.scorer_version, 2, since) == {yesterday: 6}
    assert withhold(plate.database, version(plate), {1: 7}, [FailedCheck(1, "check", "one frame", 7)]) == {1}
    assert pending_by_day(plate.database, plate.scorer_version, 2, since) == {}
    release(plate.database, plate.scorer_version, 1, "ana", "a calibration plate")
    assert pending_by_day(plate.database, plate.scorer_version, 2, since) == {yesterday: 6}
    assert withhold(plate.database, version(plate), {1: 7}, [finding]) == set()


def test_human_labels_and_listed_inspections_are_read(plate: Facility) -> None:
    record_human_scores(plate.database, 1, "ana", NOW, {"P1/0.jpg": "needles"})
    (label,) = human_labels(plate.database, plate.scorer_version, NOW, NOW + timedelta(days=1))
    assert (label.human, label.human_class, label.class_known, label.category) == ("ana", "needles", True, "crystals")
    (inspection,) = inspections_of_day(plate.database, noon(1).date())
    assert ([image.image_id for image in inspection.images], inspection.most_images_before) == ([1, 2, 3, 4, 5, 6], 0)


def test_the_newest_days_are_those_on_which_something_was_imaged(facility: Facility) -> None:
    assert newest_days(facility.database, 2) is None
    for days_ago in (400, 9, 9, 3):
        register_inspection(facility.database, f"P{days_ago}", noon(days_ago), None, [])
    for count, oldest in ((1, 3), (2, 9), (3, 400), (30, 400)):
        assert newest_days(facility.database, count) == noon(oldest).replace(hour=0)


def test_ashes_compares_the_newest_human_scores(plate: Facility) -> None:
    write_back(plate.database, version(plate), [score(1)], [], "run")
    for scorer, hours, name in (("ana", 1, "clear"), ("ben", 2, "needles")):
        record_human_scores(plate.database, 1, scorer, NOW + timedelta(hours=hours), {"P1/0.jpg": name})
    (row,) = newest_human_scores(plate.database, plate.scorer_version, NOW, NOW + timedelta(weeks=1))
    assert (row.human, row.human_category, row.machine_category) == ("ben", "crystals", "crystals")
    assert row.probabilities == score(1).probabilities
    assert row.human_scored_at == NOW + timedelta(hours=2)


def test_an_image_takes_any_number_of_human_scores(plate: Facility) -> None:
    for person in range(3):
        record_human_scores(plate.database, 1, f"person {person}", NOW, {"P1/0.jpg": "clear", "P1/1.jpg": "skin"})
    assert len(plate.rows("select * from scores")) == 6


def test_more_images_than_one_statement_takes_are_registered_scored_and_given_human_scores(facility: Facility) -> None:
    count = 1203
    facility.add_plate("P1", {f"{n}.jpg": None for n in range(count)})
    attempts = [FailedAttempt(image, "gone", NOW) for image in range(1, 8)]
    write_back(facility.database, version(facility), [], attempts, "run")
    rows = [score(image) for image in range(1, count + 1)]
    assert write_back(facility.database, version(facility), rows, [], "run").scores == count
    assert write_back(facility.database, version(facility), rows, [], "run").already_scored == count
    assert failures(facility.database, facility.scorer_version) == []
    given = {f"P1/{n}.jpg": "clear" for n in range(count)}
    assert record_human_scores(facility.database, 1, "ana", NOW, given) == count
    assert record_human_scores(facility.database, 1, "ana", NOW, given) == 0


def test_a_reason_that_no_database_can_hold_is_kept_as_far_as_it_can_be(plate: Facility) -> None:
    reasons = ["cut off \0 here", "half a character \ud83d", "", "long " * 1000]
    attempts = [FailedAttempt(number, reason, NOW) for number, reason in enumerate(reasons, start=1)]
    write_back(plate.database, version(plate), [], attempts, "run")
    kept = {failure.image.image_id: failure.reason for failure in failures(plate.database, plate.scorer_version)}
    assert kept[1] == "cut off  here"
    assert kept[2].startswith("half a character")
    assert kept[3] == "no reason was given"
    assert kept[4] == ("long " * 1000)[:1000]


def test_a_reason_is_kept_character_by_character(plate: Facility) -> None:
    reasons = ["NULL", 'a "quoted" {name}, and, commas', "C:\\images\\1.jpg\\", "it's 100 %s\n:name\t«é»"]
    attempts = [FailedAttempt(number, reason, NOW) for number, reason in enumerate(reasons, start=1)]
    write_back(plate.database, version(plate), [], attempts, "run")
    kept = {failure.image.image_id: failure.reason for failure in failures(plate.database, plate.scorer_version)}
    assert [kept[number] for number in sorted(kept)] == reasons


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sqlite"])  # it takes text of any length
def test_a_value_that_does_not_fit_is_a_data_error_and_nothing_is_written(plate: Facility) -> None:
    row = {**version(plate), "name": "n" * 65}
    with pytest.raises(DataError, match=r"does not take a value.*c4 db check"):
        write_back(plate.database, row, [score(1)], [], "run")
    assert plate.rows("select * from scores") == []


calls = st.lists(
    st.tuples(st.lists(st.integers(1, 7), unique=True), st.lists(st.integers(1, 7), unique=True), st.integers(0, 3)),
    max_size=5,
)


def test_after_any_calls_each_listed_image_has_at_most_one_score_and_no_scored_one_is_failed(
    plate: Facility, kind: str
) -> None:
    @settings(
        max_examples=30 if kind == "sqlite" else 8,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(calls)
    def holds(calls: list[tuple[list[int], list[int], int]]) -> None:
        with plate.database.writing() as connection:
            connection.execute(text("delete from scores"))
            connection.execute(text("delete from c4_image_failures"))
        written = 0
        for scored, failed, hour in calls:
            attempts = [FailedAttempt(i, "gone", NOW + timedelta(hours=hour)) for i in failed if i not in scored]
            written += write_back(plate.database, version(plate), [score(i) for i in scored], attempts, "run").scores
        expected = {i for scored, _, _ in calls for i in scored} - {7}  # the plate has no seventh image
        assert sorted(row.image_id for row in plate.rows("select image_id from scores")) == sorted(expected)
        assert written == len(expected)
        assert not {f.image.image_id for f in failures(plate.database, plate.scorer_version)} & expected

    holds()


def test_fifty_writers_of_overlapping_partitions_write_each_score_once_and_none_fails(facility: Facility) -> None:
    """Half of them score what the other half reports as failed, in either order, beside the same scores again."""
    facility.add_plate("P1", {f"{n}.jpg": None for n in range(60)})
    facility.database.engine.dispose()
    results: list[Written | Exception] = []
    start = threading.Barrier(50)

    def write(number: int) -> None:
        own = ImagingDatabase.of(facility.settings)
        images = range(1 + number % 40, 22 + number % 40)
        rows = [score(image) for image in images][:: -1 if number % 2 else 1]
        attempts = [FailedAttempt(image, "gone", NOW) for image in reversed(images)]
        start.wait()
        try:
            results.append(
                write_back(own, version(facility), rows if number % 3 else [], attempts[number % 4 :], "run")
            )
        except Exception as error:
            results.append(error)
        finally:
            own.engine.dispose()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result for result in results if not isinstance(result, Written)] == []
    per_image = Counter(row.image_id for row in facility.rows("select image_id from scores"))
    assert set(per_image.values()) == {1}
    expected = {image for number in range(50) if number % 3 for image in range(1 + number % 40, 22 + number % 40)}
    assert set(per_image) == expected
    assert sum(result.scores for result in results if isinstance(result, Written)) == len(expected)


def test_times_are_utc_whatever_zone_they_come_in_and_must_have_one(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)}, datetime.fromisoformat("2026-03-02T01:00:00+11:00"))
    with facility.database.reading() as connection:
        assert connection.scalar(select(inspections.c.imaged_at)) == datetime(2026, 3, 1, 14, tzinfo=UTC)
    with pytest.raises(DataError, match="has no time zone"):
        facility.add_plate("P2", {"a.jpg": photograph(1)}, datetime(2026, 3, 2))


def test_a_database_without_classes_gets_each_once(facility: Facility) -> None:
    with facility.database.writing() as connection:
        connection.execute(text("delete from score_classes"))
    assert "lacks a class named crystals" in {finding.what for finding in check(facility.database)}
    assert (seed_classes(facility.database), seed_classes(facility.database)) == (15, 0)
    assert check(facility.database) == []


def test_an_address_that_is_none_is_a_configuration_error_that_does_not_repeat_it() -> None:
    with pytest.raises(ConfigurationError, match="C4_DATABASE_URL") as error:
        ImagingDatabase("postgres secret-password")
    assert "secret-password" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["mysql://c4:hush@h/d", "mssql+pyodbc://c4:hush@h/d", "oracle://c4:hush@h", "postgresql+asyncpg://h/d"]
)
def test_a_database_or_driver_that_c4_does_not_know_is_refused_and_none_is_recommended(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"C4 works with .* alone") as error:
        ImagingDatabase(url)
    assert "hush" not in str(error.value)
    assert "pip install" not in str(error.value)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    database = ImagingDatabase("postgresql+psycopg2://c4:hush@127.0.0.1:9/lims")
    with pytest.raises(Unavailable, match=re.escape("c4:***@127.0.0.1:9/lims")) as error, database.reading():
        pass
    assert "hush" not in str(error.value)


def test_decided_inspections_and_the_likeliest_crystals_are_the_same_in_every_database(facility: Facility) -> None:
    files = {f"{seed}.jpg": photograph(seed) for seed in range(12)}
    inspection = facility.add_plate("P1", files)
    [plate] = imaged_plates(facility.database, noon(2), noon(0))
    assert (plate.inspection_id, plate.plate, plate.imaged_at) == (inspection, "P1", noon(1))
    assert decided_inspections(facility.database, facility.scorer_version, 3, [inspection]) == {}
    facility.score()
    decided = decided_inspections(facility.database, facility.scorer_version, 3, [inspection])[inspection]
    best = crystals_of_inspection(facility.database, facility.scorer_version, inspection, 12)
    assert 0 < decided.crystals == len(best) < decided.scored == decided.listed == 12
    assert [each.probability for each in best] == sorted((each.probability for each in best), reverse=True)
    numbers = day_numbers(facility.database, facility.scorer_version, 3, noon(2), datetime.now(UTC))
    assert (numbers.listed, numbers.scored, numbers.crystals, numbers.failed) == (12, 12, len(best), 0)
