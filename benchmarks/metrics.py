"""How long a scrape of the metrics takes over a long history, and each of its sources.

    python -m benchmarks.metrics [--json] [--images 5000000] [--runs 7600]       (TMPDIR=/dev/shm spares the disk)

The imaging database is a PostgreSQL with generated history, Dagster's storage the SQLite of a deployment: one run is
real, hundreds are copies of its events, the others rows of runs; each run has evaluated all checks. The exporter is
``c4 metrics`` itself, asked by HTTP: at once after its start, when nothing was counted yet, and then again and again
with caches that have run out.
"""

import argparse
import os
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.utils import make_new_run_id

from benchmarks.growth import HOURLY_IMAGES, Story, executed, pictures
from benchmarks.report import Row, report
from testing.postgresql import running_server
from testing.prometheus import exporter
from testing.scored_history import fill

if TYPE_CHECKING:
    from resources.settings import Settings

SCRAPES = 4
RATE = 6850
"""Images a day: 50 million in twenty years."""

COPIES = 100
"""Runs that have all their events; the others are rows."""

HISTORY_WITHIN_S = 600


def scrape(address: str) -> tuple[float, str]:
    """Seconds and text of one scrape."""
    started = time.perf_counter()
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - the exporter's own address
        text = answer.read().decode()
    return time.perf_counter() - started, text


def value(text: str, name: str) -> float:
    """The value of the only sample that begins so; 0 without one."""
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0.0)


def hourly_run(instance: dg.DagsterInstance, settings: "Settings", images: Sequence[bytes]) -> Story:
    """A real run over one inspection."""
    from resources.imaging_database import ImagingDatabase
    from resources.imaging_database.register import NewImage, register_inspection, seed_classes

    database, store = ImagingDatabase.of(settings), Path(settings.store.url)
    database.upgrade()
    seed_classes(database)
    store.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (store / f"{number}.jpg").write_bytes(image)
    day = datetime.now(UTC) - timedelta(days=1)
    register_inspection(
        database, "plate", day, None, [NewImage(f"A{n + 1:02d}", 1, f"{n}.jpg") for n in range(len(images))]
    )
    database.engine.dispose()
    key = day.date().isoformat()
    return executed(instance, [key], {"dagster/partition": key})


def grow(settings: "Settings", story: Story, runs: int) -> None:
    """Fills the deployment's Dagster storage: runs, events of some, and results of all checks of each."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for _ in range(COPIES):
            story.told_again(instance, instance, story.days)
        for _ in range(runs - instance.get_runs_count()):
            run = DagsterRun("score_images", make_new_run_id(), status=dg.DagsterRunStatus.SUCCESS)
            instance.add_run(run)
    evaluate(settings.dagster_home / "history" / "runs" / "index.db", runs - COPIES)


def evaluate(file: Path, times: int) -> None:
    """Adds the results of a run's checks so many times."""
    columns = "asset_key, check_name, partition, run_id, execution_status, evaluation_event, evaluation_event_timestamp"
    with closing(sqlite3.connect(file)) as database, database:
        one = "(select min(run_id) from asset_check_executions)"
        database.execute(
            f"insert into asset_check_executions ({columns}) "  # noqa: S608 - constants
            f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {times}) "
            f"select {columns.replace('run_id', 'run_id || i')} from asset_check_executions, n where run_id = {one}"
        )


def measure(settings: "Settings", story: Story, images: int, runs: int, scratch: Path) -> list[Row]:
    """Times of scrapes of one deployment."""
    from resources.imaging_database import ImagingDatabase

    with running_server(scratch / "server") as server:
        database_url = server.address("metrics")
        database = ImagingDatabase(database_url)
        database.upgrade()
        from c4_assets.models.active import ActiveModels

        scorer = ActiveModels(settings, database).current.version.name
        with database.writing() as connection:
            connection.exec_driver_sql("delete from c4_models")
            connection.exec_driver_sql("delete from c4_scorer_versions")
        fill(database, images, RATE, scorer)
        grow(settings, story, runs)
        database.engine.dispose()
        with exporter(settings.home, {"C4_DATABASE_URL": database_url}) as address:
            return times(address, images, runs)


def times(address: str, images: int, runs: int) -> list[Row]:
    """Scrapes at once, while history is counted, and when it was."""
    first, _ = scrape(address)
    began, during = time.perf_counter(), list[float]()
    text = ""
    while not value(text, "c4_images_listed"):
        if time.perf_counter() - began > HISTORY_WITHIN_S:
            raise RuntimeError("history was not counted")
        time.sleep(5)
        seconds, text = scrape(address)
        during.append(seconds)
    counted = time.perf_counter() - began
    assert value(text, "c4_images_listed") == images  # noqa: S101
    assert value(text, 'c4_runs{status="success"}') >= runs - 5  # noqa: S101
    later: list[float] = []
    for _ in range(SCRAPES):
        time.sleep(16)
        seconds, text = scrape(address)
        later.append(seconds)
    sources = {
        name: value(text, f'c4_source_duration_seconds{{source="{name}"}}')
        for name in ("database", "images", "history", "dagster", "runs", "checks")
    }
    label = f"{images / 1e6:g}M images, {runs} runs"
    return [
        Row(f"{label}: first scrape", round(first, 3), "s", 1.0),
        Row(f"{label}: longest while history is counted", round(max(during), 3), "s", 1.0),
        Row(f"{label}: until history was counted", round(counted, 1), "s", 1.0),
        Row(f"{label}: scrape, median", round(median(later), 3), "s", 1.0),
        Row(f"{label}: scrape, longest", round(max(later), 3), "s", 1.0),
        *(Row(f"{label}: source {name}", round(took, 3), "s", 1.0) for name, took in sources.items()),
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long a scrape of the metrics takes.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--images", type=int, default=5_000_000, help="images of the imaging database")
    parser.add_argument("--runs", type=int, default=7_600, help="runs of Dagster's storage")
    arguments = parser.parse_args()
    from c4_assets.deployment_home import prepare_dagster_home
    from c4_assets.models.weights import fetch
    from resources.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        models = Path(os.environ.get("C4_MODELS", Path(folder) / "models"))
        fetch("marco", models)
        home = Path(folder) / "home"
        os.environ |= {"C4_HOME": str(home), "C4_MODELS": str(models), "DAGSTER_HOME": str(home / "dagster")}
        settings = Settings.from_environment()
        prepare_dagster_home(settings)
        real = os.environ.get("C4_REAL_IMAGES")
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            story = hourly_run(instance, settings, pictures(Path(real) if real else None, HOURLY_IMAGES))
        rows = measure(settings, story, arguments.images, arguments.runs, Path(folder))
    report("metrics", "none", rows, arguments.json)


if __name__ == "__main__":
    main()
