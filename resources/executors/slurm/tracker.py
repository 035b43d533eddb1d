"""Follows the jobs of a run in one thread, so that whoever runs the steps never waits for Slurm.

A job is lost only when Slurm says so while it answers: an unreachable controller, a login node that restarts and states
that this module does not know all mean that the job may run on. Time is told in seconds of a monotonic clock.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from resources.atomic_write import whole_file
from resources.errors import C4Error, Unavailable
from resources.executors.slurm.client import SlurmClient, SubmissionRefused
from resources.executors.slurm.job import Job, JobEnd
from resources.executors.slurm.script import JobScript, Step, write_script
from resources.executors.slurm.site import Site

log = logging.getLogger("c4.slurm")

SETTLING = 5.0
"""Seconds between a job's end and its step's failure: the step's own last event may still be on its way."""

Report = Callable[[Step, str, Mapping[str, object]], None]
"""Tells the operator what became of a step: a sentence, and facts by name."""


@dataclass(frozen=True)
class Failure:
    """Why a step failed without saying so itself, and whether its retry policy may try it again."""

    reason: str
    retry: bool = True


@dataclass(eq=False)
class Followed:
    """A step and its job, from the wish to submit it to its end."""

    step: Step
    script: JobScript
    job_id: str | None = None
    job: Job | None = None
    look_up_first: bool = False
    """Whether a job of this name may exist already: it is looked up before one is submitted."""
    not_before: float = 0.0
    missing_since: float | None = None
    end: JobEnd | None = None
    ended_at: float = 0.0
    failure: Failure | None = None
    cancel: bool = False
    step_ended_at: float | None = None
    dropped: bool = False

    @property
    def over(self) -> bool:
        return self.end is not None or self.failure is not None or self.dropped


