"""Days for a backlog of forty million images: a model of the whole, from rates that are measured here.

    python -m benchmarks.backlog [--json] [--gpu-rate 100] [--no-trial]   (as root; C4_REAL_IMAGES, C4_MODELS)

``testing/trial/backlog_model.py`` states the model. Measured for it, in interleaved rounds of which the medians count:
images over one connection behind a proxy that makes the round trip 12 ms, decoding on one core, MARCO on this
machine's CPU, and scores written to a real PostgreSQL. A run's overhead comes from a real backfill with a stand-in for
MARCO, of as many inspections a day as forty million images since 2006 have. The baseline is the paper's method, whose
job is timed once, with at most ten jobs at once.

No rate of a GPU is measured: ``--gpu-rate`` is an **assumption**, and every figure that rests on it says so.

The model is checked: with the overhead of the first backfill it predicts a second one, of more days and at another
pace, before that one runs. It should be right within 25 %.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import dagster as dg

from benchmarks import fetch
from benchmarks.classify import five_megapixels
from benchmarks.database import RATE, ROWS, SCORER, Day
from benchmarks.end_to_end import Site as PaperSite
from benchmarks.end_to_end import paper
from benchmarks.report import Row, medians, report, seconds_of
from c4_assets.models import machine
from c4_assets.models import weights as model
from c4_assets.models.appearance import appearance_of
from c4_assets.models.engine import inference_times
from c4_assets.models.marco.openvino_engine import OpenVinoEngine
from c4_assets.models.marco.openvino_graph import openvino_graph
from c4_assets.models.marco.preprocessing import pixels
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from testing import stand_in
from testing.delaying_proxy import proxy_process
from testing.postgresql import running_server
from testing.scored_history import fill
from testing.sshd import Sshd
from testing.trial.backlog_model import (
    DAY_S,
    Load,
    Means,
    Rates,
    bottleneck,
    overhead_seconds,
    paper_seconds,
    seconds,
)
from testing.trial.history import History
from testing.trial.scoring_history import score_history
from testing.trial.site import BACKFILL_TAG, Plan, Site, running_site
from testing.trial.verdict import verdict

ROUNDS = 3
BACKLOG = 40_000_000
HISTORY_DAYS = 7_600
"""Since 2006."""

DAYS_A_RUN = 7
INSPECTION = 200
PUBLISHED_S = 120.0
"""An inspection of about 200 images, as the paper tells it."""

JOBS = 10
"""Connections that the paper's storage host allowed."""

CONNECTIONS, GPUS, CORES = (1, 4, 10), (1, 4, 16), (2, 8, 32)
GPU_RATE = 100.0
"""Assumed images/s of a GPU: what two CPU cores with bfloat16 were seen to do, so a figure to fall short of rather
than to hope for. No GPU has been measured."""

A_DAY = round(BACKLOG / HISTORY_DAYS / INSPECTION)
"""Inspections a day of that backlog: a run's overhead grows with them."""

AT_ONCE = 2


@dataclass(frozen=True)
class Measured:
    """Rates of this machine for images of 5 megapixels, and the paper's job: seconds of its parts and of the whole."""

    rates: Rates
    paper: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """The check: seconds of the second backfill as the model says and as it was, and the overhead of the first."""

    overhead_s: float
    predicted_s: float
    measured_s: float


def measure(folder: Path, rounds: int) -> Measured:
    """All rates but the overhead, which is 0 here, and the paper's job."""
    models = Path(os.environ.get("C4_MODELS", folder / "models"))
    graph = openvino_graph(model.fetch("marco", models), model.weights_sha256("marco", models))
    real = os.environ.get("C4_REAL_IMAGES")
    images = five_megapixels(Path(real) if real else None)
    engine = OpenVinoEngine(graph, "fp32", None)
    list(engine.classify(images[:8]))  # the first call compiles

    def classify() -> float:
        before = inference_times().computed
        list(engine.classify(images))
        return inference_times().computed - before

    paths = fetch.lay_out(folder / "images" / "plate")
    with ExitStack() as stack:
        host = stack.enter_context(Sshd(folder / "host"))
        port = stack.enter_context(proxy_process(host.port, fetch.DELAY_S))
        staged = stack.enter_context(fetch.ours(host, port, folder / "images"))
        write = stack.enter_context(written(folder / "server"))
        staged(paths[:1])
        took = medians(
            {
                "fetch": lambda: seconds_of(lambda: staged(paths)),
                "decode": lambda: core_seconds(lambda: [appearance_of(pixels(data)) for data in images]),
                "model": classify,
                "write": write,
            },
            rounds,
        )
        names = lay_out_inspection(folder / "images" / "inspection", images)
        site = PaperSite(folder, host, port, models, names)
        job = paper(site, site.home("paper", "fp32"))
    counted = len(images)
    rates = Rates(len(paths) / took["fetch"], counted / took["decode"], counted / took["model"], 0, 0)
    return Measured(replace(rates, write=ROWS / took["write"]), job)


