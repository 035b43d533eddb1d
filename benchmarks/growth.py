"""How a Dagster instance grows a run, and what pruning gives back: on SQLite and on PostgreSQL.

    python -m benchmarks.growth [--json] [--days 8]        (TMPDIR=/dev/shm spares the disk; C4_REAL_IMAGES, C4_MODELS)

One run of each kind is real: MARCO, a process a step. Hundreds of runs are copies of their events under other ids and
days, as a facility that images in every hour has them: 24 hourly runs of a day and one in the morning with nothing
new. Then all are pruned, as if they were old: what is left is the newest run of each day.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
import yaml
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.utils import make_new_run_id
from dagster_shared.serdes import deserialize_value, serialize_value

from benchmarks.classify import five_megapixels
from benchmarks.report import Row, report
from testing.postgresql import Server, running_server

if TYPE_CHECKING:
    from resources.settings import Settings

T = TypeVar("T", DagsterRun, EventLogEntry)

Size = Callable[[], int]

HOURLY_IMAGES = 16
BACKFILL_DAYS = 7
RUNS_A_DAY = 24
KINDS = ("hourly run", "a day with nothing new", f"run of {BACKFILL_DAYS} days")


@dataclass(frozen=True)
class Story:
    """A run with its events as text, in which another id and other days can be put."""

    run_id: str
    days: Sequence[str]
    run: str
    events: Sequence[str]

    @classmethod
    def of(cls, instance: dg.DagsterInstance, run_id: str, days: Sequence[str]) -> "Story":
        run = instance.get_run_by_id(run_id)
        if run is None or run.status is not dg.DagsterRunStatus.SUCCESS:
            raise RuntimeError(f"run {run_id} did not succeed")
        return cls(run_id, days, serialize_value(run), [serialize_value(entry) for entry in instance.all_logs(run_id)])

    def told_again(self, instance: dg.DagsterInstance, source: dg.DagsterInstance, days: Sequence[str]) -> None:
        """Puts a copy of the run into an instance."""
        run_id = make_new_run_id()

        def copied(text: str, kind: type[T]) -> T:
            text = text.replace(self.run_id, run_id)
            for old, new in zip(self.days, days, strict=True):
                text = text.replace(old, new)
            return deserialize_value(text, kind)

        run = copied(self.run, DagsterRun)
        if run.job_snapshot_id and not instance.run_storage.has_job_snapshot(run.job_snapshot_id):
            instance.run_storage.add_job_snapshot(source.get_job_snapshot(run.job_snapshot_id))
        if plan := run.execution_plan_snapshot_id:
            instance.run_storage.add_execution_plan_snapshot(source.get_execution_plan_snapshot(plan))
        instance.add_run(run)
        for event in self.events:
            instance.event_log_storage.store_event(copied(event, EventLogEntry))


def score_images() -> dg.JobDefinition:
    """The job of C4, as the processes of its steps find it."""
    from c4_assets.definitions import defs

    return defs.resolve_job_def("score_images")


def stories(source: dg.DagsterInstance, settings: "Settings", images: Sequence[bytes]) -> dict[str, Story]:
    """Real runs: of an hour's images, of none, and of several days."""
    from resources.imaging_database import ImagingDatabase
    from resources.imaging_database.register import NewImage, register_inspection, seed_classes

    database = ImagingDatabase(settings.database.url)
    database.upgrade()
    seed_classes(database)
    store = Path(settings.store.url)
    store.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (store / f"{number}.jpg").write_bytes(image)
    today = datetime.now(UTC).replace(hour=12)
    days = [(today - timedelta(days=ago)) for ago in range(BACKFILL_DAYS + 1, 0, -1)]
    per_day = len(images) // len(days)
    for number, day in enumerate(days):
        some = range(number * per_day, (number + 1) * per_day)
        drops = [NewImage(f"{chr(65 + n % 8)}{n // 8 % 12 + 1:02d}", n // 96 + 1, f"{n}.jpg") for n in some]
        register_inspection(database, "plate", day, None, drops)
    database.engine.dispose()
    keys = [day.date().isoformat() for day in days]
    several = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-2]}
    return {
        KINDS[0]: executed(source, keys[-1:], {"dagster/partition": keys[-1]}),
        KINDS[1]: executed(source, keys[-1:], {"dagster/partition": keys[-1]}),
        KINDS[2]: executed(source, keys[:-1], {**several, "dagster/backfill": "benchmark"}),
    }


