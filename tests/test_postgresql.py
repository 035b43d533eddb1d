"""The same promises on a real PostgreSQL server, as the imaging database and as Dagster's own storage."""

import threading
import uuid
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from c4_assets.pools import POOLS, set_pool_limits
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import record_human_scores
from resources.imaging_database.schema import metadata
from resources.imaging_database.work import pending_by_day
from resources.imaging_database.write_back import Written, write_back
from tests.conftest import Facility, noon, photograph
from tests.postgresql import PASSWORD, Server, running_server
from tests.test_ashes import MONDAY, WEEK, newest_human_scores
from tests.test_imaging_database import score, version

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    with running_server(tmp_path_factory.mktemp("postgresql") / "server") as server:
        yield server


@pytest.fixture
def facility(make_facility: Callable[..., Facility], server: Server) -> Facility:
    """A facility whose imaging database is PostgreSQL."""
    return make_facility(imaging_database_url=server.address(f"imaging-{uuid.uuid4().hex}"))


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(facility: Facility) -> None:
    facility.database.upgrade()
    with facility.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "c4_schema_version"})
        assert compare_metadata(context, metadata) == []


def test_the_graph_scores_every_image_once_lists_the_failed_and_repeats_nothing(facility: Facility) -> None:
    facility.add_plate("P1", {**{f"{n}.jpg": photograph(n) for n in range(4)}, "missing.jpg": None})
    assert pending_by_day(facility.database, facility.scorer, 3, noon(30)) == {noon(1).date(): 5}
    for _ in range(2):
        facility.score()
    assert [row.image_id for row in facility.rows("select image_id from scores order by image_id")] == [1, 2, 3, 4]
    progress = facility.progress()
    assert (progress.listed, progress.scored, progress.retrying) == (5, 4, 1)
    assert facility.rows("select attempts from c4_image_failures") == [(2,)]


def test_ashes_compares_the_newest_human_scores(facility: Facility) -> None:
    facility.add_plate("P1", {"0.jpg": photograph(0)})
    facility.score()
    record_human_scores(facility.database, 1, "ana", MONDAY, {"P1/0.jpg": "clear"})
    record_human_scores(facility.database, 1, "ben", MONDAY + timedelta(days=1), {"P1/0.jpg": "needles"})
    (row,) = newest_human_scores(facility.database, facility.scorer, MONDAY, MONDAY + WEEK)
    assert (row.human, row.human_category) == ("ben", "crystals")
    assert row.machine_category is not None


def test_many_writers_of_overlapping_rows_write_each_once_without_deadlock(facility: Facility) -> None:
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(40)})
    results: list[Written | Exception] = []

    def write(first: int) -> None:
        own = ImagingDatabase(facility.settings.imaging_database_url)
        rows = [score(number) for number in range(first, first + 21)]
        try:
            # In either order: the write-back sorts them, so that two transactions cannot wait for each other.
            results.append(write_back(own, version(facility), rows[:: -1 if first % 2 else 1], [], "run"))
        except Exception as error:
            results.append(error)
        finally:
            own.engine.dispose()

    threads = [threading.Thread(target=write, args=(1 + number % 20,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(result, Written) for result in results), results
    assert sum(result.scores for result in results if isinstance(result, Written)) == 40
    assert len(facility.rows("select * from scores")) == 40


def test_the_clusters_dagster_instance_keeps_runs_and_pool_limits_in_postgresql(
    server: Server, facility: Facility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"dagster-{uuid.uuid4().hex}"
    server.address(name)
    for variable, value in (("HOST", "127.0.0.1"), ("PORT", str(server.port)), ("USER", "c4"), ("DB", name)):
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{variable}", value)
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", PASSWORD)
    (tmp_path / "dagster.yaml").write_text((ROOT / "deploy" / "slurm" / "dagster.yaml").read_text())
    facility.add_plate("P1", {"0.jpg": photograph(0)})
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        set_pool_limits(instance)
        facility.instance = instance
        run_id = facility.score().run_id
    with dg.DagsterInstance.from_config(str(tmp_path)) as again:
        run = again.get_run_by_id(run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert {pool.name: pool.limit for pool in again.event_log_storage.get_pool_limits()} == POOLS
