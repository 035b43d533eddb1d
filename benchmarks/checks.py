"""What data quality checks cost: the graph over a day of 20,000 images, with them and without.

    python -m benchmarks.checks [--json] [--images 20000] [--rounds 3]

Files are small and probabilities are simulated, so that next to nothing hides the checks: with MARCO the same
day takes minutes to hours more. Each run is a process of its own, all four steps in it, as in a run of ``c4 ui``. It
pays once for importing Great Expectations, which is measured apart. Runs alternate; figures are medians. What the
figures of an image (exposure, fingerprint) cost is measured apart, beside decoding it.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import dagster as dg
import numpy as np

from benchmarks.report import Row, report
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier
from c4_assets.models.engine import Classification, Engine
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.settings import Settings
from testing.always import always
from testing.dagster_types import ephemeral_instance

AN_INSPECTION = 96
GRACE_S = 5.0
"""Seconds that checks may cost whatever the partition: the import of Great Expectations, and then some."""

IMPORT = """
import time, pandas, pyarrow.parquet, sqlalchemy
started = time.perf_counter()
import great_expectations
print(time.perf_counter() - started)
"""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STEPS = ("raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores")


class Simulated:
    """An engine that looks at nothing and says something else of every image."""

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """See :meth:`c4_assets.models.engine.Engine.classify`."""
        rng = np.random.default_rng(0)
        for _ in images:
            clear, crystals, other, precipitate = (float(p) for p in rng.dirichlet((6, 0.5, 0.5, 2)))
            yield Classification((clear, crystals, other, precipitate))


class SimulatedClassifier(Classifier):
    """MARCO's scorer version without MARCO."""

    def weights_on_disk(self) -> str:
        """The digest that the version names."""
        return self.version.weights_sha256

    @property
    def engine(self) -> Engine:
        """The simulated engine."""
        return Simulated()


def prepare(home: Path, images: int) -> None:
    """A database and a folder of small, different files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(buffer, "JPEG")
    settings = Settings.from_environment({"C4_HOME": str(home)})
    database = ImagingDatabase(settings.database.url)
    database.upgrade()
    seed_classes(database)
    store = Path(settings.store.url)
    for number in range(0, images, AN_INSPECTION):
        plate = f"P{number // AN_INSPECTION:05d}"
        (store / plate).mkdir(parents=True)
        new: list[NewImage] = []
        for well in range(min(AN_INSPECTION, images - number)):
            # Decoders ignore what stands behind the end of a JPEG: each file is another one.
            (store / plate / f"{well}.jpg").write_bytes(buffer.getvalue() + (number + well).to_bytes(4))
            new.append(NewImage(f"{'ABCDEFGH'[well // 12]}{well % 12 + 1:02d}", 1, f"{plate}/{well}.jpg"))
        register_inspection(database, plate, imaged_at(), None, new)


def imaged_at() -> datetime:
    """Noon of yesterday."""
    return (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)


def without_checks() -> Any:
    """The graph as it would be: nothing is read for checks, nothing judged, nothing withheld."""
    from contextlib import ExitStack

    from c4_assets.checks.catalogue import checks_of
    from c4_assets.checks.check import Verdict
    from c4_assets.checks.data_checks import DataChecks
    from c4_assets.runs.check_results import Evaluated

    def passed(_checks: DataChecks, asset: str, *_: Any) -> Evaluated:
        verdicts = [Verdict(check, 0, ()) for check in checks_of(asset)]
        return Evaluated(verdicts, [dg.AssetCheckResult(check_name=v.check.name, passed=True) for v in verdicts])

    stack = ExitStack()
    for asset in ("raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores"):
        stack.enter_context(patch(f"c4_assets.assets.{asset}.evaluate", passed))
    nothing: dict[str, Any] = {
        "raw_inspection_images.inspections_of_day": [],
        "raw_inspection_images.known_files": {},
        "raw_inspection_images.image_tables": {},
        "marco_probabilities.weights_table": {},
        "marco_probabilities.probability_tables": {"images": {}},
        "marco_probabilities.archive_table": {},
        "marco_probabilities.trends": {},
        "class_predictions.prediction_tables": {},
        "class_predictions.mix_table": {"day": {}},
        "class_predictions.trends": {},
        "db_scores.withhold_day": set(),
        "db_scores.read_back_tables": {},
    }
    for name, value in nothing.items():
        stack.enter_context(patch(f"c4_assets.{name}", always(value)))
    stack.enter_context(patch("resources.archive.score_archive.ScoreArchive.rows", always(list[Any]())))
    return stack


def one_run(home: Path, checked: bool) -> dict[str, float]:
    """Seconds of every step of one run."""
    from contextlib import nullcontext

    from c4_assets.definitions import defs
    from c4_assets.deployment import resources_of

    settings = Settings.from_environment({"C4_HOME": str(home)})
    resources = dict(resources_of(settings))
    simulated = partial(SimulatedClassifier, models=settings.models)
    resources["models"] = ActiveModels(settings, ImagingDatabase.of(settings), simulated)
    definitions = dg.Definitions(
        assets=defs.assets, jobs=defs.jobs, resources=resources, executor=dg.in_process_executor
    )
    with nullcontext() if checked else without_checks(), ephemeral_instance() as instance:
        job = definitions.resolve_job_def("score_images")
        day = imaged_at().date().isoformat()
        result = job.execute_in_process(partition_key=day, instance=instance, run_config=QUIET)
        records = instance.get_records_for_run(result.run_id).records
    times: dict[str, dict[str, float]] = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        if event and event.step_key:
            times.setdefault(event.step_key, {}).setdefault(event.event_type_value, record.timestamp)
    return {step: times[step]["STEP_SUCCESS"] - times[step]["STEP_START"] for step in STEPS}


def in_a_process(images: int, checked: bool) -> dict[str, float]:
    """The same, in a home and a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), images)
        command = [sys.executable, "-m", "benchmarks.checks", "--in", folder, "--checked" if checked else "--unchecked"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])


