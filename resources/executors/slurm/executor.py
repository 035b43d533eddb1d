"""``slurm_executor``: runs each step of a run as a Slurm job, or beside the run worker where its tag says so.

It adds to Dagster's ``StepDelegatingExecutor`` a filter of stragglers: when a node is lost, its processes may run on,
and what such a first attempt writes into the event log must not end the second one.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._grpc.types import ExecuteStepArgs
from dagster_shared.error import SerializableErrorInfo

from resources.executors.local_steps import LocalSteps
from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.script import ARGUMENTS_VARIABLE, Step
from resources.executors.slurm.shared_files import refuse_sqlite_on_network_file_system
from resources.executors.slurm.site import configured_site, open_transport, plan_step
from resources.executors.slurm.step_output import show_output
from resources.executors.slurm.tracker import JobTracker, ReadOutput
from resources.executors.step_resources import StepResources
from resources.file_lock import refuse_folder_without_locks
from resources.settings import Settings, Site

CLOSE_TIMEOUT_S = 20.0
"""Seconds that the end of a run waits for its jobs to leave Slurm, so that the last one is reported as well."""


_dagster_event = cast("Any", DagsterEvent)
"""What makes Dagster's events, without its types, which leave parameters open."""


class SlurmStepHandler(StepHandler):
    """Dagster's side of the steps: reads what a step is, and writes what became of it into the event log.

    Args:
        settings: their home has a folder for records of jobs and the output of steps that run on this machine.
    """

    def __init__(self, site: Site, instance: dg.DagsterInstance, settings: Settings) -> None:
        local = settings.home / "slurm_jobs"
        self._settings_file = settings.file
        self._site, self._instance = site, instance
        self._run: DagsterRun | None = None
        self._jobs = JobTracker(site, SlurmClient(open_transport(site)), self._report, local, self._show_output)
        self._local_steps = LocalSteps(local)
        self._cancelled_locally: list[Step] = []
        self._failed: set[tuple[str, int]] = set()

    @property
    def name(self) -> str:
        return "SlurmStepHandler"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        step = self._step(step_handler_context)
        locally = self._runs_locally(step)
        yield _dagster_event.step_worker_starting(
            step_handler_context.get_step_context(step.key),
            message=f"Starting step {step.key} beside the run worker."
            if locally
            else f"Submitting step {step.key} to Slurm.",
            metadata={"attempt": step.attempt},
        )
        if locally:
            pid = self._local_steps.launch(step)
            facts = {"pid": pid, "host": os.uname().nodename, "attempt": step.attempt}
            self._report(step, f"Runs as process {pid}.", {**facts, "output": str(self._local_steps.output(step))})
        else:
            self._jobs.launch(step)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        step = self._step(step_handler_context)
        if self._runs_locally(step):
            if not self._local_steps.tracks(step):
                facts = self._reported_facts(step, "pid")
                self._local_steps.attach(
                    step, cast("int | None", facts.get("pid")), cast("str | None", facts.get("host"))
                )
            reason = self._local_steps.failure(step)
            return CheckStepHealthResult.unhealthy(reason) if reason else CheckStepHealthResult.healthy()
        if not self._jobs.tracks(step):  # the run worker was restarted
            self._jobs.attach(step, cast("str | None", self._reported_facts(step, "slurm_job").get("slurm_job")))
        failure = self._jobs.failure(step)
        if failure is None or (step.key, step.attempt) in self._failed:
            return CheckStepHealthResult.healthy()
        self._failed.add((step.key, step.attempt))
        if failure.retry:
            return CheckStepHealthResult.unhealthy(failure.reason)
        # A retry policy is for what may go better next time. Dagster has no word for that in a health check.
        _dagster_event.step_failure_event(
            step_handler_context.get_step_context(step.key),
            StepFailureData(error=SerializableErrorInfo(failure.reason, [], None), user_failure_data=None),
        )
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        step = self._step(step_handler_context)
        yield DagsterEvent.engine_event(
            step_handler_context.get_step_context(step.key), f"Ending step {step.key}.", EngineEventData()
        )
        if not self._runs_locally(step):
            self._jobs.cancel(step)
        elif self._local_steps.tracks(step):
            self._cancelled_locally.append(step)
            self._local_steps.cancel(step)

    def step_ended(self, key: str) -> None:
        """Takes note that the event log tells how a step ended."""
        self._jobs.step_ended(key)

    def close(self) -> None:
        """Waits for jobs to leave Slurm, reports how they ended, and stops tracking."""
        self._local_steps.close(self._cancelled_locally, CLOSE_TIMEOUT_S / 2)
        self._jobs.close(CLOSE_TIMEOUT_S)

    def _runs_locally(self, step: Step) -> bool:
        resources, _ = plan_step(self._site, step.name, step.resources, step.backfill)
        return resources.where == "here"

    def _step(self, context: StepHandlerContext) -> Step:
        self._run = context.dagster_run
        arguments = context.execute_step_args
        [key] = arguments.step_keys_to_execute or []
        plan_step = context.get_step_context(key).step
        known = arguments.known_state
        origin = arguments.job_origin
        return Step(
            run_id=arguments.run_id,
            key=key,
            attempt=(known.get_retry_state().get_attempt_count(key) if known else 0) + 1,
            name=plan_step.op_name,
            job=self._run.job_name,
            resources=StepResources.from_tags(plan_step.tags, key),
            arguments=_packed_arguments(arguments),
            python=origin.executable_path,
            dagster_home=os.environ.get("DAGSTER_HOME") or self._instance.root_directory,
            working_directory=getattr(origin.repository_origin.code_pointer, "working_directory", None),
            backfill=BACKFILL_ID_TAG in self._run.tags,
            settings_file=self._settings_file,
        )

    def _report(self, step: Step, message: str, facts: Mapping[str, Any]) -> None:
        data = EngineEventData(metadata=dict(facts))
        self._instance.report_engine_event(message, self._run, data, step_key=step.key)

    def _show_output(self, step: Step, read: ReadOutput) -> None:
        if self._run:
            show_output(self._instance, self._run, step, read)

    def _reported_facts(self, step: Step, fact: str) -> dict[str, object]:
        """What an earlier run worker reported of a step's job or process: the newest metadata with this key."""
        for entry in reversed(self._instance.all_logs(step.run_id, of_type=DagsterEventType.ENGINE_EVENT)):
            event = entry.dagster_event
            if event and event.step_key == step.key:
                facts: dict[str, object] = {
                    name: value.value for name, value in event.engine_event_data.metadata.items()
                }
                if facts.get(fact) and facts.get("attempt") == step.attempt:
                    return facts
        return {}


