"""Dagster's daemon tells systemd that it lives, for as long as all of its parts do."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from time import sleep

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from c4_assets.deployment_home import dagster_instance, ready
from c4_assets.runs.watched_daemon import HUNG_AFTER, notify, notify_while_it_beats
from resources.settings import Settings
from sensors.run_alerts import INTERVAL_S
from testing.http_receiver import Answer, http_receiver
from tests.test_services import service

PATIENCE_S = 120
EVERY_S = 0.05


@contextmanager
def systemd(address: str | bytes) -> Generator[socket.socket]:
    """A socket that hears what services say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(PATIENCE_S)
        yield listener


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    settings = Settings(home=tmp_path / "home")
    with dagster_instance(settings) as instance:
        monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
        yield instance


def beat(instance: dg.DagsterInstance, ago: timedelta, *silent: str) -> None:
    for name in instance.get_required_daemon_types():
        if name not in silent:
            at = (datetime.now(UTC) - ago).timestamp()
            instance.add_daemon_heartbeat(DaemonHeartbeat(at, name, "one", []))


@contextmanager
def watched(listener: str) -> Generator[None]:
    ended = Event()
    thread = Thread(target=notify_while_it_beats, args=(listener, EVERY_S, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_silent(listener: socket.socket) -> bool:
    """Whether nothing more is said, after what was on its way."""
    listener.settimeout(20 * EVERY_S)
    try:
        for _ in range(5):
            listener.recv(100)
    except TimeoutError:
        return True
    return False


def test_a_daemon_is_said_to_live_until_one_of_its_parts_falls_silent(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    with systemd(address) as listener:
        beat(instance, timedelta(minutes=12))  # a busy one
        with watched(address):
            assert listener.recv(100) == b"WATCHDOG=1"
            beat(instance, HUNG_AFTER + timedelta(minutes=1))
            beat(instance, timedelta(), "SENSOR")
            assert is_silent(listener)
            beat(instance, timedelta())
            assert not is_silent(listener)


def test_a_daemon_that_has_not_begun_yet_is_not_said_to_live(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with systemd(address) as listener, watched(address):
        assert is_silent(listener)


def test_a_storage_that_answers_with_errors_is_not_held_against_the_daemon(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    (Path(instance.root_directory) / "dagster.yaml").write_text("storage: {no: such}\n")
    with systemd(address) as listener, watched(address):
        assert listener.recv(100) == b"WATCHDOG=1"


def test_a_daemon_is_said_to_live_again_when_systemd_listens_again(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    address = tmp_path / "notify"
    beat(instance, timedelta())
    with watched(str(address)):
        for _ in range(2):
            with systemd(str(address)) as listener:
                assert listener.recv(100) == b"WATCHDOG=1"
            address.unlink()
            sleep(5 * EVERY_S)


def test_a_socket_without_a_file_is_spoken_to() -> None:
    name = f"c4-tests-{os.getpid()}"
    with systemd(f"\0{name}") as listener:
        notify(f"@{name}", "READY=1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("ending", "status", "told"),
    [(signal.SIGTERM, 0, "shutting down"), (signal.SIGABRT, -signal.SIGABRT, "most recent call first")],
    ids=["it is stopped", "the watchdog ends it"],
)
def test_the_daemons_service_says_that_it_is_ready_and_lives_and_in_the_end_where_it_was(
    tmp_path: Path, ending: signal.Signals, status: int, told: str
) -> None:
    settings, address = Settings(home=tmp_path / "home"), str(tmp_path / "notify")
    ready(settings)
    environment = {"C4_HOME": str(settings.home), "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1500000"}
    server = str(tmp_path / "code.sock")  # which is not there yet, as when a machine starts
    command = [str(Path(sys.executable).with_name("c4")), "ui", "--only", "daemon", "--code-server", server]
    with systemd(address) as listener, (tmp_path / "output").open("wb") as output:
        daemon = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
        try:
            assert [listener.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            daemon.send_signal(ending)
            assert daemon.wait(60) == status
            assert told in (tmp_path / "output").read_text()
        finally:
            daemon.kill()
            daemon.wait()


@pytest.mark.timeout(300)
def test_a_monitor_hears_the_daemons_service_until_it_is_killed_though_the_code_server_lives_on(tmp_path: Path) -> None:
    settings, socket_file = Settings(home=tmp_path / "home"), tmp_path / "run" / "code.sock"
    ready(settings)
    with http_receiver() as monitor:
        monitor.answer = Answer(503)  # what was not taken is said again by each look, not after five minutes
        address = f"{monitor.url}/ping"
        with (
            service(settings.home, "code", socket_file, C4_ALERTS_HEARTBEAT_URL=address) as code,
            service(settings.home, "daemon", socket_file, C4_ALERTS_HEARTBEAT_URL=address) as daemon,
        ):
            first, second = monitor.wait_for(2, PATIENCE_S)[:2]
            assert {first.path, second.path} == {"/ping"}
            daemon.kill()
            daemon.wait()
            time.sleep(5)  # a look that was at work may still say so
            heard = len(monitor.received)
            time.sleep(1.5 * INTERVAL_S)
            assert code.poll() is None
            assert len(monitor.received) == heard
