"""Nothing that C4 imports or starts talks to anybody outside: every connection of every process is looked at."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import IO

import pytest

from testing.import_graph import imported, modules
from testing.programs import path_of
from tests.conftest import photograph

C4 = str(Path(sys.executable).with_name("c4"))

SILENCING = ("CI", "TF_BUILD", "JENKINS_URL", "BUILDKITE", "GX_ANALYTICS_ENABLED", "DAGSTER_DISABLE_TELEMETRY")
"""Variables that keep some libraries quiet on machines that only test."""

NAMESERVER = 53

SENSOR_HAS_TICKED = "Sensor new_inspections skipped"
"""By then the code server has loaded all of C4, and the daemon has started all that it starts."""


def abroad(trace: Path) -> list[str]:
    """Where the traced processes wanted to connect or send to: other machines, and whoever resolves their names."""
    text = trace.read_text(errors="replace")
    places = re.findall(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)', text)
    places += re.findall(r'sin6_port=htons\((\d+)\)[^}]*inet_pton\(AF_INET6, "([^"]+)"', text)
    found = {(ip_address(address), int(port)) for port, address in places}
    ours = {(address, port) for address, port in found if _loopback(str(address)) and port != NAMESERVER}
    return sorted(f"{address} port {port}" for address, port in found - ours)


def _loopback(address: str) -> bool:
    where = ip_address(address)
    return where.is_loopback or (where.version == 6 and where.ipv4_mapped is not None and where.ipv4_mapped.is_loopback)


@contextmanager
def traced(
    trace: Path, command: list[str], environment: Mapping[str, str], cwd: Path, output: int | IO[str] = subprocess.PIPE
) -> Generator[subprocess.Popen[str]]:
    """A command whose connections, and those of all that it starts, are written down; native code's as well."""
    calls = "connect,sendto,sendmsg,sendmmsg"
    options = ["-f", "-qq", "--seccomp-bpf", "-e", f"trace={calls}", "-o", str(trace)]
    started = subprocess.Popen(
        [path_of("strace"), *options, *command],
        env=environment,
        cwd=cwd,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.fixture
def environment(tmp_path: Path, models: Path) -> dict[str, str]:
    """A home that is empty, and nothing that keeps a library quiet."""
    (tmp_path / "account").mkdir()
    own = {"HOME": str(tmp_path / "account"), "C4_HOME": str(tmp_path / "home"), "C4_MODELS": str(models)}
    inherited = {name: value for name, value in os.environ.items() if name not in SILENCING}
    return {**inherited, **own, "COLUMNS": "200", "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture
def quiet(tmp_path: Path, environment: dict[str, str]) -> Callable[..., str]:
    """Runs a command that must succeed and talk to nobody. Returns what it printed."""

    def run(*command: str, **variables: str) -> str:
        trace = tmp_path / "trace"
        with traced(trace, list(command), {**environment, **variables}, tmp_path) as started:
            told, _ = started.communicate(timeout=240)
        assert started.returncode == 0, told
        assert abroad(trace) == [], command
        return told

    return run


def test_a_connection_to_another_machine_is_seen_whoever_makes_it(tmp_path: Path, environment: dict[str, str]) -> None:
    program = (
        "import socket, subprocess, sys\n"
        "for family, host in ((socket.AF_INET, '192.0.2.1'), (socket.AF_INET6, '2001:db8::1')):\n"
        "    try: socket.socket(family, socket.SOCK_DGRAM).connect((host, 4711))\n"
        "    except OSError: pass\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 53))\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 4711))\n"
    )
    trace = tmp_path / "trace"
    command = ["sh", "-c", '"$0" -c "$1"', sys.executable, program]
    with traced(trace, command, environment, tmp_path) as started:
        started.communicate(timeout=60)
    assert abroad(trace) == ["127.0.0.1 port 53", "192.0.2.1 port 4711", "2001:db8::1 port 4711"]


@pytest.mark.timeout(600)
def test_no_command_talks_to_anybody_or_leaves_anything_in_the_account_s_home(
    quiet: Callable[..., str], tmp_path: Path
) -> None:
    images = tmp_path / "home" / "images" / "PLATE-1"
    images.mkdir(parents=True)
    for number in (1, 2):
        (images / f"PLATE-1_{number:02d}A_1.jpg").write_bytes(photograph(number))
    assert "2 images registered" in quiet(C4, "import", str(images))
    assert "2 scores were written" in quiet(C4, "run", "--pending")
    assert "2 images scored" in quiet(C4, "score", str(images), "--html")
    for command in (
        ["status"],
        ["backlog", "--html", "backlog.html"],
        ["checks", "list"],
        ["checks", "run", "--labels"],
        ["db", "check"],
        ["model", "list"],
        ["prune", "--dry-run"],
        ["config"],
    ):
        quiet(C4, *command)
    assert list((tmp_path / "account").iterdir()) == []


@pytest.mark.timeout(600)
def test_tensorflow_talks_to_nobody(quiet: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(photograph(1))
    assert "1 images scored" in quiet(C4, "score", "1.jpg", C4_ENGINE="tensorflow")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("telemetry", ["as shipped", "not spoken of"])
def test_webserver_daemon_and_code_server_talk_to_nobody(
    telemetry: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    if telemetry == "not spoken of":
        (tmp_path / "home" / "dagster").mkdir(parents=True)
        (tmp_path / "home" / "dagster" / "dagster.yaml").write_text("nux: {enabled: false}\n")
    trace, told = tmp_path / "trace", tmp_path / "ui.txt"
    with told.open("w") as output, traced(trace, [C4, "ui", "--port", "0"], environment, tmp_path, output) as started:
        deadline = time.monotonic() + 120
        while SENSOR_HAS_TICKED not in told.read_text():
            assert started.poll() is None, told.read_text()
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.5)
        time.sleep(3)  # what is told late
        os.killpg(started.pid, signal.SIGINT)
        started.wait(120)
    assert abroad(trace) == []
    assert not (tmp_path / "account" / "intel").exists()


def test_openvino_is_imported_only_where_its_reporting_is_switched_off() -> None:
    for name, file in modules():
        if any(other.split(".")[0] == "openvino" for other in imported(file)):
            assert name.startswith("c4_assets.models.marco."), name
