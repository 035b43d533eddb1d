"""Steps for the tests: small, and they import little but Dagster, because every step is a process of its own."""

import os
import signal
import sys
import time
from pathlib import Path

import dagster as dg

from resources.executors.slurm.executor import slurm_executor
from resources.executors.step_resources import StepResources
from resources.settings import Settings
from testing.dagster_types import job

on_slurm = slurm_executor(Settings.from_environment)

RETRY_ONCE = dg.RetryPolicy(max_retries=1)


class Work(dg.Config):
    """What a step does: notes each of its starts in a folder, waits, and may end wrong the first time.

    ``says`` is printed on both outputs. ``first`` is what the first start does instead: ``kill`` (itself, by signal 9)
    or wait for ``first_seconds``.
    """

    folder: str
    seconds: float = 0.0
    first: str = ""
    first_seconds: float = 60.0
    says: str = ""


def do(work: Work, name: str) -> None:
    starts = Path(work.folder) / f"{name}.starts"
    with starts.open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('SLURM_JOB_ID')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    if work.says:
        print(work.says, flush=True)
        print(work.says, file=sys.stderr, flush=True)
    if len(starts.read_text().splitlines()) == 1 and work.first:
        if work.first == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(work.first_seconds)
    else:
        time.sleep(work.seconds)
    with (Path(work.folder) / f"{name}.ends").open("a") as file:
        file.write(f"{os.getpid()}\n")


@dg.op(tags=StepResources(gpus=1, cpus=2, memory_gb=0.5, minutes=5).as_tag())
def on_a_gpu(config: Work) -> int:
    do(config, "on_a_gpu")
    return 1


@dg.op(tags=StepResources(where="here").as_tag())
def beside_the_run_worker(config: Work, upstream: int) -> None:
    assert upstream == 1
    do(config, "beside_the_run_worker")


@dg.op(tags=StepResources(minutes=1).as_tag())
def alone(config: Work) -> None:
    do(config, "alone")


@dg.op(tags=StepResources(minutes=1).as_tag(), retry_policy=RETRY_ONCE)
def tried_twice(config: Work) -> None:
    do(config, "tried_twice")


@dg.op(tags=StepResources(gpus=9).as_tag(), retry_policy=RETRY_ONCE)
def impossible(config: Work) -> None:
    do(config, "impossible")


@dg.op(tags=StepResources(where="here").as_tag())
def here(config: Work) -> None:
    do(config, "here")


@dg.op(out=dg.DynamicOut(int), tags=StepResources(where="here").as_tag())
def numbers() -> "list[dg.DynamicOutput[int]]":
    return [dg.DynamicOutput(number, mapping_key=str(number)) for number in range(2)]


@dg.op(tags=StepResources(minutes=1).as_tag())
def mapped(number: int) -> int:
    return number


@job(on_slurm)
def two_steps() -> None:
    beside_the_run_worker(on_a_gpu())


@job(on_slurm)
def one_step() -> None:
    alone()


@job(on_slurm)
def one_step_tried_twice() -> None:
    tried_twice()


@job(on_slurm)
def one_impossible_step() -> None:
    impossible()


@job(on_slurm)
def one_step_here() -> None:
    here()


@job(on_slurm)
def mapped_steps() -> None:
    numbers().map(mapped)
