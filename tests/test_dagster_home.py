"""The Dagster instance of a deployment: its limits, its quiet, and what an operator has changed in it."""

import logging
import os
import sqlite3
import sys
import traceback
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import yaml
from dagster._daemon.monitoring import concurrency

from c4_assets.definitions import defs
from c4_assets.deployment_home import prepare_dagster_home, shipped_dagster_yaml
from c4_assets.runs.dagster_yaml import missing_keys
from c4_assets.runs.metadata import markdown_cell
from c4_assets.runs.pools import POOLS
from resources.errors import ConfigurationError
from resources.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"C4_HOME": str(tmp_path)})


def limits(settings: Settings) -> dict[str, int]:
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}


def test_every_pool_that_an_asset_uses_has_a_limit_of_its_own(settings: Settings) -> None:
    prepare_dagster_home(settings)
    used = {op.pool for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) for op in [asset.op]}
    assert used - {None} == set(POOLS)
    assert limits(settings) == POOLS


def test_several_processes_may_prepare_a_fresh_home_at_once(tmp_path: Path) -> None:
    for repetition in range(3):
        settings = Settings.from_environment({"C4_HOME": str(tmp_path / str(repetition))})
        children: list[int] = []
        for _ in range(4):
            if not (child := os.fork()):
                try:
                    prepare_dagster_home(settings)
                    os._exit(0)
                except BaseException:
                    traceback.print_exc(file=sys.__stderr__)
                    os._exit(1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
        databases = list(settings.dagster_home.rglob("*.db"))
        assert {file.name for file in databases} >= {"runs.db", "index.db", "schedules.db"}
        for file in databases:
            with closing(sqlite3.connect(file)) as connection:
                assert len(connection.execute("select * from alembic_version").fetchall()) == 1, file
        assert limits(settings) == POOLS


def test_tables_whose_maker_was_ended_before_it_marked_them_are_marked(settings: Settings) -> None:
    """Without its marks, Dagster's daemon raises at each look, and no sensor ticks."""
    prepare_dagster_home(settings)
    (file,) = settings.dagster_home.rglob("schedules.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute("delete from secondary_indexes").rowcount == 2
    prepare_dagster_home(settings)
    with closing(sqlite3.connect(file)) as connection:
        made = connection.execute("select name from secondary_indexes where migration_completed is not null")
        assert {name for (name,) in made} == {"schedule_jobs_selector_id", "schedule_ticks_selector_id"}


def test_every_step_that_asks_the_imaging_database_is_counted_in_a_pool() -> None:
    """The bound on sessions that docs/imaging-database.md tells DBAs is the sum of the limits."""
    asking = [
        asset
        for asset in defs.assets or ()
        if isinstance(asset, dg.AssetsDefinition) and "imaging_database" in asset.required_resource_keys
    ]
    assert {asset.key.path[-1] for asset in asking} >= {"raw_inspection_images", "db_scores", "human_labels"}
    assert {asset.op.pool for asset in asking} <= set(POOLS)


def test_what_an_operator_has_set_stays(settings: Settings) -> None:
    prepare_dagster_home(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        instance.event_log_storage.set_concurrency_slots("image_store", 3)
    config = settings.dagster_home / "dagster.yaml"
    config.unlink()
    config.write_text("telemetry: {enabled: false}\n")
    prepare_dagster_home(settings)
    assert limits(settings)["image_store"] == 3
    assert config.read_text() == "telemetry: {enabled: false}\n"


def test_a_run_that_died_gives_back_the_slots_that_it_held(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_dagster_home(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        died = instance.create_run_for_job(defs.resolve_job_def("score_images"))
        instance.event_log_storage.claim_concurrency_slot("image_store", died.run_id, "raw_inspection_images")
        instance.report_run_failed(died)
        later = datetime.now(UTC) + timedelta(minutes=5)
        monkeypatch.setattr(concurrency, "get_current_datetime", lambda: later)
        workspace = SimpleNamespace(instance=instance)
        list(cast("Any", concurrency).execute_concurrency_slots_iteration(workspace, logging.getLogger("daemon")))
        assert instance.event_log_storage.get_concurrency_info("image_store").active_slot_count == 0


def test_one_run_a_partition_no_telemetry_and_no_welcome(settings: Settings) -> None:
    prepare_dagster_home(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        limit = instance.get_concurrency_config().run_queue_config
        assert limit is not None
        assert {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1} in list(
            limit.tag_concurrency_limits
        )


def test_text_from_the_database_is_no_markdown() -> None:
    assert markdown_cell("a|b <img src=x> [x](y)\nz") == r"a\|b \<img src=x\> \[x\]\(y\) z"


def written(settings: Settings) -> str:
    prepare_dagster_home(settings)
    return (settings.dagster_home / "dagster.yaml").read_text()


def with_runs(tmp_path: Path, **runs: str) -> Settings:
    return Settings.model_validate({"home": tmp_path, "runs": runs})


def test_one_template_serves_one_machine_and_a_cluster(tmp_path: Path) -> None:
    here = yaml.safe_load(written(with_runs(tmp_path / "here")))
    cluster = yaml.safe_load(
        shipped_dagster_yaml(with_runs(tmp_path / "there", executor="slurm", dagster_storage="postgres"))
    )
    assert set(cluster) - set(here) == {"storage"}
    assert set(here) <= set(cluster)
    for each in (here, cluster):
        assert each["run_monitoring"]["free_slots_after_run_end_seconds"] == 60
        assert each["python_logs"]["managed_python_loggers"] == ["c4"]
        assert (each["telemetry"], each["nux"]) == ({"enabled": False}, {"enabled": False})
    limits = [
        (each["concurrency"]["runs"]["max_concurrent_runs"], each["concurrency"]["runs"]["tag_concurrency_limits"][1])
        for each in (here, cluster)
    ]
    assert limits == [
        (8, {"key": "dagster/backfill", "limit": 4}),
        (20, {"key": "dagster/backfill", "limit": 8}),
    ]
    assert cluster["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_POSTGRES_PASSWORD"}


def test_what_c4_wrote_follows_its_settings_and_what_a_site_changed_stays(tmp_path: Path) -> None:
    assert "max_concurrent_runs: 8" in written(with_runs(tmp_path))
    assert "max_concurrent_runs: 20" in written(with_runs(tmp_path, executor="slurm"))
    file = with_runs(tmp_path).dagster_home / "dagster.yaml"
    file.write_text(file.read_text().replace("max_concurrent_runs: 20", "max_concurrent_runs: 3"))
    assert "max_concurrent_runs: 3" in written(with_runs(tmp_path))


def test_a_link_of_an_earlier_release_gives_way_to_a_file_and_nothing_is_written_through_it(tmp_path: Path) -> None:
    checkout, settings = tmp_path / "checkout", with_runs(tmp_path / "home")
    checkout.mkdir()
    (checkout / "dagster.yaml").write_text("# of the checkout\n")
    (checkout / "workspace.yaml").write_text("load_from: []\n")
    settings.dagster_home.mkdir(parents=True)
    file = settings.dagster_home / "dagster.yaml"
    for target in (checkout / "dagster.yaml", tmp_path / "moved" / "dagster.yaml"):
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        assert "python_logs" in written(settings)
        assert not file.is_symlink()
    assert (checkout / "dagster.yaml").read_text() == "# of the checkout\n"


def test_a_link_that_a_site_has_made_stays(tmp_path: Path) -> None:
    settings = with_runs(tmp_path / "home")
    settings.dagster_home.mkdir(parents=True)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (settings.dagster_home / "dagster.yaml").symlink_to(tmp_path / "dagster.yaml")
    assert written(settings) == "telemetry: {enabled: false}\n"
    assert (settings.dagster_home / "dagster.yaml").is_symlink()


@pytest.mark.parametrize("target", ["deploy/slurm/dagster.yaml", "dagster.yaml", "ours.yaml"])
def test_a_link_of_a_site_that_leads_nowhere_is_named_and_no_other_storage_takes_its_place(
    tmp_path: Path, target: str
) -> None:
    settings = with_runs(tmp_path / "home")
    settings.dagster_home.mkdir(parents=True)
    file = settings.dagster_home / "dagster.yaml"
    file.symlink_to(tmp_path / target)
    with pytest.raises(ConfigurationError, match="which is not there"):
        prepare_dagster_home(settings)
    assert file.is_symlink()


def test_a_storage_of_dagsters_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_POSTGRES_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        prepare_dagster_home(with_runs(tmp_path, dagster_storage="postgres"))


def test_a_site_with_a_file_of_its_own_is_told_what_it_lacks(tmp_path: Path) -> None:
    file, shipped = tmp_path / "dagster.yaml", shipped_dagster_yaml(with_runs(tmp_path))
    file.write_text("telemetry: {enabled: true}\nrun_monitoring: {enabled: true, start_timeout_seconds: 9}\nnux: {}\n")
    missing = missing_keys(file, shipped)
    assert {"python_logs", "run_monitoring.free_slots_after_run_end_seconds"} <= set(missing)
    assert not {"telemetry", "telemetry.enabled", "run_monitoring.enabled", "nux", "storage"} & set(missing)
    file.write_text(shipped)
    assert missing_keys(file, shipped) == []
    for odd in ("", "[]", "a: [", "run_monitoring: 3\n"):
        file.write_text(odd)
        missing_keys(file, shipped)
