"""From an inspection that the sensor sees to rows in the database, beside the method of the paper.

    python -m benchmarks.end_to_end [--json] [--images 192]

The images lie behind a real sshd and a proxy that makes the round trip 12 ms. C4 runs as ``c4 ui`` runs it (webserver,
daemon, sensor, queue, a process a run) and its clock starts when the sensor's tick does; the paper's begins when its
job does. ``ours`` classifies in fp32, as C4 does by default, and ``ours-bf16`` with a model in bf16, where the
CPU has such arithmetic. Each has the machine for itself, one after the other, in alternation; figures are medians.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import dagster as dg

from benchmarks.classify import five_megapixels
from benchmarks.paper_method import Order
from benchmarks.report import Row, report
from c4_assets.deployment_home import prepare_dagster_home
from c4_assets.models.classifier import ModelChoice, scorer_version_of
from c4_assets.models.machine import has_bf16
from c4_assets.models.weights import fetch
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.models import register_model
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.settings import Settings
from testing.delaying_proxy import DelayingProxy
from testing.sshd import Sshd

ROUNDS = 3
ONE_WAY_S = 0.006
LONGEST_S = 300

PARTS = {
    "tick to run asked for": ("tick", "created"),
    "queue": ("created", "launched"),
    "run worker starts": ("launched", "started"),
    "fetch, check": ("started", "raw_inspection_images STEP_SUCCESS"),
    "load MARCO, classify, check": ("raw_inspection_images STEP_SUCCESS", "marco_probabilities STEP_SUCCESS"),
    "predict, check": ("marco_probabilities STEP_SUCCESS", "class_predictions STEP_SUCCESS"),
    "write, check, read back": ("class_predictions STEP_SUCCESS", "db_scores STEP_SUCCESS"),
}
"""The breakdown: each part from one moment of the run to another."""

PRECISIONS = {"ours": "fp32", "ours-bf16": "bf16"}
"""Precision of the model of each way that is C4's."""

Rounds = dict[str, list[dict[str, float]]]
"""What each way took: moments of C4's runs, parts of the paper's."""


@dataclass(frozen=True)
class Site:
    """A facility of one storage host, one model and a database for every run."""

    folder: Path
    server: Sshd
    port: int
    models: Path
    names: Sequence[str]

    @property
    def images(self) -> Path:
        """Where the storage host keeps the images."""
        return self.folder / "images"

    def home(self, name: str, precision: str) -> Settings:
        """A new home with an inspection that nobody has scored."""
        home = self.folder / name
        access = self.server.behind(self.port)
        os.environ.update(
            {
                "C4_HOME": str(home),
                "C4_MODELS": str(self.models),
                "C4_STORE_URL": f"ssh://{self.server.user}@{self.server.host}:{self.port}{self.images}",
                "C4_STORE_SSH_KEY": str(access.key),
                "C4_STORE_KNOWN_HOSTS": str(access.known_hosts),
            }
        )
        settings = Settings.from_environment()
        database = ImagingDatabase(settings.database.url)
        database.upgrade()
        seed_classes(database)
        choice = ModelChoice(precision=precision)
        version = scorer_version_of(choice, settings.models, settings.runs.executor)
        register_model(database, "marco", choice.source, version.as_row())
        new = [
            NewImage(f"{chr(65 + n // 24)}{n // 2 % 12 + 1:02d}", n % 2 + 1, name) for n, name in enumerate(self.names)
        ]
        register_inspection(database, "plate", datetime.now(UTC) - timedelta(minutes=5), None, new)
        database.engine.dispose()
        return settings