def executed(source: dg.DagsterInstance, days: Sequence[str], tags: Mapping[str, str]) -> Story:
    """Runs the job on days and gives its story."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = dg.execute_job(dg.reconstructable(score_images), source, tags=dict(tags), run_config=quiet)
    return Story.of(source, result.run_id, days)


def grown(
    instance: dg.DagsterInstance, size: Size, source: dg.DagsterInstance, told: Mapping[str, Story]
) -> dict[str, float]:
    """Bytes that ten runs of each kind add to an instance, a run."""
    found: dict[str, float] = {}
    for kind, story in told.items():
        story.told_again(instance, source, story.days)  # tables, indexes and snapshots
        before = size()
        for _ in range(10):
            story.told_again(instance, source, story.days)
        found[kind] = (size() - before) / 10
    return found


def pruned(
    instance: dg.DagsterInstance,
    size: Size,
    source: dg.DagsterInstance,
    told: Mapping[str, Story],
    days: int,
    settings: "Settings",
) -> tuple[int, int, float, int]:
    """Bytes of an instance with so many days of hourly runs, bytes after pruning, seconds, and runs deleted."""
    from c4_assets.runs.pruning import prune

    for ago in range(days):
        day = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=ago)).date().isoformat()
        for kind in (*[KINDS[0]] * RUNS_A_DAY, KINDS[1]):
            told[kind].told_again(instance, source, [day])
    before, started = size(), time.perf_counter()
    done = prune(instance, settings, datetime.now(UTC) + timedelta(seconds=1))
    seconds = time.perf_counter() - started
    return before, size(), seconds, done.runs


def in_folder(folder: Path) -> Callable[[], int]:
    """Bytes of all files below a folder."""
    return lambda: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def instance_in(folder: Path, storage: Mapping[str, object] | None = None) -> dg.DagsterInstance:
    """A new instance; SQLite unless a storage is named."""
    folder.mkdir(parents=True)
    config = {"telemetry": {"enabled": False}, **({"storage": storage} if storage else {})}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    return dg.DagsterInstance.from_config(str(folder))


def in_database(server: Server, name: str) -> Callable[[], int]:
    """Bytes of a database's rows and indexes: PostgreSQL's files do not become shorter before VACUUM FULL."""

    def size() -> int:
        server.execute("vacuum full", name)
        return int(server.execute(f"select pg_database_size('{name}')")[0][0])

    return size


def storages(scratch: Path, server: Server) -> Iterator[tuple[str, Callable[[], tuple[dg.DagsterInstance, Size]]]]:
    """Of each kind of storage: its name, and what makes a new instance on it and tells its size."""

    def on_sqlite() -> tuple[dg.DagsterInstance, Size]:
        folder = scratch / make_new_run_id()
        return instance_in(folder), in_folder(folder)

    def on_postgresql() -> tuple[dg.DagsterInstance, Size]:
        name = make_new_run_id()
        storage = {"postgres": {"postgres_url": server.address(name).replace("+psycopg2", "")}}
        return instance_in(scratch / name, storage), in_database(server, name)

    yield "SQLite", on_sqlite
    yield "PostgreSQL", on_postgresql


def measure(scratch: Path, days: int) -> list[Row]:
    """All figures, of both storages."""
    from c4_assets.deployment_home import prepare_dagster_home
    from resources.settings import Settings

    settings = Settings.from_environment()
    prepare_dagster_home(settings)
    real = os.environ.get("C4_REAL_IMAGES")
    images = pictures(Path(real) if real else None, HOURLY_IMAGES * (BACKFILL_DAYS + 1))
    rows: list[Row] = []
    with (
        dg.DagsterInstance.from_config(str(settings.dagster_home)) as source,
        running_server(scratch / "server") as server,
    ):
        told = stories(source, settings, images)
        for name, new in storages(scratch, server):
            instance, size = new()
            with instance:
                added = grown(instance, size, source, told)
            rows += [Row(f"{name}, {kind}", round(bytes_ / 1e6, 2), "MB", 1.0) for kind, bytes_ in added.items()]
            instance, size = new()
            with instance:
                before, after, seconds, runs = pruned(instance, size, source, told, days, settings)
            rows += [
                Row(f"{name}, {days * (RUNS_A_DAY + 1)} runs kept", round(before / 1e6, 1), "MB", 1.0),
                Row(f"{name}, {runs} of them pruned", round(after / 1e6, 1), "MB", round(before / after, 2)),
                Row(f"{name}, time of pruning", round(seconds, 1), "s", 1.0),
            ]
    return rows


def pictures(folder: Path | None, count: int) -> list[bytes]:
    """Images that differ, so that no check takes them for each other: real ones, or rendered drops."""
    if folder:
        files = sorted(file for file in folder.rglob("*.jp*g"))
        return [file.read_bytes() for file in files[:count]]
    return [image + bytes([0, n // 256, n % 256]) for n, image in enumerate(five_megapixels(None) * count)][:count]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How a Dagster instance grows, and what pruning gives back.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--days", type=int, default=8, help="days of hourly runs that are pruned")
    arguments = parser.parse_args()
    from c4_assets.models.weights import fetch

    with tempfile.TemporaryDirectory() as folder:
        models = Path(os.environ.get("C4_MODELS", Path(folder) / "models"))
        fetch("marco", models)
        home = Path(folder) / "home"
        os.environ |= {"C4_HOME": str(home), "C4_MODELS": str(models), "DAGSTER_HOME": str(home / "dagster")}
        rows = measure(Path(folder), arguments.days)
    report("growth", "an instance that keeps every run", rows, arguments.json)


if __name__ == "__main__":
    main()
