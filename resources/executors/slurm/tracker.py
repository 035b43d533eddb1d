"""Tracks the jobs of a run in one thread, so that the executor never waits for Slurm.

A job counts as lost only if Slurm answers and does not know it. With an unreachable controller, a login node that
restarts, or a state that this module does not know, the job may still run. Times are in seconds of a monotonic clock.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from resources.atomic_write import atomic_write
from resources.errors import C4Error, ConfigurationError, Unavailable
from resources.executors.slurm.client import SlurmClient, SubmissionRefused
from resources.executors.slurm.job import Job, JobEnd
from resources.executors.slurm.script import Step, write_script
from resources.executors.slurm.tracked_job import (
    StepFailure,
    TrackedJob,
    asked_for,
    end_from_script,
    end_reason,
    facts_of,
    identity_of,
)
from resources.settings import Site

log = logging.getLogger("c4.slurm")

EVENT_GRACE_S = 5.0
"""Seconds between a job's end and its step's failure: the step's own last event may still be on its way."""

REPAIR_PATIENCE_S = 3600.0
"""Seconds for which Slurm is asked again where its answer says that a setting is wrong. Then the steps fail."""

Report = Callable[[Step, str, Mapping[str, object]], None]
"""Reports an event of a step, with a sentence for the operator and metadata by name."""


ReadOutput = Callable[[], Sequence[bytes]]
"""Fetches the ends of what a job has printed: standard output and standard error, up to 1 MB and a byte of each.

Raises :class:`Unavailable` where the machine did not answer.
"""

KeepOutput = Callable[[Step, ReadOutput], None]
"""Keeps what a step's job has printed. It fetches that only where it needs it."""

OUTPUT_BYTES = 1_000_000
"""Bytes that are kept of each: the last ones. One more is read, which tells that there were more."""


