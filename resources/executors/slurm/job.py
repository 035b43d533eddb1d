"""The state and the end of a Slurm job, and sentences about them. Nothing in this module calls Slurm."""

import re
from dataclasses import dataclass
from datetime import datetime

ENDED_STATES = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)
"""States that a job does not leave. In any other state, also one of a later version of Slurm, the job may still run:
taking it for lost would start its step twice."""

WAITING_REASONS = {
    "Resources": "the resources that it asks for are in use",
    "Priority": "other jobs come first",
    "None": "Slurm has not looked at it yet",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "it waits for a job that failed and will never start: cancel it",
    "JobHeldUser": "somebody holds it (scontrol release)",
    "JobHeldAdmin": "an administrator holds it",
    "BeginTime": "its start time is not reached",
    "Licenses": "a licence is not free",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs now",
    "PartitionTimeLimit": "it asks for more minutes than the partition allows: it will not start",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows: it will not start",
    "BadConstraints": "no node has what it asks for: it will not start",
    "ReqNodeNotAvail": "a node that it needs is down or reserved",
    "Reservation": "its reservation has not begun",
    "InvalidAccount": "the account is not valid: it will not start",
    "InvalidQOS": "the quality of service is not valid: it will not start",
}

END_REASONS = {
    "TIMEOUT": "it ran out of time",
    "DEADLINE": "it could not end before its deadline",
    "OUT_OF_MEMORY": "it ran out of memory",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "it was preempted by a job that comes first",
    "REVOKED": "another cluster took it over",
}

SIGNAL_NAMES = {1: "HUP", 2: "INT", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 15: "TERM", 24: "XCPU"}


@dataclass(frozen=True)
class Job:
    """A job in the queue, or one that has ended a short while ago."""

    job_id: str
    name: str
    state: str
    nodes: str
    reason: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED_STATES

    def describe(self) -> str:
        """A sentence for the operator about what the job does now."""
        if self.state == "PENDING":
            return f"is waiting: {describe_waiting(self.reason)}"
        if self.state == "RUNNING":
            return f"runs on {self.nodes}"
        return f"is {self.state.lower().replace('_', ' ')}" + (f" on {self.nodes}" if self.nodes else "")


@dataclass(frozen=True)
class JobEnd:
    """How a job ended. What Slurm did not tell is ``None``; times are in seconds, memory in MiB."""

    job_id: str
    name: str
    state: str
    exit_code: int | None = None
    signal: int | None = None
    nodes: str = ""
    submitted: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    max_memory_mb: float | None = None
    cancelled_by: str | None = None

    @property
    def queue_seconds(self) -> float | None:
        return _seconds(self.submitted, self.started or self.ended)

    @property
    def elapsed_seconds(self) -> float | None:
        return _seconds(self.started, self.ended)

    @property
    def succeeded(self) -> bool:
        return self.state == "COMPLETED"

    def describe(self) -> str:
        """Why the job ended, for the operator: ``it ran out of time``."""
        if self.state == "CANCELLED":
            return f"it was cancelled by {self.cancelled_by}" if self.cancelled_by else "it was cancelled"
        if self.state in END_REASONS:
            return END_REASONS[self.state]
        # A shell reports the signal of a child as 128 + its number; Slurm reports only that of the script itself.
        signal = self.signal or (self.exit_code - 128 if self.exit_code and 128 < self.exit_code < 160 else None)
        if signal:
            name = f" (SIG{SIGNAL_NAMES[signal]})" if signal in SIGNAL_NAMES else ""
            hint = ", which is also what the kernel does when memory runs out" if signal == 9 else ""
            return f"it was killed by signal {signal}{name}{hint}"
        if self.exit_code:
            return f"it ended with exit code {self.exit_code}"
        return "it ended well" if self.succeeded else f"Slurm says {self.state}"


def describe_waiting(reason: str) -> str:
    """Why a job waits. Slurm's own reason stands in brackets, because administrators ask for it."""
    word = reason.strip("()").split(",")[0].strip()
    if words := WAITING_REASONS.get(word):
        return f"{words} ({word})"
    if re.match(r"(Assoc|QOS).*(Limit|Max|Grp)", word):
        return f"the account or its quality of service has reached a limit ({word})"
    return word or WAITING_REASONS["None"]


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
