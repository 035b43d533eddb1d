"""Selecting every day since 2006 in the UI: what launching, looking and the daemon cost while it is there."""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import dagster as dg

from benchmarks.deployment import wait_until
from benchmarks.history import History
from benchmarks.report import Row
from benchmarks.scoring_history import peak_memory_of, state
from benchmarks.trial_site import BACKFILL_TAG, Plan, Site, running_site
from benchmarks.ui_words import DAILY, cancel_backfill, launch_backfill, partitions_page, tick

SINCE = date(2006, 1, 1)
LIMITS = {"launch": 2.0, "partitions page": 1.0, "daemon's peak memory": 400.0}
ROUNDS = 9
QUEUED = 0.9
"""The share of the runs that must be in flight: those of days without an image end while others are queued."""


def measure_all_days() -> list[Row]:
    """Figures beside their limits (ratio: the limit over the figure); the sensor's tick beside its own without it."""
    history = History(days=30, inspections=60)
    settings = {"C4_RUNS_START_DATE": SINCE.isoformat()}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_site(Path(folder), Plan(history, at_once=0, settings=settings)) as site,
    ):
        days = every_day()
        page_before = seconds_of(lambda: partitions_page(site.deployment, DAILY[-1]))
        ticks_before = seconds_of(lambda: tick(site.deployment, "new_inspections"))
        pressed = time.perf_counter()
        backfill_id = launch_backfill(site.deployment, days)
        launch = time.perf_counter() - pressed
        runs = -(-len(days) // site.settings.runs.backfill_days)
        wait_until("all its runs are queued", lambda: in_flight(site) >= runs * QUEUED, 1800)
        queued = time.perf_counter() - pressed
        page = seconds_of(lambda: partitions_page(site.deployment, DAILY[-1]))
        ticks = seconds_of(lambda: tick(site.deployment, "new_inspections"))
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


def seconds_of(work: Callable[[], object]) -> float:
    """Median seconds of several calls."""
    times: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def in_flight(site: Site) -> int:
    """Runs of the backfill that wait or work."""
    statuses = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    runs = site.deployment.instance.get_runs(dg.RunsFilter(statuses=statuses))
    return sum(BACKFILL_TAG in run.tags for run in runs)