class JobTracker:
    """Submits the jobs of one run's steps, polls them all with one question, and says which steps have failed."""

    def __init__(self, site: Site, client: SlurmClient, report: Report, records: Path | None = None) -> None:
        self._site, self._client, self._report, self._records = site, client, report, records
        self._followed: dict[tuple[str, int], Followed] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._stopped = threading.Event()
        self._next_poll = 0.0
        self._silent_since: float | None = None
        self._in_silence: list[Followed] = []
        self._thread: threading.Thread | None = None

    def launch(self, step: Step) -> None:
        """Takes a step in charge; it is submitted at once, in the background.

        Raises:
            ConfigurationError: the site's options do not fit.
        """
        self._follow(Followed(step, write_script(step, self._site)))

    def attach(self, step: Step, job_id: str | None) -> None:
        """Takes charge of a step that an earlier run worker began: its job, or a new one if it never came to that."""
        self._follow(Followed(step, write_script(step, self._site), job_id, look_up_first=True))

    def follows(self, step: Step) -> bool:
        return (step.key, step.attempt) in self._followed

    def cancel(self, step: Step) -> None:
        """Asks for the end of a step's job; :meth:`close` waits for it."""
        if followed := self._followed.get((step.key, step.attempt)):
            followed.cancel = True
            self._wake.set()

    def step_ended(self, key: str) -> None:
        """Takes note that Dagster knows how a step ended: its job should end by itself now."""
        for followed in list(self._followed.values()):
            if followed.step.key == key and followed.step_ended_at is None:
                followed.step_ended_at = time.monotonic()

    def failure(self, step: Step) -> Failure | None:
        """Why the step has failed, or None while it may still run or its own last event may still come."""
        followed = self._followed[step.key, step.attempt]
        if followed.failure or followed.end is None:
            return followed.failure
        since = time.monotonic() - followed.ended_at
        end, where = followed.end, f"Its output is in {followed.script.out} and {followed.script.err.name}."
        if end.succeeded and since > self._site.grace_seconds:
            return Failure(
                f"Slurm job {end.job_id} ended well, but {self._site.grace_seconds:g} s later Dagster has no word of "
                f"how the step ended. Can compute nodes reach the Dagster instance (c4 slurm check)? {where}"
            )
        if not end.succeeded and since > min(SETTLING, self._site.grace_seconds):
            return Failure(f"Slurm job {end.job_id} on {end.nodes or 'no node'} failed: {_why(followed, end)}. {where}")
        return None

    def close(self, patience: float) -> None:
        """Waits until the jobs of ended and cancelled steps have left Slurm, at most that many seconds, and stops."""
        deadline = time.monotonic() + patience
        self._closing.set()
        self._wake.set()
        while time.monotonic() < deadline and any(self._is_leaving(one) for one in self._followed.values()):
            time.sleep(0.1)
        self._stopped.set()
        self._wake.set()
        if self._thread:
            self._thread.join(patience)
        for followed in self._followed.values():
            if followed.cancel and not followed.over and followed.job_id:
                self._tell(followed, f"Slurm job {followed.job_id} could not be cancelled: scancel {followed.job_id}.")
        self._client.transport.close()

    def _is_leaving(self, followed: Followed) -> bool:
        return not followed.over and (followed.cancel or followed.step_ended_at is not None)

    def _follow(self, followed: Followed) -> None:
        self._followed[followed.step.key, followed.step.attempt] = followed
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="slurm", daemon=True)
            self._thread.start()
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            pause = 0.5 if self._closing.is_set() else self._site.poll_seconds
            try:
                self._turn(pause)
            except Exception:  # the thread must live on: without it no step would ever end
                log.exception("Slurm jobs could not be followed; trying again")
            self._wake.wait(max(0.05, min(pause, self._next_poll - time.monotonic())))
            self._wake.clear()

    def _turn(self, pause: float) -> None:
        now = time.monotonic()
        open_ones = [followed for followed in list(self._followed.values()) if not followed.over]
        for followed in open_ones:
            if followed.job_id is None and (now >= followed.not_before or followed.cancel):
                self._place(followed)
        self._cancel([followed for followed in open_ones if followed.cancel and followed.job_id])
        if now >= self._next_poll or self._closing.is_set():
            self._next_poll = now + pause
            self._poll([followed for followed in open_ones if followed.job_id])

    def _place(self, followed: Followed) -> None:
        """Submits a job, or finds the one that an unsure submission or an earlier run worker left."""
        try:
            if followed.look_up_first and self._find(followed):
                return
            if followed.cancel or followed.step_ended_at is not None:
                followed.dropped = True
                return
            self._submit(followed)
        except Unavailable as error:
            # Whether the job was submitted is not known. A controller may accept it some seconds after giving up on us.
            followed.look_up_first = True
            followed.not_before = time.monotonic() + self._site.resubmit_seconds
            self._unreachable(str(error), [followed])
        except C4Error as error:
            followed.failure = Failure(str(error), retry=False)

    def _submit(self, followed: Followed) -> None:
        self._client.write_file(followed.script.path, followed.script.text)
        try:
            followed.job_id = self._client.submit(followed.script.path)
        except SubmissionRefused as error:
            # No message is proof that there is no job: only its name is.
            if not self._find(followed):
                reason = f"{error} It asked for {asked_for(followed.script)}."
                followed.failure = Failure(reason, retry=False)
            return
        self._tell(followed, f"Submitted as Slurm job {followed.job_id}: {asked_for(followed.script)}.")

    def _find(self, followed: Followed) -> bool:
        jobs = self._client.find(followed.script.name)
        ended = self._client.read_files([followed.script.exit_code])
        if not jobs and not ended:
            return False
        ids = [job.job_id for job in jobs] or [ended[followed.script.exit_code].split()[0]]
        followed.job_id = ids[0]
        self._tell(followed, f"Found as Slurm job {ids[0]}, submitted before.")
        if twins := ids[1:]:
            self._client.cancel(twins)
            self._tell(followed, f"Cancelled Slurm job {', '.join(twins)}: the same step was submitted twice.")
        return True

    def _cancel(self, unwanted: list[Followed]) -> None:
        try:
            self._client.cancel([followed.job_id for followed in unwanted if followed.job_id])
        except C4Error as error:
            self._unreachable(str(error), unwanted)

    def _poll(self, active: list[Followed]) -> None:
        if not active:
            return
        try:
            poll = self._client.poll([followed.job_id for followed in active if followed.job_id])
            if poll.unreachable:
                self._unreachable(poll.unreachable, active)
                return
            self._reachable()
            gone = [followed for followed in active if not self._is_active(followed, poll.jobs)]
            self._settle(gone)
        except C4Error as error:
            self._unreachable(str(error), active)

    def _is_active(self, followed: Followed, jobs: Mapping[str, Job]) -> bool:
        job = jobs.get(followed.job_id or "")
        # A controller that lost its state counts from 1 again: the name tells our job from a stranger's.
        if job is None or job.name != followed.script.name:
            return False
        if job.ended:
            followed.job = job
            return False
        self._active(followed, job)
        return True

    def _active(self, followed: Followed, job: Job) -> None:
        before, followed.job, followed.missing_since = followed.job, job, None
        of_interest = job.state != "COMPLETING" and (job.state, job.reason) != ("PENDING", "None")
        if of_interest and (before is None or before.in_words() != job.in_words()):
            self._tell(followed, f"Slurm job {job.job_id} {job.in_words()}.")
        ended = followed.step_ended_at
        if ended is not None and not followed.cancel and time.monotonic() - ended > self._site.grace_seconds:
            self._tell(followed, f"Slurm job {job.job_id} did not end with its step: cancelling it.")
            followed.cancel = True

    def _settle(self, gone: list[Followed]) -> None:
        """Finds out how jobs ended that are over, or that Slurm does not know any more."""
        if not gone:
            return
        ends = self._client.ends([followed.job_id for followed in gone if followed.job_id])
        codes = self._client.read_files([followed.script.exit_code for followed in gone])
        for followed in gone:
            job_id = followed.job_id or ""
            end = ends.get(job_id)
            if end and end.name != followed.script.name:
                end = None
            if end is None and followed.job and followed.job.ended:
                end = JobEnd(job_id, followed.job.name, followed.job.state, nodes=followed.job.nodes)
            end = end or _from_script(followed, codes.get(followed.script.exit_code))
            if end:
                self._finish(followed, end)
                continue
            now = time.monotonic()
            followed.missing_since = followed.missing_since or now
            if now - followed.missing_since > self._site.grace_seconds:
                followed.failure = Failure(
                    f"Slurm does not know job {job_id} any more, and the job left no exit code in "
                    f"{followed.script.exit_code}: its node may have failed."
                )

    def _finish(self, followed: Followed, end: JobEnd) -> None:
        followed.ended_at = time.monotonic()
        followed.end = end
        facts = _facts(followed, end)
        self._tell(followed, f"Slurm job {end.job_id} is over: {_why(followed, end)}.", facts)
        if self._records:
            path = self._records / followed.step.run_id / f"{followed.script.name}.json"
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps({**_identity(followed), **facts}, indent=1))

    def _unreachable(self, why: str, steps: list[Followed]) -> None:
        """Says once of each step that Slurm does not answer."""
        self._silent_since = self._silent_since or time.monotonic()
        for followed in steps:
            if followed not in self._in_silence:
                self._in_silence.append(followed)
                self._tell(followed, f"Slurm does not answer: {why} Its jobs may run on; asking again.")

    def _reachable(self) -> None:
        if self._silent_since is not None:
            seconds = time.monotonic() - self._silent_since
            for followed in self._in_silence:
                self._tell(followed, f"Slurm answers again after {seconds:.0f} s.")
            self._silent_since = None
            self._in_silence.clear()

    def _tell(self, followed: Followed, message: str, facts: Mapping[str, object] | None = None) -> None:
        script = followed.script
        files = {"script": str(script.path), "stdout": str(script.out), "stderr": str(script.err)}
        self._report(followed.step, message, {**_identity(followed), **(facts or {}), **files})