def lay_out_inspection(folder: Path, images: Sequence[bytes]) -> list[str]:
    """Puts the files of an inspection into a folder: the images over and over."""
    folder.mkdir()
    for number in range(INSPECTION):
        (folder / f"{number:03}.jpg").write_bytes(images[number % len(images)])
    return [f"{folder.name}/{file.name}" for file in sorted(folder.iterdir())]


def small_rates(folder: Path, plan: Plan, write: float, rounds: int) -> Rates:
    """Rates for the images of a trial and its stand-in, on loopback without a proxy; the overhead is 0.

    Args:
        write: scores/s of a connection to the database.
    """
    history = plan.history
    history.lay_out(folder / "images")
    files = sorted((folder / "images").rglob("*.jpg"))
    paths = [str(file.relative_to(folder / "images")) for file in files]
    contents = [file.read_bytes() for file in files]
    with Sshd(folder / "host") as host, fetch.ours(host, host.port, folder / "images") as staged:
        staged(paths[:1])
        took = medians(
            {
                "fetch": lambda: seconds_of(lambda: staged(paths)),
                "decode": lambda: core_seconds(lambda: [appearance_of(stand_in.decoded(data)) for data in contents]),
            },
            rounds,
        )
    return Rates(len(paths) / took["fetch"], len(paths) / took["decode"], plan.rate or 0, write, 0)


def core_seconds(work: Callable[[], object]) -> float:
    """How many seconds of a core a call takes in this thread, whoever else wants that core."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


@contextmanager
def written(folder: Path) -> Generator[Callable[[], float]]:
    """A PostgreSQL, and what writes a day of scores to it anew and returns the seconds that it took."""
    with running_server(folder) as server:
        address = server.address("writes")
        database = ImagingDatabase(address, Connecting(timeout_s=60))
        database.upgrade()
        fill(database, 10 * ROWS, RATE, SCORER, pending=ROWS)
        day = Day(database, address)

        def write() -> float:
            day.remove()
            return seconds_of(day.ours)

        yield write
        database.engine.dispose()


def try_backfill(plan: Plan) -> float:
    """Scores a history by a real backfill. Seconds from its first run's launch to its last one's end.

    The backfill daemon looks every 30 seconds whether there is something to launch or to end: no matter in days.

    Raises:
        RuntimeError: an image has no score, or two.
    """
    with tempfile.TemporaryDirectory() as folder, running_site(Path(folder), plan) as site:
        score_history(site, {}, 0)
        if problems := verdict(site).problems():
            raise RuntimeError(f"A backfill of {plan.history.days} days: {'; '.join(problems)}")
        return working_seconds(site)


def working_seconds(site: Site) -> float:
    """From the launch of a backfill's first run to the end of its last one."""
    instance = site.deployment.instance
    runs = [run for run in instance.get_runs(dg.RunsFilter()) if BACKFILL_TAG in run.tags]
    stats = [instance.get_run_stats(run.run_id) for run in runs]
    return max(each.end_time or 0.0 for each in stats) - min(each.launch_time or float("inf") for each in stats)


def trial_of(days: int, inspections_a_day: int, rate: float) -> Plan:
    """A trial over so many days, with a stand-in of so many images/s."""
    history = History(days, days * inspections_a_day, 12)
    return Plan(history, "in_process", days_a_run=DAYS_A_RUN, at_once=AT_ONCE, rate=rate)


def load_of(plan: Plan) -> Load:
    """What a trial scores."""
    history = plan.history
    return Load(history.images, history.images / history.days * DAYS_A_RUN)


def check(first: Plan, second: Plan, write: float, rounds: int) -> Trial:
    """Predicts a backfill from the one before, then runs it.

    Args:
        write: scores/s of a connection to the database.
    """
    with tempfile.TemporaryDirectory() as folder:
        rates = small_rates(Path(folder), first, write, rounds)
    # Each run has a connection and a stand-in of its own.
    means = Means(AT_ONCE, AT_ONCE, machine.cores(), AT_ONCE, AT_ONCE)
    took = try_backfill(first)
    overhead = overhead_seconds(rates, means, load_of(first), took)
    rates = replace(rates, model=second.rate or 0, overhead_s=overhead)
    predicted = seconds(rates, means, load_of(second))
    sys.stderr.write(f"{first.history.days} days took {took:.0f} s; predicted for the next: {predicted:.0f} s\n")
    return Trial(overhead, predicted, try_backfill(second))