def ours(settings: Settings) -> dict[str, float]:
    """Runs Dagster as ``c4 ui`` does until the inspection is scored. Moments in seconds since the sensor's tick."""
    prepare_dagster_home(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance, deployment(settings):
        end = time.monotonic() + LONGEST_S
        while not any(run.is_finished for run in instance.get_runs()):
            if time.monotonic() > end:
                raise RuntimeError(f"no run ended in {LONGEST_S} s: see {settings.home / 'ui.log'}")
            time.sleep(0.5)
        return moments(instance)


@contextmanager
def deployment(settings: Settings) -> Generator[None, None, None]:
    """``c4 ui`` on a free port, in a process group of its own."""
    command = [str(Path(sys.executable).with_name("c4")), "ui", "--port", "0"]
    with (settings.home / "ui.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def moments(instance: dg.DagsterInstance) -> dict[str, float]:
    """When what happened in the one run, in seconds since the tick of the sensor that asked for it."""
    record = instance.get_run_records()[0]
    if record.dagster_run.status is not dg.DagsterRunStatus.SUCCESS:
        raise RuntimeError(f"the run ended as {record.dagster_run.status.value}")
    ticks = [
        tick
        for state in instance.all_instigator_state()
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        if tick.run_ids
    ]
    tick = ticks[0].timestamp
    found = {"tick": 0.0, "created": record.create_timestamp.timestamp() - tick}
    for event_record in instance.get_records_for_run(record.dagster_run.run_id).records:
        event = event_record.event_log_entry.dagster_event
        if event:
            name = f"{event.step_key} {event.event_type_value}" if event.step_key else event.event_type_value
            found[name] = event_record.timestamp - tick
    found["launched"], found["started"] = found["PIPELINE_STARTING"], found["PIPELINE_START"]
    found["whole"] = found["db_scores STEP_SUCCESS"]
    return found


def paper(site: Site, settings: Settings) -> dict[str, float]:
    """Runs the paper's job. Seconds of its parts, and of the whole with its process."""
    access = site.server.behind(site.port)
    images = {str(number + 1): name for number, name in enumerate(site.names)}
    order = Order(
        site.port,
        site.server.user,
        str(access.key),
        str(access.known_hosts),
        str(site.images),
        images,
        str(site.models / "marco"),
        settings.database.url,
    )
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.paper_method"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout), "whole": time.perf_counter() - started}


def all_written(site: Site, settings: Settings, scorer_like: str) -> None:
    """Makes sure that nobody is praised for work not done: every image has its score in the database."""
    from sqlalchemy import func, select

    from resources.imaging_database.schema import scores

    database = ImagingDatabase(settings.database.url)
    with database.reading() as connection:
        count = select(func.count()).where(scores.c.scorer_version.like(scorer_like))
        written = int(connection.execute(count).scalar_one())
    database.engine.dispose()
    if written != len(site.names):
        raise RuntimeError(f"{scorer_like} wrote {written} scores for {len(site.names)} images")


def measure(site: Site) -> Rounds:
    """Rounds of all ways, in alternation."""
    ways = {way: precision for way, precision in PRECISIONS.items() if precision == "fp32" or has_bf16()}
    took: Rounds = {way: [] for way in ("paper", *ways)}
    for number in range(ROUNDS):
        for way, precision in ways.items():
            settings = site.home(f"{way}-{number}", precision)
            took[way].append(ours(settings))
            all_written(site, settings, "marco-%")
        settings = site.home(f"paper-{number}", "fp32")
        took["paper"].append(paper(site, settings))
        all_written(site, settings, "paper")
    return took


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="From the sensor's tick to rows in the database.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--images", type=int, default=192, help="images of the inspection")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = Path(os.environ.get("C4_MODELS", folder / "models"))
        fetch("marco", models)
        real = os.environ.get("C4_REAL_IMAGES")
        pictures = five_megapixels(Path(real) if real else None)
        names = [f"{number:04d}.jpg" for number in range(arguments.images)]
        (folder / "images").mkdir()
        for number, name in enumerate(names):
            (folder / "images" / name).write_bytes(pictures[number % len(pictures)])
        with Sshd(folder / "sshd") as server, DelayingProxy(server.port, ONE_WAY_S) as proxy:
            took = measure(Site(folder, server, proxy.port, models, names))
    present(took, arguments.json)


def present(took: Rounds, as_json: bool) -> None:
    """Prints what each way took and, for people, what it is made of."""
    whole = {way: median(run["whole"] for run in runs) for way, runs in took.items()}
    rows = [Row(way, round(seconds, 1), "s", round(whole["paper"] / seconds, 2)) for way, seconds in whole.items()]
    report("end_to_end", "paper", rows, as_json)
    if as_json:
        return
    for way, runs in took.items():
        if way != "paper":
            for name, (begin, end) in PARTS.items():
                sys.stdout.write(f"  {way}: {name:<28} {median(run[end] - run[begin] for run in runs):6.1f} s\n")
    for name in ("fetch", "load", "classify", "write"):
        sys.stdout.write(f"  paper: {name:<28} {median(run[name] for run in took['paper']):6.1f} s\n")


if __name__ == "__main__":
    main()
