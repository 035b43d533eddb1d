"""Dagster forgets old runs, and no partition loses what it shows."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from sqlalchemy import Connection, bindparam, inspect, text
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.runs.days import Events, Result, process_days
from c4_assets.runs.prune_runs import prune_runs
from c4_assets.runs.pruning import CHECK_KEYS, prune
from resources.executors.slurm.job_folders import JobFolders
from resources.executors.slurm.site import Site
from resources.settings import Settings
from testing.dagster_types import ephemeral_instance, job_without_steps, with_status
from testing.postgresql import Server
from tests.databases import postgresql_server as postgresql_server

CHECK = CHECK_KEYS[0]
"""One of C4's own checks, on an asset of the tests."""

DAYS = dg.DailyPartitionsDefinition("2026-03-01", end_date="2026-03-05")
KEYS = DAYS.get_partition_keys()

FAILS_ON = "fails on"

SUCCESS = dg.DagsterRunStatus.SUCCESS


@dg.asset(
    key=CHECK.asset_key,
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec(CHECK.name, asset=CHECK.asset_key, partitions_def=DAYS)],
)
def daily(context: dg.AssetExecutionContext) -> Events:
    """Takes several days as C4's own assets do. Fails on the day that the run's tag ``fails on`` names."""
    tags = context.run.tags

    def process_day(day: date) -> Result:
        if day.isoformat() == tags.get(FAILS_ON):
            raise dg.Failure("as asked for")
        context.log.info("x" * 20_000)
        return dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(passed="check fails" not in tags, check_name=CHECK.name)]
        )

    yield from process_days(context, process_day)


@dg.asset
def always() -> None:
    """An asset without partitions."""


JOB = dg.Definitions(assets=[daily], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()


def run(instance: dg.DagsterInstance, first: str, last: str | None = None, **tags: str) -> str:
    """One run of a day, or of the days from one to another; its id."""
    if last is None:
        days = {"dagster/partition": first}
    else:
        days = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return JOB.execute_in_process(instance=instance, raise_on_error=False, tags={**days, **tags}).run_id


def shown(instance: dg.DagsterInstance) -> dict[str, object]:
    """What Dagster shows of each day: its status, its newest materialisation's run, its check. Nothing is cached."""
    instance.event_log_storage.wipe_asset_cached_status(CHECK.asset_key)
    status = instance.get_status_by_partition(CHECK.asset_key, KEYS, DAYS) or {}
    checks = instance.event_log_storage.get_asset_check_partition_info([CHECK])
    return {
        "status": status,
        "materialised by": {day: newest(instance, day) for day in KEYS},
        "checks": {(info.partition_key, info.latest_execution_status, info.latest_planned_run_id) for info in checks},
        "runs of checks": {
            info.latest_planned_run_id for info in checks if instance.get_run_by_id(info.latest_planned_run_id)
        },
    }


def newest(instance: dg.DagsterInstance, day: str) -> str | None:
    wanted = dg.AssetRecordsFilter(asset_key=CHECK.asset_key, asset_partitions=[day])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].run_id if records and instance.has_run(records[0].run_id) else None


def now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def runs(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_run_ids())


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    return Settings.from_environment({"C4_HOME": str(tmp_path / "home"), "DAGSTER_HOME": str(tmp_path / "dagster")})


@pytest.fixture
def instance(site: Settings) -> Iterator[dg.DagsterInstance]:
    site.dagster_home.mkdir()
    (site.dagster_home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(site.dagster_home)) as instance:
        yield instance


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, site: Settings) -> Iterator[dg.DagsterInstance]:
    """An instance on SQLite and one on PostgreSQL."""
    config: dict[str, Any] = {"telemetry": {"enabled": False}}
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgresql_server")
        address = server.address(f"dagster-{uuid.uuid4().hex}")
        config["storage"] = {"postgres": {"postgres_url": address.replace("+psycopg2", "")}}
    site.dagster_home.mkdir()
    (site.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(site.dagster_home)) as instance:
        yield instance


