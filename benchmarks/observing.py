"""What observing costs: runs of 192 images with MARCO, plain, with log files, with traces, and beside an exporter.

    python -m benchmarks.observing [--json] [--images 192] [--rounds 5]

Each run is of a day of its own: the four steps in one process, over a Dagster instance on disk with C4's
``dagster.yaml``, which names the handler of Dagster's own events or does not. Traces go to a collector on loopback. The
exporter is a process of its own, scraped every second. A run is paid for once before the first is measured.

What other programs do on the machine meets all ways, but no difference below some percent can be seen from run to run.
So the seconds within C4's handlers and within the sender of spans are added up, and the exporter's processor time is
counted: their shares of the run are the figures to look at. The first spans of a process load protobuf's messages,
once: that is a row of its own, and two of the four processes of a run have inspections.
"""

import argparse
import logging
import os
import re
import resource
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch
from urllib.request import urlopen

import dagster as dg

from benchmarks.classify import five_megapixels
from benchmarks.report import Row, report
from c4_assets.models.weights import fetch
from resources import tracing
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.log_files import C4_HANDLERS, file_written_to
from resources.settings import Settings
from resources.settings.logs import write_logs_of
from resources.settings.sections import Tracing
from testing.http_receiver import http_receiver
from testing.prometheus import exporter

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WAYS = ("plain", "logs", "traces", "metrics")
SCRAPED_EVERY_S = 1.0
"""Often, so that a run of some seconds meets several scrapes; Prometheus asks once a minute or four times."""


def prepare(settings: Settings, images: int, days: int) -> None:
    """An inspection of so many images on each of so many days; the files are the same each day."""
    database = ImagingDatabase(settings.database.url)
    database.upgrade()
    seed_classes(database)
    real = os.environ.get("C4_REAL_IMAGES")
    pictures = five_megapixels(Path(real) if real else None)
    folder = Path(settings.store.url)
    folder.mkdir()
    for number in range(images):
        (folder / f"{number:04d}.jpg").write_bytes(pictures[number % len(pictures)])
    for day in range(days):
        new = [NewImage(f"{chr(65 + n // 24)}{n // 2 % 12 + 1:02d}", n % 2 + 1, f"{n:04d}.jpg") for n in range(images)]
        register_inspection(database, f"P{day}", imaged_at(day), None, new)
    database.engine.dispose()


def imaged_at(day: int) -> datetime:
    """Noon, so many days before yesterday."""
    return (datetime.now(UTC) - timedelta(days=day + 1)).replace(hour=12, minute=0, second=0, microsecond=0)


def one_run(settings: Settings, day: int, way: str, endpoint: str) -> dict[str, float]:
    """Seconds of a run, of processor time, and within handlers and sender; lines and bytes that it wrote."""
    from c4_assets.definitions import defs
    from c4_assets.deployment_home import dagster_instance

    logger, spent, logged = logging.getLogger("c4"), [0.0], way == "logs"
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    if logged:
        write_logs_of(settings.logs)
    file = file_written_to()
    before = file.file.read_bytes() if file and file.file.exists() else b""
    with dagster_instance(settings):
        yaml = settings.dagster_home / "dagster.yaml"
    home = settings.home / way
    home.mkdir(exist_ok=True)
    text = yaml.read_text()
    (home / "dagster.yaml").write_text(text if logged else re.sub(r"  dagster_handler_config:\n(    .*\n)+", "", text))
    job = defs.resolve_job_def("score_images")
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        timed_handlers(spent) if logged else nullcontext(),
        traced(settings, endpoint, spent) if way == "traces" else nullcontext(),
        scraped(settings, spent) if way == "metrics" else nullcontext(),
    ):
        began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        done = job.execute_in_process(
            partition_key=imaged_at(day).date().isoformat(), instance=instance, run_config=QUIET
        )
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    if not done.success:
        raise RuntimeError("the run has failed")
    written = file.file.read_bytes()[len(before) :] if file else b""
    return {
        "seconds": took,
        "processor": after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime,
        "within": spent[0],
        "lines": written.count(b"\n"),
        "bytes": len(written),
    }


