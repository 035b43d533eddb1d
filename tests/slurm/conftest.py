"""One cluster without accounts for all tests, one with accounts, and a login node in front of the first."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.transport import LocalTransport
from testing.slurm_cluster import Cluster
from testing.sshd import Sshd
from tests.slurm.cluster import PROJECT, running_cluster
from tests.slurm.login_nodes import GREET, LoginNode, bare_path, login_node_with
from tests.slurm.runs import Workplace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def login_node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    # sshd gives a session none of its own environment: a login node has its cluster's configuration in /etc/slurm.
    options = [f"SetEnv SLURM_CONF={os.environ['SLURM_CONF']}"]
    with Sshd(tmp_path_factory.mktemp("login") / "node", options) as node:
        yield node


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """A deployment on the cluster whose timers are short."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("C4_HOME", str(tmp_path / "c4"))
    (tmp_path / "environment").touch(mode=0o600)
    (tmp_path / "environment").write_text(f"PYTHONPATH={PROJECT}\nSECRET_OF_THE_TEST=hunter2\n")
    with dg.DagsterInstance.get() as instance:
        place = Workplace(tmp_path, instance, monkeypatch.setenv)
        place.configure(
            folder=str(tmp_path / "jobs"),
            environment_file=str(tmp_path / "environment"),
            poll_seconds=1,
            grace_seconds=6,
            resubmit_seconds=2,
        )
        yield place


@pytest.fixture(scope="session")
def greeting_node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginNode]:
    """A login node whose shell says something before and after every command."""
    with login_node_with(tmp_path_factory.mktemp("login") / "greeting", GREET) as node:
        yield node


@pytest.fixture(scope="session")
def bare_node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginNode]:
    """A login node whose ssh sessions have no Slurm in their PATH."""
    folder = tmp_path_factory.mktemp("login")
    with login_node_with(folder / "bare", bare_path(folder / "programs")) as node:
        yield node


@pytest.fixture
def client(cluster: Cluster) -> SlurmClient:
    return SlurmClient(LocalTransport())