spans = st.lists(st.integers(0, 3), min_size=2, max_size=2).map(sorted)
histories = st.lists(st.tuples(spans, st.sampled_from(["well", "check fails", "fails"])), min_size=2, max_size=6)


@settings_of(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=histories)
def test_whatever_was_run_pruning_leaves_what_is_shown_and_nothing_else(
    site: Settings, history: list[tuple[list[int], str]]
) -> None:
    with ephemeral_instance() as instance:
        for (first, last), end in history:
            tags = {FAILS_ON: KEYS[last]} if end == "fails" else {end: "yes"}
            run(instance, KEYS[first], KEYS[last] if last > first else None, **tags)
        before = shown(instance)
        done = prune(instance, site, now())
        assert shown(instance) == before
        assert done.runs == done.old - len(runs(instance))
        assert len(runs(instance)) <= 2 * len(KEYS), "Of each day: the newest attempt, and the newest that succeeded."
        assert prune(instance, site, now()).runs == 0, "What is left is needed."


def test_a_run_goes_with_all_that_is_kept_of_it_when_a_later_one_has_its_days(
    either: dg.DagsterInstance, site: Settings
) -> None:
    first, other = run(either, KEYS[0]), run(either, KEYS[1])
    failed = run(either, KEYS[0], KEYS[1], **{FAILS_ON: KEYS[1]})
    last = run(either, KEYS[0], KEYS[1])
    for run_id in (first, last):
        folder = site.home / "slurm_jobs" / run_id
        folder.mkdir(parents=True)
        (folder / "db_scores.1.out").write_text("…")
        (folder / "job.json").write_text("{}")
        captured = Path(either.storage_directory()) / run_id / "compute_logs"
        captured.mkdir(parents=True, exist_ok=True)
        (captured / "abc.out").write_text("…")
    before = shown(either)
    plan = prune(either, site, now(), dry_run=True)
    assert runs(either) == {first, other, failed, last}, "A dry run changes nothing."
    done = prune(either, site, now())
    assert (plan.runs, plan.old, plan.bytes) == (done.runs, done.old, done.bytes) == (3, 4, done.bytes)
    assert done.bytes > 60_000
    assert runs(either) == {last}
    assert shown(either) == before
    assert files_that_name(site, first) == [
        Path("home/slurm_jobs") / first,
        Path("home/slurm_jobs") / first / "job.json",
    ]
    assert rows_that_name(either, first) == 0
    assert rows_that_name(either, last) > 0
    assert len(list((site.home / "slurm_jobs" / last).iterdir())) == 2


def files_that_name(site: Settings, run_id: str) -> list[Path]:
    everything = site.home.parent.rglob("*")
    return sorted(path.relative_to(site.home.parent) for path in everything if run_id in str(path))


def databases(instance: dg.DagsterInstance) -> list[Callable[[], AbstractContextManager[Connection]]]:
    """What opens the database of the events and that of the runs."""
    return [cast("Any", instance.event_log_storage).index_connection, cast("Any", instance.run_storage).connect]


def rows_that_name(instance: dg.DagsterInstance, *run_ids: str) -> int:
    """Rows of all tables of the instance in which a run's id stands."""
    found = 0
    for connect in databases(instance):
        with connect() as connection:
            columns = {table: inspect(connection).get_columns(table) for table in inspect(connection).get_table_names()}
            for table in (name for name, of_it in columns.items() if any(c["name"] == "run_id" for c in of_it)):
                query = text(f"select count(*) from {table} where run_id in :runs")
                found += connection.execute(
                    query.bindparams(bindparam("runs", expanding=True)), {"runs": run_ids}
                ).scalar_one()
    return found


