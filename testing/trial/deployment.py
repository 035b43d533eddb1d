"""A deployment of C4 as an operator runs it, for trials: webserver and daemon, each a service that can be killed.

Everything it starts has the deployment's ``DAGSTER_HOME`` in its environment, and by that it is found and ended.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import dagster as dg
import yaml

from c4_assets.command.ui import SHORT_PLANS_VARIABLE
from c4_assets.runs.pools import set_pool_limits
from testing.ports import free_port

PROJECT = Path(__file__).parents[2]

LOCATION = "c4"


class Deployment:
    """Webserver and daemon over one code location, with an environment of their own.

    Args:
        folder: for DAGSTER_HOME, workspace and logs.
        environment: what the services and all their processes get; nothing of the caller's ``C4_`` variables is left.
        module: the code location.
        dagster_yaml: the settings of the Dagster instance.
        with_daemon: start the daemon, too; otherwise :meth:`start_daemon` does.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        module: str,
        dagster_yaml: Mapping[str, Any],
        with_daemon: bool = True,
    ) -> None:
        self.home = folder / "dagster"
        self.home.mkdir(parents=True)
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(dict(dagster_yaml)))
        self._workspace = folder / "workspace.yaml"
        location = {"module_name": module, "location_name": LOCATION, "working_directory": str(PROJECT)}
        self._workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": location}]}))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("C4_")}
        own = {
            "DAGSTER_HOME": str(self.home),
            SHORT_PLANS_VARIABLE: "true",
            "PYTHONPATH": str(PROJECT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.environment = {**inherited, **environment, **own}
        self._folder, self._port, self._with_daemon = folder, free_port(), with_daemon
        self._services: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Deployment":
        try:
            set_pool_limits(self.instance)
            self._start("webserver", "dagster-webserver", "-h", "127.0.0.1", "-p", str(self._port))
            if self._with_daemon:
                self.start_daemon()
            wait_until("the webserver answers", self._answers, 120)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the services and every process that they have started."""
        self.instance.dispose()
        for process in self._services.values():
            process.send_signal(signal.SIGINT)
        with suppress(TimeoutError):
            wait_until("all processes have ended by themselves", lambda: not self._alive(), 15)
        # What is killed may have started another one a moment before.
        wait_until("all processes are killed", lambda: not self._killed(), 30)
        for process in self._services.values():
            process.wait(10)

    def _alive(self) -> list[int]:
        for process in self._services.values():
            process.poll()
        return self.processes()

    def _killed(self) -> list[int]:
        alive = self._alive()
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return alive

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """The deployment's Dagster instance, for looking at it beside the services."""
        os.environ.update({name: value for name, value in self.environment.items() if name.startswith("DAGSTER_P")})
        return dg.DagsterInstance.from_config(str(self.home))

    def start_daemon(self) -> None:
        """Starts the daemon: sensors, schedules, the run queue, backfills, run monitoring."""
        self._start("daemon", "dagster-daemon", "run")

    def kill_daemon(self) -> None:
        """Kills the daemon as the machine's memory killer does. What it has started goes on without it."""
        daemon = self._services["daemon"]
        daemon.kill()
        daemon.wait()

    @property
    def daemon_pid(self) -> int:
        """The daemon's process."""
        return self._services["daemon"].pid

    def run_worker(self, run_id: str) -> int | None:
        """The process that works on a run, once there is one."""
        wanted = dg.RunsFilter(run_ids=[run_id])
        if not self.instance.get_runs(wanted):
            return None
        for record in self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
            event = record.event_log_entry.dagster_event
            if event and "pid" in (metadata := event.engine_event_data.metadata):
                return int(str(metadata["pid"].value))
        return None

    def processes(self) -> list[int]:
        """Every process of this deployment that runs."""
        mine = f"DAGSTER_HOME={self.home}".encode()
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mine in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return [pid for pid in found if pid != os.getpid()]

    def ask(self, query: str, variables: Mapping[str, Any] | None = None, timeout: float = 60) -> Any:
        """What the webserver answers to a GraphQL operation.

        Raises:
            RuntimeError: it answers with errors.
            OSError: it does not answer.
        """
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        address = f"http://127.0.0.1:{self._port}/graphql"
        request = Request(address, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=timeout) as answer:
            found = json.load(answer)
        if found.get("errors"):
            raise RuntimeError(f"GraphQL: {found['errors']}")
        return found["data"]

    def _start(self, service: str, program: str, *arguments: str) -> None:
        command = [str(Path(sys.executable).with_name(program)), *arguments, "-w", str(self._workspace)]
        with (self._folder / f"{service}.log").open("ab") as log:
            self._services[service] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )

    def _answers(self) -> bool:
        query = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
        try:
            entries = self.ask(query)["workspaceOrError"]["locationEntries"]
        except (URLError, OSError):
            return False
        kinds: Sequence[Any] = [entry["locationOrLoadError"] for entry in entries]
        if any(kind and kind["__typename"] == "PythonError" for kind in kinds):
            raise RuntimeError(f"The code location cannot be loaded: see {self._folder}/webserver.log")
        return bool(kinds) and all(kinds)


def end_in_order_when_terminated() -> None:
    """Makes SIGTERM end this program as Ctrl+C does: what it has started is stopped, and nothing is left behind."""

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not end the stopping
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def wait_until(what: str, happened: Callable[[], object], within: float) -> None:
    """Waits until something is true.

    Raises:
        TimeoutError: it was not within so many seconds.
    """
    end = time.monotonic() + within
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"Waited {within:g} s in vain until {what}.")
        time.sleep(0.2)
