"""Runs of the tests' jobs, in this process or in a run worker of their own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.api import execute_run
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs

from resources.settings.keys import flat, variable_of
from tests.slurm import steps
from tests.slurm.cluster import PROJECT


@dataclass
class Workplace:
    """A deployment for a test: a Dagster instance, a Slurm site and a shared folder. ``setenv`` sets a variable."""

    folder: Path
    instance: dg.DagsterInstance
    setenv: Callable[[str, str], None]
    site: dict[str, Any] = field(default_factory=dict[str, Any])

    def configure(self, **changes: Any) -> None:
        """Changes keys of the section ``slurm``, by variables that runs and commands read."""
        self.site |= changes
        for key, value in flat({"slurm": self.site}).items():
            self.setenv(variable_of(key), str(value))

    def add_to_environment(self, **variables: str) -> None:
        """Adds lines to the site's environment file."""
        with Path(self.site["environment_file"]).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in variables.items())

    def starts(self, step: str) -> list[list[str]]:
        """Of each start of a step: its process id, its Slurm job and its GPUs."""
        file = self.folder / f"{step}.starts"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def status(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run.status.value

    def job_name(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run.job_name

    def messages(self, run_id: str) -> str:
        """What the event log tells the operator, one event a line."""
        lines: list[str] = []
        for event in (entry.dagster_event for entry in self.instance.all_logs(run_id)):
            if event:
                error = event.step_failure_data.error if event.is_step_failure else None
                error = event.engine_event_data.error if event.is_engine_event else error
                lines.append(f"{event.step_key}: {event.message} {error.message if error else ''}".strip())
        return "\n".join(lines)

    def ends(self, step: str) -> list[str]:
        """The process id of each end of a step that was reached."""
        file = self.folder / f"{step}.ends"
        return file.read_text().split() if file.exists() else []

    def job_scripts(self, run_id: str) -> list[Path]:
        return sorted((self.folder / "jobs" / run_id).glob("*.sh"))

    def run_config(self, *ops: str, **work: Any) -> dict[str, Any]:
        """Configuration of a run: its steps' :class:`tests.slurm.steps.Work`."""
        return {
            "ops": {op: {"config": {"folder": str(self.folder), **work}} for op in ops},
            "execution": {"config": {"check_seconds": 1}},
        }


class Run:
    """A run in a thread of this process, so that a test can do harm meanwhile. Dagster allows one in a process."""

    def __init__(self, place: Workplace, job: dg.JobDefinition, config: Mapping[str, Any]) -> None:
        self._job = dg.reconstructable(getattr(steps, job.name))
        self._place, self._run = (
            place,
            place.instance.create_run_for_job(
                job_def=job, run_config=config, job_code_origin=self._job.get_python_origin()
            ),
        )
        self._thread = threading.Thread(target=execute_run, args=(self._job, self._run, place.instance), daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        return self._run.run_id

    def messages(self) -> str:
        return self._place.messages(self.run_id)

    def status(self, within: float = 120) -> str:
        """Waits for the run's end."""
        self._thread.join(within)
        assert not self._thread.is_alive(), f"The run is not over after {within} s:\n{self.messages()}"
        return self._place.status(self.run_id)


class RunWorker:
    """A run in a process of its own, as a run launcher starts it: it can be killed, interrupted and resumed."""

    def __init__(
        self, place: Workplace, job: dg.JobDefinition, config: Mapping[str, Any], tags: Mapping[str, str] | None = None
    ) -> None:
        self._place = place
        self._origin = dg.reconstructable(getattr(steps, job.name)).get_python_origin()
        run = place.instance.create_run_for_job(job_def=job, run_config=config, job_code_origin=self._origin, tags=tags)
        self.run_id = run.run_id
        self._process = self._start(ExecuteRunArgs(self._origin, self.run_id, instance_ref=None))

    def signal(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    def cancel(self) -> None:
        """What the button in Dagster's UI does."""
        run = self._place.instance.get_run_by_id(self.run_id)
        assert run
        self._place.instance.report_run_canceling(run)
        self.signal(signal.SIGINT)

    def resume(self) -> None:
        """Waits for the process and starts another one for the same run."""
        self._process.wait(60)
        self._process = self._start(ResumeRunArgs(self._origin, self.run_id, instance_ref=None))

    def messages(self) -> str:
        return self._place.messages(self.run_id)

    def status(self, within: float = 120) -> str:
        self._process.wait(within)
        return self._place.status(self.run_id)

    def _start(self, arguments: ExecuteRunArgs | ResumeRunArgs) -> subprocess.Popen[bytes]:
        with (self._place.folder / "run_worker.out").open("ab") as out:
            environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
            command = [sys.executable, "-m", *arguments.get_command_args()]
            return subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=PROJECT)