def of_another_location(instance: dg.DagsterInstance, run_id: str) -> str:
    """Makes a run one that another code location's sensor has launched. Its origin is told by a tag alone."""
    instance.add_run_tags(run_id, {".dagster/repository": "__repository__@accounting"})
    return run_id


def test_runs_of_another_code_location_stay_with_their_check_results_though_newer_ones_are_there(
    either: dg.DagsterInstance, site: Settings
) -> None:
    others = {of_another_location(either, run(either, KEYS[0], **{"check fails": "yes"})) for _ in range(3)}
    launched = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("accounting"), "r"), "invoices")
    for _ in range(2):
        other = dg.DagsterRun(job_name="invoices", status=SUCCESS, remote_job_origin=launched)
        either.add_run(other)
        others.add(other.run_id)
    code = dg.reconstructable(job_of_another_team).get_python_origin()
    others.add(either.create_run_for_job(job_of_another_team(), job_code_origin=code, status=SUCCESS).run_id)
    ours = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("c4"), "r"), "score_images")
    gone = dg.DagsterRun(job_name="score_images", status=SUCCESS, remote_job_origin=ours)
    either.add_run(gone)
    superseded, last = run(either, KEYS[0]), run(either, KEYS[0])
    kept = rows_that_name(either, *others)
    assert prune(either, site, now(), dry_run=True).runs == 2
    assert prune(either, site, now()).runs == 2
    assert runs(either) == others | {last}
    assert not runs(either) & {superseded, gone.run_id}
    assert rows_that_name(either, *others) == kept


def job_of_another_team() -> dg.JobDefinition:
    """A job that is found again by its name."""
    return job_without_steps("invoices")


def test_runs_that_are_not_old_or_not_over_stay(instance: dg.DagsterInstance, site: Settings) -> None:
    failed, _ = run(instance, KEYS[0], **{FAILS_ON: KEYS[0]}), run(instance, KEYS[0])
    assert prune(instance, site, datetime.now(UTC) - timedelta(days=1)).old == 0
    stuck = instance.create_run_for_job(dg.Definitions(assets=[always]).resolve_implicit_global_asset_job_def())
    instance.report_engine_event("x", stuck)
    prune(instance, site, now())
    assert instance.has_run(stuck.run_id)
    assert not instance.has_run(failed)


def test_runs_of_a_backfill_stay_until_it_is_over(instance: dg.DagsterInstance, site: Settings) -> None:
    of_it, _ = run(instance, KEYS[0]), run(instance, KEYS[0])
    instance.add_run_tags(of_it, {"dagster/backfill": "abcdefgh"})
    backfill = PartitionBackfill(
        "abcdefgh", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0
    )
    instance.add_backfill(backfill)
    assert prune(instance, site, now()).runs == 0
    instance.update_backfill(with_status(backfill, BulkActionStatus.CANCELED))
    assert prune(instance, site, now()).runs == 1
    assert not instance.has_run(of_it)


def test_the_newest_run_of_an_asset_without_partitions_stays(instance: dg.DagsterInstance, site: Settings) -> None:
    _, last = (dg.materialize([always], instance=instance).run_id for _ in range(2))
    prune(instance, site, now())
    assert runs(instance) == {last}


