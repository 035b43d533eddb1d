"""A real Prometheus on loopback that scrapes often, and the real exporter that it scrapes."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testing.ports import free_port
from testing.programs import path_of

STARTS_WITHIN_S = 60


@contextmanager
def exporter(home: Path, environment: Mapping[str, str] | None = None) -> Generator[str]:
    """``c4 metrics`` over a home: the address of its metrics. It must end by SIGTERM."""
    command = [str(Path(sys.executable).with_name("c4")), "metrics", "--port", "0"]
    started = subprocess.Popen(
        command,
        env={**os.environ, "C4_HOME": str(home), "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        if not line.startswith("Metrics: "):
            raise RuntimeError(f"c4 metrics did not start: {line}")
        yield line.split()[1]
    finally:
        started.terminate()
        if (status := started.wait(20)) != 0:
            raise RuntimeError(f"c4 metrics ended with status {status}")


class Prometheus:
    """A running server."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, what: str, **parameters: str) -> Any:
        """The ``data`` of an answer of its HTTP API.

        Raises:
            ValueError: the query is refused; the message is Prometheus' own.
        """
        url = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error

    def values(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """What an expression is now: labels and value of each series."""
        result = self.ask("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]


@contextmanager
def prometheus(folder: Path, target: str, rules: Sequence[Path] = ()) -> Generator[Prometheus]:
    """A server that scrapes a target (host:port) and evaluates rules every second."""
    folder.mkdir(parents=True)
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [{"job_name": "c4", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    with (folder / "log").open("wb") as log:
        command = [path_of("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        started = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            server = Prometheus(f"http://{address}")
            _wait(server, started, folder / "log")
            yield server
        finally:
            started.terminate()
            started.wait(20)


def _wait(server: Prometheus, started: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends and started.poll() is None:
        try:
            if server.values("up == 1"):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"Prometheus did not scrape:\n{log.read_text()[-2000:]}")
