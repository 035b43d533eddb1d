"""Services apart: one code server for all, runs that outlive it, and units for systemd."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.command.service import MARK
from c4_assets.deployment_home import dagster_instance, ready
from resources.imaging_database.register import NewImage, register_inspection
from resources.settings import Settings
from testing.http_receiver import Answer, Request, http_receiver
from tests.conftest import c4, noon, photograph, unavailable
from tests.test_access import ask, served

PATIENCE_S = 120


@contextmanager
def slow_store(release: threading.Event) -> Generator[str]:
    """An image store over HTTP that answers when it is released."""

    def answer(request: Request) -> Answer:
        release.wait(PATIENCE_S)
        return Answer(200, photograph(len(request.path)))

    with http_receiver() as receiver:
        receiver.answer = answer
        try:
            yield f"{receiver.url}/images"
        finally:
            release.set()


@contextmanager
def service(home: Path, only: str, socket: Path, **variables: str) -> Generator["subprocess.Popen[bytes]"]:
    """One service without a port, as systemd starts it: a process of its own."""
    program = str(Path(sys.executable).with_name("c4"))
    with (home / f"{only}.txt").open("wb") as output:
        started = subprocess.Popen(
            [program, "ui", "--only", only, "--code-server", str(socket)],
            env={**os.environ, "C4_HOME": str(home), **variables},
            cwd=home,
            stdout=output,
            stderr=output,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def children_of(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


def run_processes(code_server: int) -> list[int]:
    """The children of a code server that are runs."""
    told = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(code_server)}
    return [child for child, words in told.items() if b"spawn_main" in words]


def until(what: str, condition: "object", seconds: float = PATIENCE_S) -> object:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def events_of(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> list[str | None]:
    return [each.dagster_event.step_key for each in instance.all_logs(run_id, of_type=kind) if each.dagster_event]


QUERY = '{"query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"}'


@pytest.mark.timeout(300)
def test_services_share_one_code_server_whose_runs_go_on_when_it_is_stopped(tmp_path: Path) -> None:
    home, socket, release = tmp_path / "home", tmp_path / "run" / "code.sock", threading.Event()
    home.mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(slow_store(release))
        settings = Settings(home=home, store={"url": store})  # type: ignore[arg-type]
        register_inspection(ready(settings), "P1", noon(1), None, [NewImage("A01", 1, "P1/a.jpg")])
        instance = stack.enter_context(dagster_instance(settings))
        code = stack.enter_context(service(home, "code", socket, C4_STORE_URL=store))
        daemon = stack.enter_context(service(home, "daemon", socket, C4_STORE_URL=store))  # at once, as systemd does
        shared = ("--only", "webserver", "--code-server", str(socket))
        web, port = stack.enter_context(served(home, *shared, C4_STORE_URL=store))

        def location() -> bool:
            return '"name":"c4"' in ask(port, "POST", "/graphql", QUERY, Content_Type="application/json")[1].replace(
                " ", ""
            )

        until("the location is loaded", location)
        started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        until("a run has started", lambda: instance.get_runs(started))
        [run] = instance.get_runs(started)
        fetching = "raw_inspection_images"
        until("it fetches", lambda: fetching in events_of(instance, run.run_id, dg.DagsterEventType.STEP_START))
        for each in (daemon, web):
            told = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(each.pid)]
            assert not [words for words in told if b"grpc" in words or b"spawn_main" in words]
        [working] = run_processes(code.pid)

        # What KillMode=process does: the daemon goes first (Requires=), then the code server is asked, then killed.
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        code.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            code.wait(3)  # it waits for the run
        code.kill()
        code.wait()
        assert Path(f"/proc/{working}").exists()
        release.set()
        until("it has fetched", lambda: fetching in events_of(instance, run.run_id, dg.DagsterEventType.STEP_SUCCESS))
        until("it has ended by itself", lambda: not Path(f"/proc/{working}").exists())


def printed(home: Path, *options: str, **variables: str) -> dict[str, str]:
    """The units that are printed, by name."""
    environment = {"C4_HOME": str(home), **variables}
    done = CliRunner().invoke(app, ["service", "install", "--print", *options], env=environment)
    assert done.exit_code == 0, done.output
    _, *parts = re.split(r"^# ---- (\S+)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def write(units: dict[str, str], folder: Path) -> list[Path]:
    folder.mkdir()
    for name, text in units.items():
        (folder / name).write_text(text)
    return [folder / name for name in units]


@pytest.mark.parametrize("options", [["--account", "daemon", "--metrics"], ["--user"]], ids=["system", "user"])
def test_systemd_understands_every_unit(tmp_path: Path, options: list[str]) -> None:
    if not shutil.which("systemd-analyze"):
        unavailable("there is no systemd-analyze: run deploy/system-packages")
    files = write(printed(tmp_path / "home", *options), tmp_path / "units")
    manager = ["--user"] if "--user" in options else []
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:", "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "verify", *manager, "--man=no", *map(str, files)],
        env=environment,
        capture_output=True,
        text=True,
    )
    told = [line for line in done.stderr.splitlines() if "c4" in line or "units/" in line]
    assert done.returncode == 0, done.stderr
    assert told == []


def test_units_name_folders_of_the_settings_and_no_secret(tmp_path: Path) -> None:
    variables = {
        "C4_DATA": "/shared/c4",
        "C4_SCRATCH": "/scratch/c4",
        "C4_LOGS_FOLDER": "/var/log/c4",
        "C4_DATABASE_URL": "sqlite:////var/lib/imaging/i.db",
        "C4_UI_PASSWORD": "open-sesame",
    }
    units = printed(tmp_path / "home", "--account", "daemon", **variables)
    assert set(units) == {"c4.target", "c4-code.service", "c4-daemon.service", "c4-webserver.service"}
    for text in units.values():
        assert "open-sesame" not in text
    writable = f"ReadWritePaths=/scratch/c4 /shared/c4 {tmp_path / 'home'} /var/lib/imaging /var/log/c4\n"
    assert "".join(sorted(writable)) == "".join(sorted(re.findall(r"ReadWritePaths=.*\n", units["c4-code.service"])[0]))
    assert "KillMode=process" in units["c4-code.service"]
    assert "KillMode=mixed" in units["c4-daemon.service"]
    assert "Requires=c4-code.service" in units["c4-daemon.service"]
    watched = [name for name, text in units.items() if "\nType=notify\n" in text and "\nWatchdogSec=" in text]
    assert watched == ["c4-daemon.service"]


def test_a_path_that_systemd_reads_otherwise_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["service", "install", "--print"], env={"C4_HOME": str(tmp_path / "a b")})
    assert "has a space" in str(done.exception)


def test_units_are_installed_again_and_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    units, environment = tmp_path / "units", {"C4_HOME": str(tmp_path / "home"), "C4_STORE_URL": "/images"}

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["service", *words, "--folder", str(units)], env=environment)
        return done.exit_code, f"{done.output} {done.exception or ''}"

    assert "no account nobody-of-the-tests" in run("install", "--account", "nobody-of-the-tests")[1]
    assert "services see them only if" in run("install", "--print")[1]
    for _ in range(2):
        status, told = run("install", "--account", "daemon")
        assert status == 0, told
        assert "systemctl enable --now c4.target\n" in told
        assert "C4_STORE_URL" in told
    assert len(list(units.iterdir())) == 4
    assert all(file.read_text().startswith(f"# {MARK}") for file in units.iterdir())
    (units / "c4-daemon.service").write_text("[Unit]\nDescription=somebody else's\n")
    assert "is not C4's" in run("install", "--account", "daemon")[1]
    assert run("remove")[0] == 0
    assert [file.name for file in units.iterdir()] == ["c4-daemon.service"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that belong to others")
def test_what_root_makes_while_it_installs_services_belongs_to_their_account(tmp_path: Path) -> None:
    home, account = tmp_path / "home", pwd.getpwnam("daemon")
    home.mkdir()
    os.chown(home, account.pw_uid, account.pw_gid)
    install = ["service", "install", "--account", "daemon", "--folder", str(tmp_path / "units")]
    done = c4(home, *install, models=home)
    assert "4 units" in done.stdout
    assert "may not write" not in done.stderr
    assert "is not there" not in done.stderr
    made = list(home.rglob("*"))
    assert [file for file in made if file.suffix == ".jsonl"], "the command is in the log"
    assert {(file.stat().st_uid, file.stat().st_gid) for file in made} == {(account.pw_uid, account.pw_gid)}


@pytest.mark.skipif(os.geteuid() != 0, reason="root's folder is to be another account's")
def test_folders_that_services_could_not_use_are_named_with_what_to_do(tmp_path: Path) -> None:
    (home := tmp_path / "home").mkdir()
    environment = {"C4_HOME": str(home), "C4_SCRATCH": str(tmp_path / "scratch"), "COLUMNS": "200"}
    install = ["service", "install", "--account", "daemon", "--folder", str(tmp_path / "units")]
    told = CliRunner().invoke(app, install, env=environment).output
    assert f"The account daemon may not write to {home}, as the services do: chown -R daemon {home}\n" in told
    assert f"{tmp_path}/scratch is not there, and services do not start without it: install -d -o daemon" in told
    home.chmod(0o777)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o775)
    os.chown(tmp_path / "scratch", 0, pwd.getpwnam("daemon").pw_gid)
    told = CliRunner().invoke(app, install, env=environment).output
    assert "may not write" not in told
    assert "is not there" not in told


@pytest.mark.timeout(300)
def test_what_the_ui_prints_into_a_file_has_no_warning_of_dagsters_own_code(tmp_path: Path) -> None:
    with served(tmp_path):
        deadline = time.monotonic() + PATIENCE_S
        while "SensorDaemon" not in (told := (tmp_path / "ui.txt").read_text()):
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
    assert "BetaWarning" not in told