def rows_of_rates(measured: Measured) -> list[Row]:
    """What was measured, beside the paper's method where it does the same."""
    rates, job = measured.rates, measured.paper

    def row(name: str, value: float, unit: str, part: str) -> Row:
        return Row(name, round(value, 1), unit, round(value * job[part] / INSPECTION, 2))

    return [
        row("fetch, a connection", rates.fetch, "images/s", "fetch"),
        Row("decode, a core", round(rates.decode, 1), "images/s", 1.0),
        row(f"neural network, {machine.cores()} cores of this CPU in fp32", rates.model, "images/s", "classify"),
        row("write, a connection", rates.write, "rows/s", "write"),
        Row(f"overhead of a run of {DAYS_A_RUN} days", round(rates.overhead_s, 1), "s", 1.0),
        Row(f"paper: a job of {INSPECTION} images", round(job["whole"], 1), "s", 1.0),
    ]


def rows_of_model(measured: Measured, gpu_rate: float) -> list[Row]:
    """The table of days, with the bottleneck of each cell in its name."""
    load = Load(BACKLOG, BACKLOG / HISTORY_DAYS * DAYS_A_RUN)
    base = paper_seconds(BACKLOG, measured.paper["whole"], INSPECTION, JOBS)

    def row(name: str, took_s: float) -> Row:
        return Row(name, round(took_s / DAY_S, 2), "days", round(base / took_s, 2))

    def cell(name: str, rates: Rates, means: Means) -> Row:
        return row(f"{name}: {bottleneck(rates, means, load.a_run)}", seconds(rates, means, load))

    here = Means(1, 1, machine.cores(), 2)
    gpus = replace(measured.rates, model=gpu_rate)
    return [
        row("paper", base),
        row("paper, with the two minutes it tells", paper_seconds(BACKLOG, PUBLISHED_S, INSPECTION, JOBS)),
        cell("model: this machine, 1 connection, no GPU", measured.rates, here),
        *(
            # As many runs at once as can use a connection or a GPU.
            cell(
                f"model: {lines} connections, {devices} GPUs (assumed), {cores} cores",
                gpus,
                Means(lines, devices, cores, lines + devices),
            )
            for lines, devices, cores in product(CONNECTIONS, GPUS, CORES)
        ),
    ]


def rows_of_trial(trial: Trial) -> list[Row]:
    """The check of the model."""
    ratio = round(trial.predicted_s / trial.measured_s, 2)
    return [
        Row("check: measured", round(trial.measured_s, 1), "s", 1.0),
        Row("check: predicted by the model", round(trial.predicted_s, 1), "s", 1.0),
        Row("check: predicted / measured", ratio, "", ratio),
    ]


def measured_rows(gpu_rate: float, rounds: int, trials: tuple[Plan, Plan] | None) -> Sequence[Row]:
    """All rows; without trials a run's overhead is taken to be none."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), rounds)
    sys.stderr.write(f"{measured}\n")
    if trials is None:
        return [*rows_of_rates(measured), *rows_of_model(measured, gpu_rate)]
    trial = check(*trials, measured.rates.write, rounds)
    measured = replace(measured, rates=replace(measured.rates, overhead_s=trial.overhead_s))
    return [*rows_of_rates(measured), *rows_of_model(measured, gpu_rate), *rows_of_trial(trial)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Days for a backlog of forty million images, modelled.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of which the median is taken")
    parser.add_argument("--gpu-rate", type=float, default=GPU_RATE, help="images/s of a GPU: an assumption")
    parser.add_argument("--no-trial", action="store_true", help="no backfill: a run's overhead is none, no check")
    parser.add_argument("--trial-days", type=int, nargs=2, default=(28, 56), help="days of the two backfills")
    parser.add_argument("--trial-inspections", type=int, default=A_DAY, help="inspections a day in both")
    given = parser.parse_args()
    days, a_day = given.trial_days, given.trial_inspections
    trials = None if given.no_trial else (trial_of(days[0], a_day, 400), trial_of(days[1], a_day, 100))
    if not given.json:
        sys.stdout.write(f"A model. A GPU is assumed to classify {given.gpu_rate:g} images/s; none was measured.\n")
    report("backlog", "paper", measured_rows(given.gpu_rate, given.rounds, trials), given.json)


if __name__ == "__main__":
    main()
