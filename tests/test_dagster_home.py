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
from dagster._daemon.monitoring import concurrency

from c4_assets.definitions import defs
from c4_assets.deployment_home import prepare_dagster_home
from c4_assets.runs.metadata import markdown_cell
from c4_assets.runs.pools import POOLS
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
