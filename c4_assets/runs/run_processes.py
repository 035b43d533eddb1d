"""The process of each run: noted when it begins to work, with a sign of life for those who cannot look at it.

The notes are values of Dagster's run storage, beside the runs. Not tags: a repeated run inherits those, and writing one
may undo another process's.
"""

import json
import logging
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from c4_assets.runs.dagster_storage import forget_values
from resources.process_identity import ProcessIdentity

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig

log = logging.getLogger("c4.runs")

SIGN_OF_LIFE_S = 30.0
"""Seconds between two signs of life."""

PROCESS_KEY = "c4/process_of_run/{run_id}"
SUSPECTED_KEY = "c4/run_suspected/{run_id}"


@dataclass(frozen=True)
class RunProcess:
    """The process of a run, and when it last gave a sign of life (seconds since 1970, by its own clock)."""

    process: ProcessIdentity
    alive_at: float


@contextmanager
def process_noted(instance: dg.DagsterInstance, run_id: str) -> Generator[None]:
    """Notes that this process works on a run, and gives signs of life, while the block runs.

    Nobody else can look into an instance in memory, so that nothing is noted there.
    """
    if instance.is_ephemeral:
        yield
        return
    over, here = Event(), ProcessIdentity.of_this_process()
    _note(instance, run_id, here)

    def live() -> None:
        while not over.wait(SIGN_OF_LIFE_S):
            try:
                _note(instance, run_id, here)
            except Exception as error:  # whatever Dagster's database fails with; the next sign may reach it
                log.debug("run %s could not give a sign of life: %s", run_id, error)

    signs = Thread(target=live, name="signs of life", daemon=True)
    signs.start()
    try:
        yield
    finally:
        over.set()
        signs.join(SIGN_OF_LIFE_S)
        with suppress(Exception):  # a note of a run that is over disturbs nobody
            forget_processes(instance, [run_id])


def processes_of(instance: dg.DagsterInstance, run_ids: Collection[str]) -> dict[str, RunProcess]:
    """The processes that were noted for runs. One that cannot be read (of another release) is left out."""
    if not run_ids:
        return {}
    keys = {PROCESS_KEY.format(run_id=run_id): run_id for run_id in run_ids}
    found: dict[str, RunProcess] = {}
    for key, text in instance.run_storage.get_cursor_values(set(keys)).items():
        with suppress(ValueError, TypeError, KeyError):
            noted = json.loads(text)
            found[keys[key]] = RunProcess(ProcessIdentity(**noted["process"]), float(noted["alive_at"]))
    return found


def forget_processes(instance: dg.DagsterInstance, run_ids: Collection[str]) -> None:
    """Deletes what was noted of the processes of runs that are over."""
    forget_values(instance, [key.format(run_id=run_id) for run_id in run_ids for key in (PROCESS_KEY, SUSPECTED_KEY)])


def _note(instance: dg.DagsterInstance, run_id: str, process: ProcessIdentity) -> None:
    noted = json.dumps({"process": asdict(process), "alive_at": time.time()})
    instance.run_storage.set_cursor_values({PROCESS_KEY.format(run_id=run_id): noted})


class _NotingExecutor(dg.Executor):
    """Another executor, with the run's process noted while it works."""

    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Generator["DagsterEvent"]:
        with process_noted(plan_context.instance, plan_context.run_id):
            yield from self._executor.execute(plan_context, execution_plan)

    @property
    def retries(self) -> "RetryMode":
        return self._executor.retries

    @property
    def step_dependency_config(self) -> "StepDependencyConfig":
        return self._executor.step_dependency_config


def noting_processes(executor: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The executor, whose runs' processes are noted (:func:`process_noted`)."""
    create = executor.executor_creation_fn
    assert create  # noqa: S101 (Dagster's own executors and C4's have one)
    return dg.ExecutorDefinition(
        name=executor.name,
        config_schema=cast("Any", executor.config_schema),  # Dagster takes its own kind of it as well
        requirements=executor.get_requirements,
        executor_creation_fn=lambda context: _NotingExecutor(create(context)),
        description=executor.description,
    )
