"""A whole site for a trial: imaging database, storage host, cluster and deployment, all real, all on one machine."""

import shutil
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from c4_assets.deployment_home import shipped_dagster_yaml
from c4_assets.models.active import ActiveModels
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import Staging
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from resources.settings import Settings
from resources.settings.sections import Runs
from testing.ports import free_ports
from testing.postgresql import PASSWORD, Server, running_server
from testing.slurm_cluster import Cluster
from testing.slurm_configuration import Shape
from testing.sshd import Sshd
from testing.stand_in import RATE, make_model
from testing.trial.deployment import PROJECT, Deployment
from testing.trial.history import History

BACKFILL_TAG = "dagster/backfill"


@dataclass(frozen=True)
class Plan:
    """What is tried.

    Args:
        executor: ``in_process``, ``multiprocess`` or ``slurm``.
        days_a_run: ``C4_RUNS_BACKFILL_DAYS``; the deployment's own default if None.
        at_once: how many runs of a backfill may work at once; what ``dagster.yaml`` says if None.
        rate: images a second of the device that is stood in for.
        real: MARCO itself and real images.
        late_daemon: the daemon starts when the backfill is launched. It looks at backfills when it starts and every
            30 s from then on: a short trial need not wait for that.
        settings: further environment variables.
    """

    history: History
    executor: str = "multiprocess"
    days_a_run: int | None = None
    at_once: int | None = None
    rate: float | None = None
    real: Path | None = None
    models: Path | None = None
    monitor_seconds: int = 10
    late_daemon: bool = False
    settings: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Site:
    """What runs for a trial, and what it writes to."""

    plan: Plan
    folder: Path
    server: Server
    storage: Sshd
    cluster: Cluster | None
    deployment: Deployment
    settings: Settings
    database: ImagingDatabase
    instance_server: Server | None

    @property
    def models(self) -> ActiveModels:
        """The models that score."""
        return ActiveModels(self.settings, self.database)

    @property
    def scorer_version(self) -> str:
        """Name of the scorer version."""
        return self.models.current.version.name

    @property
    def archive(self) -> ScoreArchive:
        """Where probabilities and checkpoints are."""
        return self.models.archive(self.models.current)

    @property
    def staging(self) -> Staging:
        """Where images wait for the classifier."""
        return Staging(self.settings.staging)

    def instance_bytes(self) -> int:
        """What the Dagster instance takes on disk."""
        if self.instance_server is not None:
            return int(self.instance_server.execute("select pg_database_size('dagster')")[0][0])
        return sum(file.stat().st_size for file in self.deployment.home.rglob("*") if file.is_file())


@contextmanager
def running_site(folder: Path, plan: Plan, cluster: Cluster | None = None) -> Generator[Site]:
    """Starts everything and ends it. The history is registered, nothing of it is scored.

    Args:
        cluster: one that runs already; otherwise a Slurm plan starts one of its own.
    """
    images = folder / "images"
    with ExitStack() as stack:
        server = stack.enter_context(running_server(folder / "imaging"))
        storage = stack.enter_context(Sshd(folder / "sshd"))
        environment = {
            **_settings(folder, plan),
            "C4_DATABASE_URL": server.address("imaging"),
            "C4_STORE_URL": f"ssh://{storage.user}@{storage.host}:{storage.port}{images}",
            "C4_STORE_SSH_KEY": str(storage.key),
            "C4_STORE_KNOWN_HOSTS": str(storage.known_hosts),
        }
        instance_server = None
        if plan.executor == "slurm":
            cluster = cluster or stack.enter_context(own_cluster(folder / "cluster"))
            instance_server = stack.enter_context(running_server(folder / "instance"))
            instance_server.address("dagster")
            environment |= _on_slurm(folder, cluster, instance_server)
            names = {"C4_RUNS_EXECUTOR", "SLURM_CONF"}
            write_environment(folder / "environment", {k: v for k, v in environment.items() if k not in names})
        settings = Settings.from_environment(environment)
        # A server that is stopped must not keep the observer's connections.
        database = ImagingDatabase(settings.database.url, Connecting(timeout_s=60))
        database.upgrade()
        plan.history.register(database)
        if plan.real:
            lay_out_real(plan.history, plan.real, images)
        else:
            plan.history.lay_out(images)
        module = "c4_assets.definitions" if plan.real else "testing.stand_in_location"
        config = dagster_yaml(plan)
        deployment = stack.enter_context(Deployment(folder, environment, module, config, not plan.late_daemon))
        yield Site(plan, folder, server, storage, cluster, deployment, settings, database, instance_server)
        database.engine.dispose()