def asked_for(script: JobScript) -> str:
    """What a job asks for, in words: ``1 GPU, 8 CPUs, 32 GB, 240 min``."""
    resources = script.resources
    parts = [
        f"{resources.gpus} GPU{'s' if resources.gpus > 1 else ''}" if resources.gpus else "",
        f"{resources.cpus} CPU{'s' if resources.cpus > 1 else ''}",
        f"{resources.memory_gb:g} GB" if resources.memory_gb else "",
        f"{resources.minutes} min" if resources.minutes else "",
    ]
    return ", ".join(part for part in parts if part)


def _identity(followed: Followed) -> dict[str, object]:
    step = followed.step
    return {
        "slurm_job": followed.job_id or "",
        "name": followed.script.name,
        "run": step.run_id,
        "step": step.key,
        "attempt": step.attempt,
    }


def _facts(followed: Followed, end: JobEnd) -> dict[str, object]:
    """What is known of a job's end; what is not known is left out."""
    resources, elapsed = followed.script.resources, end.elapsed_seconds
    facts: dict[str, object | None] = {
        "state": end.state,
        "reason": _why(followed, end),
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


def _why(followed: Followed, end: JobEnd) -> str:
    resources = followed.script.resources
    if followed.cancel and end.state == "CANCELLED":
        return "it was cancelled by Dagster"
    if end.state == "TIMEOUT" and resources.minutes:
        return f"{end.in_words()} (it asked for {resources.minutes} min)"
    if end.state == "OUT_OF_MEMORY" and resources.memory_gb:
        return f"{end.in_words()} (it asked for {resources.memory_gb:g} GB)"
    return end.in_words()


def _from_script(followed: Followed, line: str | None) -> JobEnd | None:
    """How a forgotten job ended, from the exit code that its script left."""
    job_id, _, code = (line or "").partition(" ")
    if job_id != followed.job_id or not code.isdigit():
        return None
    state = "FAILED" if int(code) else "COMPLETED"
    nodes = followed.job.nodes if followed.job else ""
    return JobEnd(job_id, followed.script.name, state, int(code), nodes=nodes)