def test_pruning_that_is_interrupted_is_completed_by_the_next(
    either: dg.DagsterInstance, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    steps: list[tuple[Any, str]] = [
        (either.compute_log_manager, "delete_logs"),
        (either.event_log_storage, "delete_events"),
        (either.run_storage, "delete_run"),
        (Path, "unlink"),
    ]
    if not isinstance(either.event_log_storage, SqliteEventLogStorage):
        steps = steps[1:3]
    last, gone = run(either, KEYS[0]), list[str]()
    for where, step in steps:
        gone.append(last)
        last = run(either, KEYS[0])
        before = shown(either)
        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(where, step, killed)
            prune(either, site, now())
        assert shown(either) == before, step
        prune(either, site, now())
        assert runs(either) == {last}, step
        assert shown(either) == before, step
    assert rows_that_name(either, *gone) == 0
    assert [files_that_name(site, run_id) for run_id in gone] == [[]] * len(gone)


def test_what_a_run_deleted_in_the_ui_has_left_goes_too_and_other_files_stay(
    instance: dg.DagsterInstance, site: Settings
) -> None:
    gone, kept = run(instance, KEYS[0]), run(instance, KEYS[1])
    storage = Path(instance.storage_directory())
    for name in (gone, kept, "notes of the operator"):
        (storage / name / "compute_logs").mkdir(parents=True, exist_ok=True)
    instance.delete_run(gone)
    prune(instance, site, now())
    assert files_that_name(site, gone) == []
    assert {path.name for path in storage.iterdir()} == {kept, "notes of the operator"}


def test_what_slurm_jobs_of_a_run_have_left_goes_with_it(instance: dg.DagsterInstance, site: Settings) -> None:
    folder = site.home.parent / "jobs of steps"
    gone, kept = run(instance, KEYS[0]), run(instance, KEYS[0])
    for name in (gone, kept, "check-0123456789ab"):
        (folder / name).mkdir(parents=True)
        (folder / name / "db_scores.1.sh").write_text("x" * 100_000)
    plan = prune(instance, site, now(), dry_run=True)
    done = prune(instance, site.model_copy(update={"slurm": Site(folder=folder)}), now())
    assert done.bytes > plan.bytes + 100_000
    assert {path.name for path in folder.iterdir()} == {kept, "check-0123456789ab"}


@given(name=st.one_of(st.sampled_from(["..", ".", "", "/", "../jobs", "a/../../b"]), st.text()))
def test_no_folder_is_removed_whose_name_is_no_runs(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "site of strange names"
    (folder / "jobs" / "below").mkdir(parents=True, exist_ok=True)
    with JobFolders(Site(folder=folder / "jobs")) as jobs:
        assert jobs.bytes_of([name]) == 0
        jobs.remove([name])
    assert (folder / "jobs" / "below").is_dir()


def test_sqlite_gives_its_space_back_unless_a_run_is_in_progress(instance: dg.DagsterInstance, site: Settings) -> None:
    for _ in range(6):
        run(instance, KEYS[0])
    busy = instance.create_run_for_job(dg.Definitions(assets=[always]).resolve_implicit_global_asset_job_def())
    instance.report_run_canceling(busy)
    first = prune(instance, site, now())
    assert (first.runs, first.returned) == (5, 0)
    assert "Runs are in progress" in first.notes[0]
    second = prune(instance, site, now(), own_run=busy.run_id)
    assert second.returned > 0
    assert shown(instance)["status"]


def test_the_command_says_what_went_and_the_job_does_the_same(
    instance: dg.DagsterInstance, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C4_HOME", str(site.home))
    monkeypatch.setenv("DAGSTER_HOME", str(site.dagster_home))
    for _ in range(4):
        run(instance, KEYS[0])
    long_ago(instance)
    said = CliRunner().invoke(app, ["prune", "--dry-run"], env={"COLUMNS": "200"})
    assert said.exit_code == 0, said.output
    assert "3 of 4 runs that ended more than 30 days ago would go" in " ".join(said.output.split())
    assert "Thumbnails of 0 inspections take 0.00 GB" in said.output
    result = prune_runs.execute_in_process(instance=instance, resources={"settings": site})
    assert result.success
    assert len(runs(instance)) == 2, "The newest of the day, and the job's own run."
    said = CliRunner().invoke(app, ["prune"], env={"COLUMNS": "200"})
    assert "0 of 1 runs" in " ".join(said.output.split())


def long_ago(instance: dg.DagsterInstance) -> None:
    """Makes all runs so far a year old, as no clock can."""
    _, runs_database = databases(instance)
    with runs_database() as connection:
        connection.execute(text("update runs set update_timestamp = '2020-01-01 00:00:00.000000'"))