def _settings(folder: Path, plan: Plan) -> dict[str, str]:
    model = {} if plan.real else {"C4_MODEL": str(make_model(folder))}
    return {
        **model,
        **({"C4_MODELS": str(plan.models)} if plan.models else {}),
        **({"C4_RUNS_BACKFILL_DAYS": str(plan.days_a_run)} if plan.days_a_run else {}),
        **({RATE: str(plan.rate)} if plan.rate else {}),
        "C4_HOME": str(folder / "home"),
        "C4_RUNS_START_DATE": plan.history.dates[0].isoformat(),
        "C4_RUNS_EXECUTOR": plan.executor,
        # An image is given up at its first failure: one that a fault made fail would show.
        "C4_RUNS_MAX_ATTEMPTS": "1",
        **(plan.settings or {}),
    }


def _on_slurm(folder: Path, cluster: Cluster, instance: Server) -> dict[str, str]:
    return {
        "C4_SLURM_FOLDER": str(folder / "jobs"),
        "C4_SLURM_ENVIRONMENT_FILE": str(folder / "environment"),
        "C4_SLURM_POLL_SECONDS": "2",
        "C4_SLURM_GRACE_SECONDS": "20",
        "C4_SLURM_GPU__PARTITION": "gpu",
        "C4_SLURM_BACKFILL__PARTITION": "backlog",
        "C4_SLURM_BACKFILL__GPU__PARTITION": "backlog",
        "SLURM_CONF": str(cluster.conf),
        "PYTHONPATH": str(PROJECT),
        "DAGSTER_POSTGRES_HOST": "127.0.0.1",
        "DAGSTER_POSTGRES_PORT": str(instance.port),
        "DAGSTER_POSTGRES_USER": "c4",
        "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
        "DAGSTER_POSTGRES_DB": "dagster",
    }


def write_environment(file: Path, environment: Mapping[str, str]) -> None:
    """The file that jobs read, for their account alone."""
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))


def dagster_yaml(plan: Plan) -> dict[str, Any]:
    """The settings of Dagster that C4 ships for the executor, but what is waited for is looked at more often."""
    storage = "postgres" if plan.executor == "slurm" else "sqlite"
    runs = Runs.model_validate({"executor": plan.executor, "dagster_storage": storage})
    config: dict[str, Any] = yaml.safe_load(shipped_dagster_yaml(Settings(runs=runs)))
    config["run_monitoring"]["poll_interval_seconds"] = plan.monitor_seconds
    limited = config["concurrency"]["runs"]
    if plan.at_once is not None:
        limits = [limit for limit in limited["tag_concurrency_limits"] if limit["key"] != BACKFILL_TAG]
        limited["tag_concurrency_limits"] = [*limits, {"key": BACKFILL_TAG, "limit": plan.at_once}]
    return config


@contextmanager
def own_cluster(folder: Path) -> Generator[Cluster]:
    """A cluster of three nodes for this trial alone."""
    cluster = Cluster(folder, Shape(port=free_ports(8), node_timeout=5))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def lay_out_real(history: History, real_images: Path, folder: Path) -> None:
    """Puts real photographs below a folder under the history's names."""
    photographs = sorted((real_images / "plates").rglob("*.jpg"))
    for plate in range(1, history.plates + 1):
        below = folder / f"P{plate:04d}"
        below.mkdir(parents=True)
        for number in range(history.images_each):
            shutil.copyfile(photographs[(plate * 7 + number) % len(photographs)], below / f"{number:03d}.jpg")
