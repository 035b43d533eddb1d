"""The imaging database: its tables, its times, and the write-back that can be repeated at will."""

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from resources.errors import ConfigurationError, Unavailable
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.contract import check
from resources.imaging_database.schema import metadata
from resources.imaging_database.work import failures
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from tests.conftest import Facility, photograph

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(facility: Facility) -> None:
    with facility.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "c4_schema_version"})
        assert compare_metadata(context, metadata) == []
    facility.database.upgrade()
    assert check(facility.database) == []


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
    return facility.resources["classifier"].version.as_row()


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
    assert plate.rows("select * from scores") == before


def test_a_failed_attempt_counts_once_however_often_it_is_reported(plate: Facility) -> None:
    first, second = FailedAttempt(1, "gone", NOW), FailedAttempt(1, "still gone", NOW + timedelta(hours=1))
    for attempt in (first, first, second, second, first):
        write_back(plate.database, version(plate), [], [attempt], "run")
    assert [(f.attempts, f.reason) for f in failures(plate.database, plate.scorer)] == [(2, "still gone")]


def test_nothing_is_written_when_one_row_cannot_be(plate: Facility) -> None:
    broken = MachineScore(2, "no category", True, (0.1, 0.7, 0.1, 0.1), NOW)
    with pytest.raises(ConfigurationError, match="no class named no category"):
        write_back(plate.database, version(plate), [score(1), broken], [FailedAttempt(3, "gone", NOW)], "run")
    assert plate.rows("select * from scores") == plate.rows("select * from c4_image_failures") == []


calls = st.lists(
    st.tuples(st.lists(st.integers(1, 7), unique=True), st.lists(st.integers(1, 7), unique=True), st.integers(0, 3)),
    max_size=5,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls)
def test_after_any_calls_each_listed_image_has_at_most_one_score_and_no_scored_one_is_failed(
    plate: Facility, calls: list[tuple[list[int], list[int], int]]
) -> None:
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
    assert not {f.image.image_id for f in failures(plate.database, plate.scorer)} & expected


def test_many_writers_of_the_same_rows_write_each_once_and_none_fails(plate: Facility) -> None:
    results: list[Written | Exception] = []

    def write() -> None:
        try:
            own = ImagingDatabase(plate.settings.imaging_database_url)
            results.append(write_back(own, version(plate), [score(i) for i in range(1, 7)], [], "run"))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=write) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.scores for result in results if isinstance(result, Written)) == 6
    assert all(isinstance(result, Written) for result in results), results
    assert len(plate.rows("select * from scores")) == 6


def test_times_are_utc_whatever_zone_they_come_in_and_must_have_one(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)}, datetime.fromisoformat("2026-03-02T01:00:00+11:00"))
    assert facility.rows("select imaged_at from inspections") == [("2026-03-01 14:00:00.000000",)]
    with pytest.raises(Exception, match="has no time zone"):
        facility.add_plate("P2", {"a.jpg": photograph(1)}, datetime(2026, 3, 2))


def test_an_address_that_is_none_is_a_configuration_error_that_does_not_repeat_it() -> None:
    with pytest.raises(ConfigurationError, match="C4_IMAGING_DATABASE_URL") as error:
        ImagingDatabase("postgres secret-password")
    assert "secret-password" not in str(error.value)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    database = ImagingDatabase("postgresql+psycopg2://c4:hush@127.0.0.1:9/lims")
    with pytest.raises(Unavailable, match=re.escape("c4:***@127.0.0.1:9/lims")) as error, database.reading():
        pass
    assert "hush" not in str(error.value)
