"""Runs steps beside the run worker: those that need a database or a file that compute nodes cannot reach."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from resources.executors.slurm.script import ARGUMENTS_VARIABLE, Step

EVENT_GRACE_S = 5.0
"""Seconds between a process's end and its step's failure: the step's own last event may still be on its way."""


class LocalSteps:
    """Runs steps as processes of this machine, each in a process group of its own, which can be ended as a whole.

    Args:
        folder: where the output of the steps is written, in one folder per run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pids: dict[tuple[str, int], int] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._ended_at: dict[int, float] = {}

    def launch(self, step: Step) -> int:
        """Starts a step and returns its process id."""
        out = self.output(step)
        out.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "DAGSTER_HOME": step.dagster_home, ARGUMENTS_VARIABLE: step.arguments}
        with out.open("ab") as stream:
            child = subprocess.Popen(
                [*step.command_prefix, step.python, "-m", "dagster", "api", "execute_step"],
                env=environment,
                cwd=step.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self._children[child.pid] = child
        self._pids[step.key, step.attempt] = child.pid
        return child.pid

    def attach(self, step: Step, pid: int | None, host: str | None) -> None:
        """Tracks a process that an earlier run worker started. One on another machine counts as ended."""
        self._pids[step.key, step.attempt] = pid if pid and host == socket.gethostname() else 0

    def tracks(self, step: Step) -> bool:
        return (step.key, step.attempt) in self._pids

    def output(self, step: Step) -> Path:
        """The file with a step's standard output and standard error."""
        return self._folder / step.run_id / f"{step.key}.{step.attempt}.out"

    def failure(self, step: Step) -> str | None:
        """Why a step has failed, or None while it runs or its own last event may still come."""
        pid = self._pids[step.key, step.attempt]
        if self._runs(pid):
            return None
        ended = self._ended_at.setdefault(pid, time.monotonic())
        if time.monotonic() - ended < EVENT_GRACE_S:
            return None
        child = self._children.get(pid)
        how = f"with exit code {child.returncode}" if child else "with the run worker that had started it"
        return f"The process of the step ended {how} before the step did. Its output is in {self.output(step)}."

    def cancel(self, step: Step) -> None:
        """Asks a step's processes to end; :meth:`close` kills those that do not."""
        self._signal(self._pids[step.key, step.attempt], signal.SIGTERM)

    def close(self, cancelled: list[Step], patience: float) -> None:
        """Waits for cancelled steps to end, and kills those that still run after ``patience`` seconds."""
        pids = [self._pids[step.key, step.attempt] for step in cancelled if self.tracks(step)]
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(map(self._runs, pids)):
            time.sleep(0.1)
        for pid in filter(self._runs, pids):
            self._signal(pid, signal.SIGKILL)

    def _runs(self, pid: int) -> bool:
        if child := self._children.get(pid):
            return child.poll() is None
        try:
            # Process ids are reused: the command line tells whether this is still a step.
            return b"execute_step" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def _signal(self, pid: int, how: signal.Signals) -> None:
        if self._runs(pid):
            try:
                os.killpg(pid, how)
            except ProcessLookupError:
                return
