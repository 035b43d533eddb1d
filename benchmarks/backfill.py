"""The backlog as a backfill: whole histories scored through webserver and daemon, and struck with faults on the way.

    python -m benchmarks.backfill [--json] [--executor slurm] [--days 400] [--inspections 4000]   (as root)
                                  [--faults] [--hourly 5] [--days-a-run 1,3,7,14,30] [--real]
    python -m benchmarks.backfill --since-2006 [--json]

The backfill is launched with the words of Dagster's UI, over an imaging database in PostgreSQL and images behind a real
sshd, on this machine's cores or on a Slurm cluster of one machine. Images are small and MARCO is stood in for
(``testing/stand_in.py``), so that the figures are those of orchestration; ``--real`` scores a slice with MARCO.

Each number of days a run scores a history of its own; the baseline is one day a run. Faults and hourly runs belong to
the last one. It ends with an error if at the end any image has not exactly one score or a failure with its reason.
CPU seconds are those of the whole machine, which must have nothing else to do.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import dagster as dg

from benchmarks.report import Row, report, seconds_of
from testing.trial.dagster_ui import DAILY, cancel_backfill, launch_backfill, partitions_page, tick
from testing.trial.deployment import end_in_order_when_terminated, wait_until
from testing.trial.faults import faults_of
from testing.trial.history import History
from testing.trial.scoring_history import Outcome, peak_memory_of, score_history, state
from testing.trial.site import BACKFILL_TAG, Plan, Site, running_site
from testing.trial.verdict import verdict

OUTAGE_S = 30.0

SINCE = date(2006, 1, 1)
LIMITS = {"launch": 2.0, "partitions page": 1.0, "daemon's peak memory": 400.0}
ROUNDS = 9
QUEUED = 0.9
"""The share of the runs that must be in flight: those of days without an image end while others are queued."""


@dataclass(frozen=True)
class Order:
    """What the command line asks for."""

    plan: Plan
    days_a_run: Sequence[int]
    faults: bool
    hourly: int


def measure(order: Order) -> dict[int, Outcome]:
    """Scores the history once for each number of days a run.

    Raises:
        RuntimeError: an image has no score, or two, or something is left behind.
    """
    outcomes: dict[int, Outcome] = {}
    for days_a_run in order.days_a_run:
        plan = replace(order.plan, days_a_run=days_a_run)
        last = days_a_run == order.days_a_run[-1]
        with tempfile.TemporaryDirectory() as folder, running_site(Path(folder), plan) as site:
            faults = faults_of(plan.executor) if order.faults and last else {}
            outcome = score_history(site, faults, OUTAGE_S, order.hourly if last else 0)
            found = verdict(site)
        sys.stderr.write(f"{days_a_run} days a run: {found}\n")
        if problems := found.problems():
            raise RuntimeError(f"With {days_a_run} days a run: {'; '.join(problems)}")
        outcomes[days_a_run] = outcome
    return outcomes


def rows_of(outcomes: dict[int, Outcome]) -> list[Row]:
    """All figures beside those of the fewest days a run."""
    first = outcomes[min(outcomes)]
    rows: list[Row] = []
    for days_a_run, outcome in outcomes.items():
        thousands = outcome.images / 1000
        base = first.images / 1000
        of = f"{days_a_run} days a run"

        def row(name: str, value: float, unit: str, baseline: float, of: str = of) -> Row:
            return Row(f"{name}, {of}", round(value, 2), unit, round(baseline / value, 2) if value else 1.0)

        rate, first_rate = outcome.images / outcome.wall_s, first.images / first.wall_s
        rows += [
            Row(f"rate, {of}", round(rate, 1), "images/s", round(rate / first_rate, 2)),
            row("wall a thousand images", outcome.wall_s / thousands, "s", first.wall_s / base),
            row("CPU a thousand images", outcome.cpu_s / thousands, "s", first.cpu_s / base),
            row("a run without a step at work", outcome.idle_s, "s", first.idle_s),
            row(
                "overhead a thousand images: runs without a step at work",
                outcome.idle_s * outcome.all_runs / thousands,
                "s",
                first.idle_s * first.all_runs / base,
            ),
            row("Dagster instance a run", outcome.instance_bytes / outcome.all_runs / 1000, "kB", _a_run(first)),
            row("Dagster instance a thousand images", outcome.instance_bytes / 1000 / thousands, "kB", _kb(first)),
            row("launch", outcome.launch_s, "s", first.launch_s),
            row("daemon's peak memory", outcome.daemon_mb, "MB", first.daemon_mb),
            Row(f"runs, {of}", outcome.all_runs, "", round(first.all_runs / outcome.all_runs, 2)),
        ]
        rows += [
            Row(f"after {each.name}, to the next score", round(each.recovered_s, 1), "s", 1) for each in outcome.struck
        ]
        if outcome.hourly_alone:
            alone, during = median(outcome.hourly_alone), median(outcome.hourly_during)
            longest = max(outcome.hourly_during)
            rows += [
                Row("hourly run alone", round(alone, 1), "s", 1.0),
                Row("hourly run during the backfill", round(during, 1), "s", round(alone / during, 2)),
                Row("hourly run during the backfill, longest", round(longest, 1), "s", round(alone / longest, 2)),
            ]
        if outcome.passes > 1:
            rows.append(Row(f"backfills until nothing was pending, {of}", outcome.passes, "", 1 / outcome.passes))
    return rows


def _a_run(outcome: Outcome) -> float:
    return outcome.instance_bytes / outcome.all_runs / 1000


def _kb(outcome: Outcome) -> float:
    return outcome.instance_bytes / outcome.images


def measure_all_days() -> list[Row]:
    """Figures beside their limits (ratio: the limit over the figure); the sensor's tick beside its own without it."""
    history = History(days=30, inspections=60)
    settings = {"C4_RUNS_START_DATE": SINCE.isoformat()}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_site(Path(folder), Plan(history, at_once=0, settings=settings)) as site,
    ):
        days = every_day()
        page_before = median_seconds(lambda: partitions_page(site.deployment, DAILY[-1]))
        ticks_before = median_seconds(lambda: tick(site.deployment, "new_inspections"))
        pressed = time.perf_counter()
        backfill_id = launch_backfill(site.deployment, days)
        launch = time.perf_counter() - pressed
        runs = -(-len(days) // site.settings.runs.backfill_days)
        wait_until("all its runs are queued", lambda: in_flight(site) >= runs * QUEUED, 1800)
        queued = time.perf_counter() - pressed
        page = median_seconds(lambda: partitions_page(site.deployment, DAILY[-1]))
        ticks = median_seconds(lambda: tick(site.deployment, "new_inspections"))
        memory = peak_memory_of(site.deployment.daemon_pid)
        cancel_backfill(site.deployment, backfill_id)
        cancelled = time.perf_counter()
        wait_until("it is cancelled", lambda: state(site, backfill_id).ended, 1800)
        gone = time.perf_counter() - cancelled
    return [
        limited("launch", launch, "s"),
        limited("partitions page", page, "s"),
        Row("partitions page, without it", round(page_before, 3), "s", 1.0),
        limited("daemon's peak memory", memory, "MB"),
        Row("sensor's tick", round(ticks, 2), "s", round(ticks_before / ticks, 2)),
        Row("sensor's tick, without it", round(ticks_before, 2), "s", 1.0),
        Row(f"{runs} runs of {site.settings.runs.backfill_days} days queued after", round(queued, 1), "s", 1.0),
        Row("cancelled after", round(gone, 1), "s", 1.0),
    ]


def every_day() -> list[str]:
    """Every day since 2006 that is over, as the UI sends it."""
    today = datetime.now(UTC).date()
    return [(SINCE + timedelta(days=number)).isoformat() for number in range((today - SINCE).days)]


def limited(name: str, value: float, unit: str) -> Row:
    """A figure beside its limit."""
    return Row(f"{name} (limit {LIMITS[name]:g} {unit})", round(value, 3), unit, round(LIMITS[name] / value, 1))


def median_seconds(work: Callable[[], object]) -> float:
    """Median seconds of several calls."""
    return median(seconds_of(work) for _ in range(ROUNDS))


def in_flight(site: Site) -> int:
    """Runs of the backfill that wait or work."""
    statuses = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    runs = site.deployment.instance.get_runs(dg.RunsFilter(statuses=statuses))
    return sum(BACKFILL_TAG in run.tags for run in runs)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The backlog as a backfill.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--executor", choices=("in_process", "multiprocess", "slurm"), default="multiprocess")
    parser.add_argument("--days", type=int, default=400, help="daily partitions")
    parser.add_argument("--inspections", type=int, default=4000, help="of all days together")
    parser.add_argument("--images-each", type=int, default=24, help="images of an inspection")
    parser.add_argument(
        "--at-once",
        type=int,
        help="runs of the backfill at once; otherwise what C4's dagster.yaml says",
    )
    parser.add_argument("--days-a-run", default="1,7", help="C4_RUNS_BACKFILL_DAYS, one after the other")
    parser.add_argument("--faults", action="store_true", help="kill daemon, run worker, slurmd, database and sshd")
    parser.add_argument("--hourly", type=int, default=0, metavar="N", help="runs of today, timed alone and during it")
    parser.add_argument("--real", action="store_true", help="MARCO and real images (C4_REAL_IMAGES, C4_MODELS)")
    parser.add_argument(
        "--since-2006", action="store_true", help="select all days since 2006, and do not wait for them"
    )
    given = parser.parse_args()
    end_in_order_when_terminated()
    if given.since_2006:
        report("backfill_since_2006", "limit", measure_all_days(), given.json)
        return
    if given.real and not {"C4_REAL_IMAGES", "C4_MODELS"} <= os.environ.keys():
        parser.error("--real needs C4_REAL_IMAGES (a folder of images) and C4_MODELS (where MARCO is or goes)")
    real = Path(os.environ["C4_REAL_IMAGES"]) if given.real else None
    models = Path(os.environ["C4_MODELS"]) if given.real else None
    history = History(given.days, given.inspections, given.images_each)
    plan = Plan(history, given.executor, at_once=given.at_once, real=real, models=models)
    order = Order(plan, [int(number) for number in given.days_a_run.split(",")], given.faults, given.hourly)
    report("backfill", f"{min(order.days_a_run)} day a run", rows_of(measure(order)), given.json)


if __name__ == "__main__":
    main()