def importing() -> float:
    """Seconds that a process waits for Great Expectations which has imported what every run imports."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    return float(done.stdout)


def figures_of_an_image(repetitions: int = 30) -> tuple[float, float]:
    """Milliseconds for the figures of a decoded image, and for decoding one of 5 megapixels."""
    from benchmarks.classify import as_jpeg
    from c4_assets.demo.drops import render_drop
    from c4_assets.models.appearance import appearance_of
    from c4_assets.models.marco.preprocessing import pixels

    data = as_jpeg(render_drop("crystals", 0))
    decoded = pixels(data)
    appearance_of(decoded)  # imports
    took: dict[str, list[float]] = {"figures": [], "decoding": []}
    for _ in range(repetitions):
        for name, work in (("figures", lambda: appearance_of(decoded)), ("decoding", lambda: pixels(data))):
            started = time.perf_counter()
            work()
            took[name].append(1000 * (time.perf_counter() - started))
    return median(took["figures"]), median(took["decoding"])


def measure(images: int, rounds: int) -> list[Row]:
    """All figures: seconds of steps with checks beside those without."""
    runs: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    imports: list[float] = []
    for _ in range(rounds):
        imports.append(importing())
        for checked in (False, True):
            runs[checked].append(in_a_process(images, checked))
    rows: list[Row] = []
    totals = {checked: median(sum(run.values()) for run in each) for checked, each in runs.items()}
    for name in STEPS:
        without, with_ = (median(run[name] for run in runs[checked]) for checked in (False, True))
        rows.append(Row(f"{name}, with checks", round(with_, 2), "s", round(without / with_, 3)))
    rows.append(
        Row(
            f"all steps, {images} images, with checks",
            round(totals[True], 2),
            "s",
            round(totals[False] / totals[True], 3),
        )
    )
    rows.append(Row(f"all steps, {images} images, without", round(totals[False], 2), "s", 1.0))
    cost = totals[True] - totals[False]
    imported = median(imports)
    rows.append(Row("cost of checks", round(cost, 2), "s", 1.0))
    rows.append(Row("of it, importing Great Expectations", round(imported, 2), "s", 1.0))
    rows.append(Row("of it, for an image", round(1000 * (cost - imported) / images, 3), "ms", 1.0))
    beyond = 100 * (cost - GRACE_S) / totals[False]
    rows.append(Row(f"cost of checks beyond {GRACE_S:.0f} s, of the steps without", round(beyond, 1), "%", 1.0))
    figures, decoding = figures_of_an_image()
    rows.append(Row("figures of an image, beside decoding it", round(figures, 2), "ms", round(decoding / figures, 1)))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What data quality checks cost.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in", dest="home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--checked", action=argparse.BooleanOptionalAction, default=True, help=argparse.SUPPRESS)
    parser.add_argument("--unchecked", dest="checked", action="store_false", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.home:
        sys.stdout.write(json.dumps(one_run(given.home, given.checked)) + "\n")
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    report("checks", "the graph without checks", measure(given.images, given.rounds), given.json)


if __name__ == "__main__":
    main()
