"""What log files cost: runs of 192 images with MARCO, with them and without, in turns.

    python -m benchmarks.logs [--json] [--images 192] [--rounds 5]

Each run is of a day of its own: the four steps in one process, over a Dagster instance on disk with C4's
``dagster.yaml``, which names the handler of Dagster's own events or does not. A run is paid for once before the first
is measured. What other programs do on the machine meets both ways, but no difference below some percent can be seen
from run to run; so the seconds within C4's handlers are added up as well, and their share of the run is the figure to
look at.
"""

import argparse
import logging
import os
import re
import resource
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import dagster as dg

from benchmarks.classify import five_megapixels
from benchmarks.report import Row, report
from c4_assets.models.weights import fetch
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.log_files import FinerLinesEndHere, SecretsTakenOut, SharedFile, WarningsOnConsole, file_written_to
from resources.settings import Settings
from resources.settings.logs import write_logs_of

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
HANDLERS = (SecretsTakenOut, SharedFile, FinerLinesEndHere, WarningsOnConsole)


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


def one_run(settings: Settings, day: int, logged: bool) -> dict[str, float]:
    """Seconds of a run, of its processor time, and of those within C4's handlers; lines and bytes that it wrote."""
    from c4_assets.definitions import defs
    from c4_assets.deployment_home import dagster_instance

    logger, spent = logging.getLogger("c4"), [0.0]
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    if logged:
        write_logs_of(settings.logs)
    file = file_written_to()
    before = file.file.read_bytes() if file and file.file.exists() else b""
    with dagster_instance(settings):
        yaml = settings.dagster_home / "dagster.yaml"
    home = settings.home / ("logged" if logged else "unlogged")
    home.mkdir(exist_ok=True)
    text = yaml.read_text()
    (home / "dagster.yaml").write_text(text if logged else re.sub(r"  dagster_handler_config:\n(    .*\n)+", "", text))
    job = defs.resolve_job_def("score_images")
    with dg.DagsterInstance.from_config(str(home)) as instance, timed_handlers(spent):
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
        "handlers": spent[0],
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

    for kind in (*HANDLERS, DagsterEvents):
        stack.enter_context(patch.object(kind, "emit", timed(kind.emit)))
    return stack


def measure(settings: Settings, images: int, rounds: int) -> list[Row]:
    """The figures of both ways, as medians of runs in turns."""
    runs: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    one_run(settings, 2 * rounds, logged=True)  # imports, and loads MARCO
    for number in range(rounds):
        for second, logged in enumerate((number % 2 == 0, number % 2 == 1)):
            runs[logged].append(one_run(settings, 2 * number + second, logged))
    rows: list[Row] = []
    for figure, unit in (("seconds", "s"), ("processor", "s of CPU")):
        without, with_ = (median(run[figure] for run in runs[logged]) for logged in (False, True))
        rows.append(Row(f"run of {images} images, without", round(without, 3), unit, 1.0))
        rows.append(Row(f"run of {images} images, with log files", round(with_, 3), unit, round(without / with_, 3)))
    logged_runs = runs[True]
    share = median(100 * run["handlers"] / run["seconds"] for run in logged_runs)
    rows.append(Row("within the handlers", round(1000 * median(run["handlers"] for run in logged_runs), 1), "ms", 1.0))
    rows.append(Row("of the run", round(share, 3), "%", 1.0))
    rows.append(Row("lines a run", median(run["lines"] for run in logged_runs), "lines", 1.0))
    rows.append(Row("of", round(median(run["bytes"] for run in logged_runs) / 1000, 1), "kB", 1.0))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What log files cost.")
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
        prepare(settings, asked.images, 2 * asked.rounds + 1)
        report("logs", "without log files", measure(settings, asked.images, asked.rounds), asked.json)


if __name__ == "__main__":
    main()
