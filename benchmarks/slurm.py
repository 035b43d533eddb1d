"""What Slurm costs: seconds of overhead a step beside Dagster's multiprocess executor, and questions to the controller.

    python -m benchmarks.slurm            (as root: starts a cluster on this machine and stops it)

The steps do nothing, so that a run's time is all overhead: of it, starting Python and importing Dagster is the same for
both executors. Questions are counted while 50 sleeping jobs are followed, as those of a run with 50 steps in flight.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

import dagster as dg

from benchmarks.report import Row, report
from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.executor import slurm_executor
from resources.executors.slurm.script import Step
from resources.executors.slurm.tracker import JobTracker
from resources.executors.slurm.transport import Completed, LocalTransport
from resources.executors.step_resources import StepResources
from resources.settings import Settings, Site
from resources.settings.keys import flat, variable_of
from testing.always import always
from testing.slurm_cluster import Cluster
from testing.slurm_configuration import Shape

PROJECT = Path(__file__).parents[1]
STEPS = 5
IN_FLIGHT = 50
WATCHED_SECONDS = 60
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.op
def first() -> int:
    return 0


@dg.op
def following(number: int) -> int:
    return number + 1


@dg.graph
def chain() -> None:
    number = first()
    for _ in range(STEPS - 1):
        number = following(number)


def on_slurm() -> dg.JobDefinition:
    return cast("Any", chain).to_job(name="on_slurm", executor_def=slurm_executor(Settings.from_environment))


def beside() -> dg.JobDefinition:
    return cast("Any", chain).to_job(name="beside", executor_def=dg.multiprocess_executor)


class CountingTransport(LocalTransport):
    """Counts commands by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def run(self, command: Sequence[str], stdin: str = "", timeout: float = 30) -> Completed:
        self.calls[command[0]] += 1
        return super().run(command, stdin, timeout)


def seconds_a_step(job: Callable[[], dg.JobDefinition], instance: dg.DagsterInstance) -> dict[str, float]:
    """Medians over the steps of a run: from one step's end to the next one's, and its parts, in seconds."""
    result = dg.execute_job(dg.reconstructable(job), instance=instance, run_config=QUIET)
    assert result.success, "The run failed: see the instance's event log."  # noqa: S101
    times: dict[str, dict[str, float]] = {}
    for record in instance.get_records_for_run(result.run_id).records:
        event = record.event_log_entry.dagster_event
        if event and event.step_key:
            times.setdefault(event.step_key, {}).setdefault(event.event_type_value, record.timestamp)
    steps = sorted(times.values(), key=lambda step: step["STEP_START"])
    ends = [step["STEP_SUCCESS"] for step in steps]
    return {
        "a step": median(end - before for before, end in pairwise(ends)),
        "submit to start": median(step["STEP_START"] - step["STEP_WORKER_STARTING"] for step in steps),
        "end to seen": median(after["STEP_WORKER_STARTING"] - end for end, after in zip(ends, steps[1:], strict=False)),
    }


def calls_a_minute(site: Site, folder: Path) -> dict[str, float]:
    """Slurm commands a minute by name, while 50 jobs are followed; the ones that submit them are left out."""
    sleeper = folder / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    transport = CountingTransport()
    tracker = JobTracker(site, SlurmClient(transport), always(None))
    one = Step("benchmark", "", 1, "sleep", "benchmark", StepResources(), "", str(sleeper), str(folder))
    steps = [replace(one, key=f"step_{number}") for number in range(IN_FLIGHT)]
    for step in steps:
        tracker.launch(step)
    while transport.calls["sbatch"] < IN_FLIGHT:
        time.sleep(0.1)
    transport.calls.clear()
    time.sleep(WATCHED_SECONDS)
    counted = {name: calls * 60 / WATCHED_SECONDS for name, calls in transport.calls.items()}
    for step in steps:
        tracker.cancel(step)
    tracker.close(30)
    return counted


def measure(folder: Path) -> list[Row]:
    """All figures, on a cluster that is started and stopped in a folder."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ["DAGSTER_HOME"], os.environ["C4_HOME"] = str(home), str(folder / "c4")
    environment = folder / "environment"
    environment.write_text(f"PYTHONPATH={PROJECT}\n")
    settings = {"folder": str(folder / "jobs"), "environment_file": str(environment)}
    site = Site.model_validate(settings)
    os.environ |= {variable_of(key): value for key, value in flat({"slurm": settings}).items()}
    cluster = Cluster(folder / "cluster", Shape(cpus=32))
    try:
        cluster.start()
        os.environ["SLURM_CONF"] = str(cluster.conf)
        with dg.DagsterInstance.get() as instance:
            slurm, local = seconds_a_step(on_slurm, instance), seconds_a_step(beside, instance)
        calls = calls_a_minute(site, folder)
    finally:
        cluster.stop()
    rows = [Row(f"{name}, Slurm", round(slurm[name], 2), "s", round(local[name] / slurm[name], 2)) for name in slurm]
    rows += [Row(f"{name}, multiprocess", round(local[name], 2), "s", 1.0) for name in local]
    total = sum(calls.values())
    name = f"questions to Slurm with {IN_FLIGHT} steps in flight ({', '.join(sorted(calls))})"
    one_a_step = IN_FLIGHT * 60 / site.poll_seconds
    return [*rows, Row(name, round(total, 1), "a minute", round(one_a_step / total, 1))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What Slurm costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    report("slurm", "Dagster's multiprocess executor; for questions: one a step and poll", rows, arguments.json)


if __name__ == "__main__":
    main()
