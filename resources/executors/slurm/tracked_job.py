"""A step and its job, and what is told of them. Nothing in this module calls Slurm."""

from dataclasses import dataclass, field

from resources.executors.slurm.job import Job, JobEnd
from resources.executors.slurm.script import JobScript, Step


@dataclass(frozen=True)
class StepFailure:
    """Why a step failed without an event of its own, and whether its retry policy applies."""

    reason: str
    retry: bool = True


@dataclass(eq=False)
class TrackedJob:
    """A step and its job, from submission to the end."""

    step: Step
    script: JobScript
    job_id: str | None = None
    job: Job | None = None
    look_up_first: bool = False
    """Whether a job of this name may exist already. It is looked up before one is submitted."""
    not_before: float = 0.0
    missing_since: float | None = None
    end: JobEnd | None = None
    ended_at: float = 0.0
    failure: StepFailure | None = None
    cancel: bool = False
    twins: list[str] = field(default_factory=list[str])
    """Jobs of the same name that are to be cancelled."""
    step_ended_at: float | None = None
    dropped: bool = False

    @property
    def over(self) -> bool:
        return self.end is not None or self.failure is not None or self.dropped


def asked_for(script: JobScript) -> str:
    """A text of what a job asks for: ``1 GPU, 8 CPUs, 32 GB, 240 min``."""
    resources = script.resources
    parts = [
        f"{resources.gpus} GPU{'s' if resources.gpus > 1 else ''}" if resources.gpus else "",
        f"{resources.cpus} CPU{'s' if resources.cpus > 1 else ''}",
        f"{resources.memory_gb:g} GB" if resources.memory_gb else "",
        f"{resources.minutes} min" if resources.minutes else "",
    ]
    return ", ".join(part for part in parts if part)


def identity_of(tracked: TrackedJob) -> dict[str, object]:
    """Which job of which step something is told of."""
    step = tracked.step
    return {
        "slurm_job": tracked.job_id or "",
        "name": tracked.script.name,
        "run": step.run_id,
        "step": step.key,
        "attempt": step.attempt,
    }


def facts_of(tracked: TrackedJob, end: JobEnd) -> dict[str, object]:
    """Metadata about a job's end; what is unknown is left out."""
    resources, elapsed = tracked.script.resources, end.elapsed_seconds
    facts: dict[str, object | None] = {
        "state": end.state,
        "reason": end_reason(tracked, end),
        "node": end.nodes or None,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "queue_seconds": end.queue_seconds,
        "elapsed_seconds": elapsed,
        "max_memory_mb": end.max_memory_mb,
        "gpu_hours": None if elapsed is None else round(resources.gpus * elapsed / 3600, 4),
        "submitted": end.submitted.isoformat() if end.submitted else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def end_reason(tracked: TrackedJob, end: JobEnd) -> str:
    """Why a job ended, with what it had asked for where that ran out."""
    resources = tracked.script.resources
    if tracked.cancel and end.state == "CANCELLED":
        return "it was cancelled by Dagster"
    if end.state == "TIMEOUT" and resources.minutes:
        return f"{end.describe()} (it asked for {resources.minutes} min)"
    if end.state == "OUT_OF_MEMORY" and resources.memory_gb:
        return f"{end.describe()} (it asked for {resources.memory_gb:g} GB)"
    return end.describe()


def end_from_script(tracked: TrackedJob, line: str | None) -> JobEnd | None:
    """How a job ended that Slurm has forgotten, from the exit code that its script wrote."""
    job_id, _, code = (line or "").partition(" ")
    if job_id != tracked.job_id or not code.isdigit():
        return None
    state = "FAILED" if int(code) else "COMPLETED"
    nodes = tracked.job.nodes if tracked.job else ""
    return JobEnd(job_id, tracked.script.name, state, int(code), nodes=nodes)
