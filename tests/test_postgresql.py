"""PostgreSQL as Dagster's own storage beside the imaging database."""

import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from c4_assets.deployment_home import shipped_dagster_yaml
from c4_assets.runs.pools import POOLS, set_pool_limits
from resources.settings import Settings
from resources.settings.sections import Runs
from testing.postgresql import PASSWORD, Server
from tests.conftest import Facility, photograph


def test_the_clusters_dagster_instance_keeps_runs_and_pool_limits_in_postgresql(
    postgresql_server: Server, make_facility: Callable[..., Facility], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"dagster-{uuid.uuid4().hex}"
    postgresql_server.address(name)
    facility = make_facility(database={"url": postgresql_server.address(f"imaging-{uuid.uuid4().hex}")})
    for variable, value in (("HOST", "127.0.0.1"), ("PORT", str(postgresql_server.port)), ("USER", "c4"), ("DB", name)):
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{variable}", value)
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", PASSWORD)
    shared = Settings(home=tmp_path, runs=Runs(executor="slurm", dagster_storage="postgres"))
    (tmp_path / "dagster.yaml").write_text(shipped_dagster_yaml(shared))
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