def _packed_arguments(arguments: ExecuteStepArgs) -> str:
    """A step's arguments without the instance: its configuration may hold a password, and job scripts are readable.

    The step finds the instance by DAGSTER_HOME. Dagster's own check that a step has not started yet stays off: it
    refuses the retry of a step whose first job never started.
    """
    [variable] = ExecuteStepArgs(
        job_origin=arguments.job_origin,
        run_id=arguments.run_id,
        step_keys_to_execute=arguments.step_keys_to_execute,
        retry_mode=arguments.retry_mode,
        known_state=arguments.known_state,
        should_verify_step=False,
    ).get_command_env()
    assert variable["name"] == ARGUMENTS_VARIABLE  # noqa: S101 (Dagster is pinned)
    return variable["value"]


class StragglerFilter:
    """Drops what a process of an earlier attempt writes about its end, by the order of events and process ids."""

    def __init__(self) -> None:
        self._pids: dict[str, list[int | None]] = {}
        """Of each step: the process of each attempt so far; None until it has started."""
        self._in_flight: set[str] = set()

    def keep(self, event: DagsterEvent) -> bool:
        key = event.step_key
        if key is None:
            return True
        if event.event_type == DagsterEventType.STEP_WORKER_STARTING:
            self._pids.setdefault(key, []).append(None)
            self._in_flight.add(key)
        elif event.event_type == DagsterEventType.STEP_WORKER_STARTED and key in self._pids:
            self._pids[key][-1] = self._pids[key][-1] or event.pid
        elif event.is_step_success or event.is_step_failure or event.is_step_up_for_retry:
            if key not in self._in_flight or self._is_of_an_earlier_attempt(event, key):
                return False
            self._in_flight.discard(key)
        return not (event.is_resource_init_failure and self._is_of_an_earlier_attempt(event, key))

    def _is_of_an_earlier_attempt(self, event: DagsterEvent, key: str) -> bool:
        # Each machine counts process ids for itself: the newest attempt may have that of an earlier one.
        *earlier, newest = self._pids.get(key) or [None]
        return event.pid in earlier and event.pid != newest


class SlurmExecutor(StepDelegatingExecutor):
    """Dagster's executor, listening to each step's newest attempt only."""

    def __init__(self, handler: SlurmStepHandler, **options: Any) -> None:
        super().__init__(handler, **options)
        self._handler = handler
        self._stragglers = StragglerFilter()

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Generator[DagsterEvent, Any, None]:
        try:
            yield from super().execute(plan_context, execution_plan)
        finally:
            self._handler.close()

    def _pop_events(
        self, instance: dg.DagsterInstance, run_id: str, seen_storage_ids: set[int]
    ) -> Sequence[DagsterEvent]:
        events = [
            event for event in super()._pop_events(instance, run_id, seen_storage_ids) if self._stragglers.keep(event)
        ]
        for event in events:
            if event.step_key and (event.is_step_success or event.is_step_failure or event.is_step_up_for_retry):
                self._handler.step_ended(event.step_key)
        return events


def slurm_executor(read_settings: Callable[[], Settings]) -> dg.ExecutorDefinition:
    """An executor that runs each step as a Slurm job. ``docs/slurm.md`` tells how a site configures it.

    Args:
        read_settings: gives the deployment's settings when a run starts. The run raises :class:`ConfigurationError` if
            they cannot be used, or if the Dagster instance or the archive cannot be shared with a cluster.
    """

    @dg.executor(
        name="slurm",
        config_schema={
            "site": dg.Field(
                dg.Permissive(),
                default_value={},
                description="What this run asks Slurm for in place of what the section slurm says: partition, account, "
                "qos, nice, gpu_type, constraint and the resources.",
            ),
            "check_seconds": dg.Field(int, default_value=5, description="How often a step's fate is looked at."),
            "retries": get_retries_config(),
            "max_concurrent": dg.Field(dg.Noneable(int), default_value=None, description="Steps of a run at a time."),
            "tag_concurrency_limits": get_tag_concurrency_limits_config(),
        },
        requirements=multiple_process_executor_requirements(),
    )
    def slurm(context: dg.InitExecutorContext) -> SlurmExecutor:
        config, settings = context.executor_config, read_settings()
        refuse_sqlite_on_network_file_system(context.instance)
        refuse_folder_without_locks(settings.archive)
        site = configured_site(settings.slurm, cast("Mapping[str, Any]", config["site"]))
        return SlurmExecutor(
            SlurmStepHandler(site, context.instance, settings),
            retries=cast("Any", RetryMode).from_config(config["retries"]),
            check_step_health_interval_seconds=config["check_seconds"],
            max_concurrent=config["max_concurrent"],
            tag_concurrency_limits=config.get("tag_concurrency_limits"),
        )

    return slurm