class JobTracker:
    """Submits the jobs of one run's steps, polls all of them with one command, and tells which steps have failed."""

    def __init__(
        self,
        site: Site,
        client: SlurmClient,
        report: Report,
        records: Path | None = None,
        keep_output: KeepOutput | None = None,
    ) -> None:
        self._site, self._client, self._report, self._records = site, client, report, records
        self._keep_output = keep_output
        self._tracked: dict[tuple[str, int], TrackedJob] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._stopped = threading.Event()
        self._next_poll = 0.0
        self._unreachable_since: float | None = None
        self._misconfigured_since: float | None = None
        self._told_unreachable: list[TrackedJob] = []
        self._untold = deque[tuple[Step, str, Mapping[str, object]]]()
        self._thread: threading.Thread | None = None

    def launch(self, step: Step) -> None:
        """Tracks a step and submits it at once, in the background.

        Raises:
            ConfigurationError: the site's options cannot be used.
        """
        self._track(TrackedJob(step, write_script(step, self._site)))

    def attach(self, step: Step, job_id: str | None) -> None:
        """Tracks a step that an earlier run worker began: its job, or a new one if none was submitted."""
        self._track(TrackedJob(step, write_script(step, self._site), job_id, look_up_first=True))

    def tracks(self, step: Step) -> bool:
        return (step.key, step.attempt) in self._tracked

    def cancel(self, step: Step) -> None:
        """Cancels a step's job, without waiting for its end; :meth:`close` does that."""
        if tracked := self._tracked.get((step.key, step.attempt)):
            tracked.cancel = True
            self._wake.set()

    def step_ended(self, key: str) -> None:
        """Notes that Dagster knows how a step ended. Its job should now end by itself."""
        for tracked in list(self._tracked.values()):
            if tracked.step.key == key and tracked.step_ended_at is None:
                tracked.step_ended_at = time.monotonic()

    def failure(self, step: Step) -> StepFailure | None:
        """Why the step has failed, or ``None`` while it may still run or its own last event may still arrive."""
        tracked = self._tracked[step.key, step.attempt]
        if tracked.failure or tracked.end is None:
            return tracked.failure
        since = time.monotonic() - tracked.ended_at
        end, where = tracked.end, f"Its output is in {tracked.script.out} and {tracked.script.err.name}."
        if end.succeeded and since > self._site.grace_seconds:
            return StepFailure(
                f"Slurm job {end.job_id} ended well, but {self._site.grace_seconds:g} s later Dagster has no word of "
                f"how the step ended. Can compute nodes reach the Dagster instance (c4 slurm check)? {where}"
            )
        if not end.succeeded and since > min(EVENT_GRACE_S, self._site.grace_seconds):
            return StepFailure(
                f"Slurm job {end.job_id} on {end.nodes or 'no node'} failed: {end_reason(tracked, end)}. {where}"
            )
        return None

    def close(self, patience: float) -> None:
        """Waits ``patience`` seconds at most for the jobs of ended and cancelled steps to leave Slurm, and stops."""
        deadline = time.monotonic() + patience
        self._closing.set()
        self._wake.set()
        while time.monotonic() < deadline and any(self._is_leaving(one) for one in self._tracked.values()):
            time.sleep(0.1)
        self._stopped.set()
        self._wake.set()
        if self._thread:
            self._thread.join(patience)
        for tracked in self._tracked.values():
            if tracked.cancel and not tracked.over and tracked.job_id:
                self._tell(tracked, f"Slurm job {tracked.job_id} could not be cancelled: scancel {tracked.job_id}.")
        self._deliver()
        self._client.transport.close()

    def _is_leaving(self, tracked: TrackedJob) -> bool:
        return bool(tracked.twins) or (not tracked.over and (tracked.cancel or tracked.step_ended_at is not None))

    def _track(self, tracked: TrackedJob) -> None:
        self._tracked[tracked.step.key, tracked.step.attempt] = tracked
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="slurm", daemon=True)
            self._thread.start()
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            pause = 0.5 if self._closing.is_set() else self._site.poll_seconds
            try:
                self._turn(pause)
            except Exception:  # the thread must go on: without it no step would ever end
                log.exception("Slurm jobs could not be tracked; trying again")
            self._deliver()
            self._wake.wait(max(0.05, min(pause, self._next_poll - time.monotonic())))
            self._wake.clear()

    def _turn(self, pause: float) -> None:
        now = time.monotonic()
        open_ones = [tracked for tracked in list(self._tracked.values()) if not tracked.over]
        for tracked in open_ones:
            if tracked.job_id is None and (now >= tracked.not_before or tracked.cancel):
                self._place(tracked)
        self._cancel([tracked for tracked in open_ones if tracked.cancel and tracked.job_id])
        self._cancel_twins([tracked for tracked in list(self._tracked.values()) if tracked.twins])
        if now >= self._next_poll or self._closing.is_set():
            self._next_poll = now + pause
            self._poll([tracked for tracked in open_ones if tracked.job_id])

    def _place(self, tracked: TrackedJob) -> None:
        """Submits a job, or finds the one that an unconfirmed submission or an earlier run worker left."""
        try:
            if tracked.look_up_first and self._find(tracked):
                return
            if tracked.cancel or tracked.step_ended_at is not None:
                tracked.dropped = True
                return
            self._submit(tracked)
        except Unavailable as error:
            # Whether the job was submitted is unknown. A controller may accept it some seconds after the time-out.
            tracked.look_up_first = True
            tracked.not_before = time.monotonic() + self._site.resubmit_seconds
            self._unreachable(str(error), [tracked])
        except C4Error as error:
            tracked.failure = StepFailure(str(error), retry=False)

    def _submit(self, tracked: TrackedJob) -> None:
        self._client.write_file(tracked.script.path, tracked.script.text)
        try:
            tracked.job_id = self._client.submit(tracked.script.path)
        except SubmissionRefused as error:
            # No message proves that there is no job: only looking up its name does.
            if not self._find(tracked):
                reason = f"{error} It asked for {asked_for(tracked.script)}."
                tracked.failure = StepFailure(reason, retry=False)
            return
        self._tell(tracked, f"Submitted as Slurm job {tracked.job_id}: {asked_for(tracked.script)}.")

    def _find(self, tracked: TrackedJob) -> bool:
        jobs = self._client.find(tracked.script.name)
        ended = self._client.read_files([tracked.script.exit_code])
        if not jobs and not any(line.strip() for line in ended.values()):
            return False
        ids = [job.job_id for job in jobs] or ended[tracked.script.exit_code].split()[:1]
        tracked.job_id, tracked.twins = ids[0], ids[1:]
        self._tell(tracked, f"Found as Slurm job {ids[0]}, submitted before.")
        return True

    def _cancel(self, unwanted: list[TrackedJob]) -> None:
        try:
            self._client.cancel([tracked.job_id for tracked in unwanted if tracked.job_id])
        except C4Error as error:
            self._unreachable(str(error), unwanted)

    def _cancel_twins(self, doubled: list[TrackedJob]) -> None:
        for tracked in doubled:
            try:
                self._client.cancel(tracked.twins)
            except C4Error as error:  # the next turn tries again
                self._unreachable(str(error), [tracked])
                continue
            twins, tracked.twins = ", ".join(tracked.twins), []
            self._tell(tracked, f"Cancelled Slurm job {twins}: the same step was submitted twice.")

    def _poll(self, active: list[TrackedJob]) -> None:
        if not active:
            return
        try:
            poll = self._client.poll([tracked.job_id for tracked in active if tracked.job_id])
            if poll.unreachable:
                self._unreachable(poll.unreachable, active)
                return
            self._reachable()
            self._misconfigured_since = None
            gone = [tracked for tracked in active if not self._is_active(tracked, poll.jobs)]
            self._settle(gone)
        except ConfigurationError as error:
            self._misconfigured(error, active)
        except C4Error as error:
            self._unreachable(str(error), active)

    def _misconfigured(self, error: ConfigurationError, active: list[TrackedJob]) -> None:
        """Asking again does not help until somebody repairs a setting, so it ends some time."""
        self._unreachable(str(error), active)
        now = time.monotonic()
        self._misconfigured_since = self._misconfigured_since or now
        if now - self._misconfigured_since >= REPAIR_PATIENCE_S:
            for tracked in active:
                reason = f"Slurm could not be asked about job {tracked.job_id}, which may run on: {error}"
                tracked.failure = StepFailure(reason, retry=False)

    def _is_active(self, tracked: TrackedJob, jobs: Mapping[str, Job]) -> bool:
        job = jobs.get(tracked.job_id or "")
        # A controller that lost its state counts from 1 again: the name tells C4's job from another one.
        if job is None or job.name != tracked.script.name:
            return False
        if job.ended:
            tracked.job = job
            return False
        self._active(tracked, job)
        return True

    def _active(self, tracked: TrackedJob, job: Job) -> None:
        before, tracked.job, tracked.missing_since = tracked.job, job, None
        of_interest = job.state != "COMPLETING" and (job.state, job.reason) != ("PENDING", "None")
        if of_interest and (before is None or before.describe() != job.describe()):
            self._tell(tracked, f"Slurm job {job.job_id} {job.describe()}.")
        ended = tracked.step_ended_at
        if ended is not None and not tracked.cancel and time.monotonic() - ended > self._site.grace_seconds:
            self._tell(tracked, f"Slurm job {job.job_id} did not end with its step: cancelling it.")
            tracked.cancel = True

    def _settle(self, gone: list[TrackedJob]) -> None:
        """Finds out how jobs ended that have left the queue or that Slurm has forgotten."""
        if not gone:
            return
        ends = self._client.ends([tracked.job_id for tracked in gone if tracked.job_id])
        codes = self._client.read_files([tracked.script.exit_code for tracked in gone])
        for tracked in gone:
            job_id = tracked.job_id or ""
            end = ends.get(job_id)
            if end and end.name != tracked.script.name:
                end = None
            if end is None and tracked.job and tracked.job.ended:
                end = JobEnd(job_id, tracked.job.name, tracked.job.state, nodes=tracked.job.nodes)
            end = end or end_from_script(tracked, codes.get(tracked.script.exit_code))
            if end:
                self._finish(tracked, end)
                continue
            now = time.monotonic()
            tracked.missing_since = tracked.missing_since or now
            if now - tracked.missing_since > self._site.grace_seconds:
                tracked.failure = StepFailure(
                    f"Slurm does not know job {job_id} any more, and the job left no exit code in "
                    f"{tracked.script.exit_code}: its node may have failed."
                )

    def _finish(self, tracked: TrackedJob, end: JobEnd) -> None:
        tracked.ended_at = time.monotonic()
        tracked.end = end
        facts = facts_of(tracked, end)
        self._tell(tracked, f"Slurm job {end.job_id} is over: {end_reason(tracked, end)}.", facts)
        if self._records:
            path = self._records / tracked.step.run_id / f"{tracked.script.name}.json"
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps({**identity_of(tracked), **facts}, indent=1))
        self._show_output(tracked)

    def _show_output(self, tracked: TrackedJob) -> None:
        if self._keep_output is None:
            return
        try:
            files = [tracked.script.out, tracked.script.err]
            self._keep_output(tracked.step, lambda: self._client.read_ends(files, OUTPUT_BYTES + 1))
        except Exception as error:  # what was printed stays on the cluster, and the step is what it is
            log.warning("What Slurm job %s printed is not shown by Dagster: %s", tracked.job_id, error)

    def _unreachable(self, why: str, steps: list[TrackedJob]) -> None:
        """Reports once for each step that Slurm does not answer."""
        self._unreachable_since = self._unreachable_since or time.monotonic()
        for tracked in steps:
            if tracked not in self._told_unreachable:
                self._told_unreachable.append(tracked)
                self._tell(tracked, f"Slurm does not answer: {why} Its jobs may run on; asking again.")

    def _reachable(self) -> None:
        if self._unreachable_since is not None:
            seconds = time.monotonic() - self._unreachable_since
            for tracked in self._told_unreachable:
                self._tell(tracked, f"Slurm answers again after {seconds:.0f} s.")
            self._unreachable_since = None
            self._told_unreachable.clear()

    def _tell(self, tracked: TrackedJob, message: str, facts: Mapping[str, object] | None = None) -> None:
        script, step = tracked.script, tracked.step
        about = {"run_id": step.run_id, "step": step.key, "attempt": step.attempt, "slurm_job": tracked.job_id}
        log.debug("%s", message, extra=about)
        files = {"script": str(script.path), "stdout": str(script.out), "stderr": str(script.err)}
        self._untold.append((tracked.step, message, {**identity_of(tracked), **(facts or {}), **files}))

    def _deliver(self) -> None:
        """Reports what there is to tell. What the event log does not take now is kept for the next turn."""
        while self._untold:
            try:
                self._report(*self._untold[0])
            except Exception as error:  # whatever Dagster's storage raises: no job may be forgotten for it
                log.warning("The event log took no word of Slurm's jobs, and is given it again: %s", error)
                return
            self._untold.popleft()