def timed_handlers(spent: list[float]) -> Any:
    """Adds up the seconds that all of C4's handlers take, the one of Dagster's events included."""
    from contextlib import ExitStack

    from c4_assets.runs.log_lines import DagsterEvents

    stack, inside = ExitStack(), [0]

    def timed(handle: Any) -> Any:
        def emit(self: logging.Handler, record: logging.LogRecord) -> None:
            began = time.perf_counter()
            inside[0] += 1
            try:
                handle(self, record)
            finally:
                inside[0] -= 1
                if not inside[0]:  # that of Dagster's events calls the file's
                    spent[0] += time.perf_counter() - began

        return emit

    for kind in (*C4_HANDLERS, DagsterEvents):
        stack.enter_context(patch.object(kind, "emit", timed(kind.emit)))
    return stack


@contextmanager
def traced(settings: Settings, endpoint: str, spent: list[float]) -> Generator[None]:
    """Turns traces on, and adds up the seconds within their sender, those of its thread included."""
    from c4_assets.runs import traces

    def timed(work: Any) -> Any:
        def call(*arguments: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*arguments)
            finally:
                spent[0] += time.thread_time() - began

        return call

    on = settings.model_copy(update={"tracing": Tracing(endpoint=endpoint)})
    with (
        patch.object(traces, "SETTINGS", on),
        patch.object(tracing.Sender, "send", timed(tracing.Sender.send)),
        patch.object(tracing.Sender, "flush", timed(tracing.Sender.flush)),
        patch.object(tracing.Sender, "_send_all", timed(getattr(tracing.Sender, "_send_all"))),  # noqa: B009
    ):
        yield


@contextmanager
def scraped(settings: Settings, spent: list[float]) -> Generator[None]:
    """An exporter beside the run, scraped again and again; adds up its processor time, that of its start aside."""
    with exporter(settings.home, {"DAGSTER_HOME": str(settings.home / "metrics")}) as address:
        urlopen(address, timeout=60).read()  # noqa: S310 - on loopback
        started, ended = cpu_of_children_at_work(), threading.Event()

        def scrape() -> None:
            while not ended.wait(SCRAPED_EVERY_S):
                urlopen(address, timeout=60).read()  # noqa: S310

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            spent[0] += cpu_of_children_at_work() - started


def cpu_of_children_at_work() -> float:
    """Processor seconds of this process's children that have not ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:13])) if int(fields[1]) == os.getpid() else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(settings: Settings, images: int, rounds: int) -> list[Row]:
    """The figures of all ways, as medians of runs in turns."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with http_receiver() as collector:
        endpoint = f"{collector.url}/v1/traces"
        one_run(settings, len(WAYS) * rounds + 1, "plain", endpoint)  # imports, and loads MARCO
        first = one_run(settings, len(WAYS) * rounds, "traces", endpoint)["within"]
        for number in range(rounds):
            for place, way in enumerate((*WAYS[number % len(WAYS) :], *WAYS[: number % len(WAYS)])):
                runs[way].append(one_run(settings, len(WAYS) * number + place, way, endpoint))
    plain = median(run["processor"] for run in runs["plain"])
    rows = [Row(f"run of {images} images, {way}", _median(runs[way], "processor", 2), "s of CPU", 1.0) for way in WAYS]
    rows += [Row(f"the same by the clock, {way}", _median(runs[way], "seconds", 2), "s", 1.0) for way in WAYS]
    for way, what in (("logs", "handlers"), ("traces", "the sender of spans"), ("metrics", "the exporter's process")):
        within = median(run["within"] for run in runs[way])
        rows.append(Row(f"within {what}", round(1000 * within, 1), "ms", 1.0))
        rows.append(Row(f"of a plain run, {what}", round(100 * within / plain, 3), "%", 1.0))
    rows.append(Row("the first spans of a process", round(1000 * first, 1), "ms", 1.0))
    rows.append(Row("lines a run", _median(runs["logs"], "lines", 0), "lines", 1.0))
    rows.append(Row("what they take", round(median(run["bytes"] for run in runs["logs"]) / 1000, 1), "kB", 1.0))
    return rows


def _median(runs: Sequence[dict[str, float]], figure: str, digits: int) -> float:
    return round(median(run[figure] for run in runs), digits)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What observing costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--images", type=int, default=192, help="images of a run")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["C4_HOME"] = str(Path(folder) / "home")
        os.environ.setdefault("C4_MODELS", str(Path(folder) / "models"))
        settings = Settings.from_environment()
        settings.home.mkdir()
        fetch("marco", settings.models)
        prepare(settings, asked.images, len(WAYS) * asked.rounds + 2)
        report("observing", "plain", measure(settings, asked.images, asked.rounds), asked.json)


if __name__ == "__main__":
    main()
