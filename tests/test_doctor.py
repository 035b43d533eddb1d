"""`c4 doctor`: a good set-up is well, and of each broken one the right line fails with the right advice."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from alembic import command as alembic
from alembic.config import Config
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from c4_assets.command.doctor import look_around
from c4_assets.deployment_home import prepare_dagster_home, shipped_dagster_yaml
from c4_assets.models.active import ActiveModels
from c4_assets.operations.doctor.examine import Check, Examined, examine, mend
from c4_assets.operations.doctor.render import as_json, exit_status, lines_of
from c4_assets.runs.dagster_yaml import put_dagster_yaml
from c4_assets.runs.instance_health import daemons
from c4_assets.runs.run_processes import process_noted
from resources.findings import Finding, Verdict
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.database import MIGRATIONS
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.redaction import redacted
from resources.settings import Settings
from testing.always import always
from testing.dagster_types import job_without_steps
from testing.http_receiver import Answer, http_receiver
from testing.listeners import listener, say_nothing
from testing.ports import free_port
from testing.postgresql import PASSWORD, Server, running_server
from testing.sshd import Sshd, make_key
from tests.conftest import noon, photograph

PASSED, WARNED, FAILED, NOT_SEEN = Verdict

SQLITE_HOME = "home"

PATIENCE_S = 30.0
"""For a machine that other tests keep busy."""


@dataclass
class Place:
    """A deployment that is well, to be broken."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    server: Server | None = None
    ssh: Sshd | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment()

    @contextmanager
    def instance(self) -> Generator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            yield instance

    def set(self, **variables: str | Path) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(name, str(value))

    def write(self, text: str) -> Path:
        file = self.home / "c4.toml"
        file.write_text(text)
        return file

    def postgresql(self, login: str = "c4", password: str = PASSWORD) -> str:
        """The address of a database of the server, for a login."""
        assert self.server
        name = f"d{time.monotonic_ns()}"
        address = self.server.address(name, "template_c4").replace(f"c4:{PASSWORD}@", f"{login}:{password}@")
        self.set(C4_DATABASE_URL=address)
        return name

    def by_no_answer(self, port: int) -> None:
        """Everything that is asked over the network is asked of a port that says nothing."""
        self.set(
            C4_DATABASE_URL=f"postgresql+psycopg2://c4:pl4nted-secret@127.0.0.1:{port}/lims",
            C4_STORE_URL=f"ssh://c4@127.0.0.1:{port}/images",
            C4_RUNS_DAGSTER_STORAGE="postgres",
            DAGSTER_POSTGRES_HOST="127.0.0.1",
            DAGSTER_POSTGRES_PORT=str(port),
            DAGSTER_POSTGRES_USER="c4",
            DAGSTER_POSTGRES_PASSWORD="pl4nted-secret",
            DAGSTER_POSTGRES_DB="dagster",
        )
        put_dagster_yaml(self.home / "dagster" / "dagster.yaml", shipped_dagster_yaml(self.settings))
        self.set(C4_STORE_KNOWN_HOSTS=self.login_node(port))

    def login_node(self, port: int) -> Path:
        """Has Slurm's commands run behind a port, whose host's key is known: the file that has it."""
        make_key(self.home / "host_key")
        known = self.home / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {(self.home / 'host_key.pub').read_text()}")
        login = f'[slurm.login]\nhost = "127.0.0.1"\nuser = "c4"\nport = {port}\nknown_hosts = "{known}"\n'
        self.write(f'[slurm]\nfolder = "{self.home}/jobs"\n\n{login}')
        return known

    def by_ssh(self, **changes: str | Path) -> None:
        assert self.ssh
        variables: dict[str, str | Path] = {
            "C4_STORE_URL": f"ssh://{self.ssh.user}@127.0.0.1:{self.ssh.port}{self.home}/images",
            "C4_STORE_SSH_KEY": self.ssh.key,
            "C4_STORE_KNOWN_HOSTS": self.ssh.known_hosts,
        }
        self.set(**(variables | changes))


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one image, prepared once."""
    home = tmp_path_factory.mktemp("doctor") / SQLITE_HOME
    settings = Settings.from_environment({"C4_HOME": str(home), "C4_MODELS": str(models)})
    database = ImagingDatabase.of(settings)
    database.upgrade()
    seed_classes(database)
    (home / "images" / "P1").mkdir(parents=True)
    (home / "images" / "P1" / "1.jpg").write_bytes(photograph(1, (640, 480)))
    register_inspection(database, "P1", noon(1), None, [NewImage("A01", 1, "P1/1.jpg")])
    ActiveModels(settings, database).read()
    prepare_dagster_home(settings)
    database.engine.dispose()
    return home


@pytest.fixture
def place(made: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = shutil.copytree(made, tmp_path / SQLITE_HOME)
    place = Place(home, monkeypatch)
    place.set(C4_HOME=home, C4_MODELS=models)
    with place.stack:
        yield place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("postgresql") / "server", "fsync=off") as server:
        database = ImagingDatabase(server.address("template_c4"))
        database.upgrade()
        seed_classes(database)
        register_inspection(database, "P1", noon(1), None, [NewImage("A01", 1, "P1/1.jpg")])
        database.engine.dispose()
        server.execute("create role reader login password 'r3ad'")
        yield server


def findings(examined: Sequence[Examined]) -> list[Finding]:
    return [finding for each in examined for finding in each.findings]


def told(found: Sequence[Finding]) -> str:
    return "\n".join(f"{each.verdict.value:9}{each.id}: {each.what} | {each.fix}" for each in found)


def test_a_good_set_up_is_well_and_one_image_goes_through_all_of_it(place: Place) -> None:
    found = findings(look_around(patience=PATIENCE_S))
    assert exit_status(found) == 0, told(found)
    assert {each.id for each in found if each.verdict is not PASSED} == {"dagster.daemons", "channels"}, told(found)
    seen = {each.id: each.what for each in found}
    assert "plate P1, A01.1" in seen["image.listed"]
    assert "bytes in" in seen["image.fetched"]
    assert "599 × 599" in seen["image.decoded"]
    assert "marco says" in seen["image.classified"]
    assert all(each.seconds >= 0 for each in found)


def test_looking_writes_nothing(place: Place, tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        kept = (file for file in sorted(place.home.rglob("*")) if file.is_file())
        return {str(file): file.read_bytes() for file in kept if not file.name.endswith(("-wal", "-shm"))}

    before = content()
    look_around(patience=PATIENCE_S)
    assert content() == before
    place.set(C4_HOME=tmp_path / "nobody-made-it")
    assert exit_status(findings(look_around(patience=PATIENCE_S))) == 1
    assert not (tmp_path / "nobody-made-it").exists()


def unknown_key(place: Place) -> None:
    place.write("scratch_gigabites = 3\n")


def old_variables(place: Place) -> None:
    place.set(C4_MAX_ATTEMPTS="4")


def readable_secret(place: Place) -> None:
    folder = place.home / "secrets"
    folder.mkdir()
    (folder / "ui_password").write_text("pl4nted-secret")
    (folder / "ui_password").chmod(0o644)
    place.set(C4_SECRETS=folder)


def writable_settings(place: Place) -> None:
    place.write("").chmod(0o666)


def missing_folder(place: Place) -> None:
    place.set(C4_SCRATCH=place.home / "scratch-mount")


def full_disk(place: Place) -> None:
    folder = place.home / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:  # without the right to mount, a file system says so that has as little
        small = os.statvfs_result((4096, 4096, 256, 10, 10, 1000, 900, 900, 0, 255))
        real = os.statvfs

        def of_a_file_system(path: Path) -> os.statvfs_result:
            return small if path == folder else real(path)

        place.monkeypatch.setattr(os, "statvfs", of_a_file_system)
    else:
        place.stack.callback(subprocess.run, ["umount", str(folder)], check=True)
        (folder / "images").write_bytes(b"0" * 900_000)
    place.set(C4_SCRATCH=folder)


def logs_elsewhere(place: Place) -> None:
    place.set(C4_LOGS_FOLDER=place.home.parent / "logs-mount")


def thumbnails_elsewhere(place: Place) -> None:
    place.set(C4_THUMBNAILS=place.home.parent / "thumbnails-mount")


def no_inodes(place: Place) -> None:
    none = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 1000, 5, 5, 0, 255))
    place.monkeypatch.setattr(os, "statvfs", always(none))


def no_locks(place: Place) -> None:
    def refused(_: object, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    place.monkeypatch.setattr("fcntl.flock", refused)


def not_upgraded(place: Place) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with ImagingDatabase.of(place.settings).writing() as connection:
        config.attributes["connection"] = connection
        alembic.downgrade(config, "-1")


def image_gone(place: Place) -> None:
    (place.home / "images" / "P1" / "1.jpg").rename(place.home / "images" / "P1" / "2.jpg")


def image_is_none(place: Place) -> None:
    (place.home / "images" / "P1" / "1.jpg").write_text("This is no image.")


def store_not_mounted(place: Place) -> None:
    shutil.rmtree(place.home / "images")
    (place.home / "images").mkdir()


def other_weights(place: Place) -> None:
    real, folder = place.settings.models / "marco", place.home / "models" / "marco"
    (folder / "variables").mkdir(parents=True)
    for file in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
        (folder / file).symlink_to(real / file)
    (folder / "variables" / "variables.index").write_text("changed by a disk")
    place.set(C4_MODELS=folder.parent)


def no_weights(place: Place) -> None:
    place.set(C4_MODELS=place.home / "models")


def missing_extra(place: Place) -> None:
    place.set(C4_STORE_URL="ssh://storage.facility.org/images")
    place.monkeypatch.setitem(sys.modules, "asyncssh", None)


def dead_daemon(place: Place) -> None:
    beat(place, timedelta(hours=3))


def beat(place: Place, ago: timedelta) -> None:
    at = (datetime.now(UTC) - ago).timestamp()
    with place.instance() as instance:
        for name in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(at, name, None, None))


def dead_run(place: Place) -> None:
    """A run whose process, a real one, has been killed."""
    with place.instance() as instance:
        run = instance.create_run_for_job(job_without_steps("score_images"))
        began = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
        instance.report_dagster_event(began, run_id=run.run_id)
    child = os.fork()
    if not child:
        with place.instance() as instance, process_noted(instance, run.run_id):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def leaked_slot(place: Place) -> None:
    with place.instance() as instance:
        instance.event_log_storage.claim_concurrency_slot("image_store", "0" * 8 + "-of-a-run-that-is-gone", "a step")


def shut_pool(place: Place) -> None:
    with place.instance() as instance:
        instance.event_log_storage.set_concurrency_slots("imaging_database", 0)


def state(name: str, status: InstigatorStatus = InstigatorStatus.RUNNING) -> InstigatorState:
    module = LoadableTargetOrigin(executable_path=sys.executable, module_name="c4_assets.definitions")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(module, location_name="c4")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    return InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData())


def ticked(place: Place, name: str, status: TickStatus, error: str = "", count: int = 1) -> None:
    with place.instance() as instance:
        of = state(name)
        if instance.get_instigator_state(of.instigator_origin_id, of.selector_id) is None:
            instance.add_instigator_state(of)
        for number in range(count):
            tick = TickData(
                instigator_origin_id=of.instigator_origin_id,
                instigator_name=name,
                instigator_type=InstigatorType.SENSOR,
                status=status,
                timestamp=time.time() - (1 if status is TickStatus.STARTED else 60 - number),
                selector_id=of.selector_id,
                error=SerializableErrorInfo(error, [], "C4Error") if error else None,
            )
            instance.create_tick(tick)


def stopped_sensor(place: Place) -> None:
    with place.instance() as instance:
        instance.add_instigator_state(state("new_inspections", InstigatorStatus.STOPPED))


def failing_tick(place: Place) -> None:
    said = "The imaging database postgresql://c4:pl4nted-secret@lims/x does not answer."
    ticked(place, "new_inspections", TickStatus.FAILURE, said, 3)


def failing_tick_while_one_is_at_work(place: Place) -> None:
    failing_tick(place)
    ticked(place, "new_inspections", TickStatus.STARTED)


def one_failed_tick_of_many(place: Place) -> None:
    ticked(place, "lost_runs", TickStatus.FAILURE, "The storage was away.")


def renamed_sensor(place: Place) -> None:
    ticked(place, "poll_inspections", TickStatus.SKIPPED)


def lacking_yaml(place: Place) -> None:
    file = place.home / "dagster" / "dagster.yaml"
    file.unlink()
    file.write_text("telemetry: {enabled: false}\nrun_monitoring: {enabled: false}\n")


def yaml_of_other_settings(place: Place) -> None:
    other = Settings.from_environment({"C4_HOME": str(place.home), "C4_RUNS_EXECUTOR": "slurm"})
    prepare_dagster_home(other)


def no_dagster_storage(place: Place) -> None:
    place.set(C4_RUNS_DAGSTER_STORAGE="postgres")
    put_dagster_yaml(place.home / "dagster" / "dagster.yaml", shipped_dagster_yaml(place.settings))


def no_slurm(place: Place) -> None:
    folder = place.home / "slurm-commands"
    folder.mkdir()
    for name in ("sinfo", "scontrol", "sacct"):
        (folder / name).write_text("#!/bin/sh\necho 'sinfo: error: Unable to contact slurm controller' >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    place.write(f'[slurm]\nfolder = "{place.home}/jobs"\ncommands = "{folder}"\n')


def database_stopped(place: Place) -> None:
    place.set(C4_DATABASE_URL=f"postgresql+psycopg2://c4:{PASSWORD}@127.0.0.1:{free_port()}/lims")


def wrong_password(place: Place) -> None:
    place.postgresql(password="pl4nted-secret")


def missing_grant(place: Place) -> None:
    assert place.server
    name = place.postgresql("reader", "r3ad")
    place.server.execute("grant select, insert, update, delete on all tables in schema public to reader", name)
    place.server.execute("revoke insert on scores from reader", name)


def databases_clock_is_behind(place: Place) -> None:
    place.postgresql()
    ahead = SimpleNamespace(time=lambda: time.time() + 90)
    place.monkeypatch.setattr("c4_assets.operations.doctor.databases.time", ahead)


def login_refused(place: Place) -> None:
    make_key(place.home / "other_key")
    place.by_ssh(C4_STORE_SSH_KEY=place.home / "other_key")


def other_host_key(place: Place) -> None:
    assert place.ssh
    make_key(place.home / "strange")
    (place.home / "known").write_text(f"[127.0.0.1]:{place.ssh.port} {(place.home / 'strange.pub').read_text()}")
    place.by_ssh(C4_STORE_KNOWN_HOSTS=place.home / "known")


def storage_hosts_clock_is_behind(place: Place) -> None:
    place.by_ssh()
    ahead = SimpleNamespace(time=lambda: time.time() + 30)
    place.monkeypatch.setattr("resources.image_store.ssh_clock.time", ahead)


BROKEN: dict[Callable[[Place], None], tuple[str, Verdict, str, str]] = {
    unknown_key: ("configuration.settings", FAILED, "cannot be used", "Did you mean scratch_gigabytes?"),
    old_variables: ("configuration.old_variables", WARNED, "C4_MAX_ATTEMPTS", "is C4_RUNS_MAX_ATTEMPTS"),
    readable_secret: ("configuration.permissions", FAILED, "it holds a secret", "chmod o-rwx"),
    writable_settings: ("configuration.permissions", FAILED, "others may change it", "chmod go-w"),
    missing_folder: ("folders.scratch", FAILED, "is not there", "mkdir -p"),
    full_disk: ("folders.scratch.space", FAILED, "0.0 GB free", "Make room"),
    logs_elsewhere: ("folders.logs", FAILED, "is not there", "mkdir -p"),
    thumbnails_elsewhere: ("folders.thumbnails", FAILED, "is not there", "mkdir -p"),
    no_inodes: ("folders.home.inodes", FAILED, "0% of inodes", "du --inodes"),
    no_locks: ("folders.home", FAILED, "home, data, scratch", "mount it with them"),
    not_upgraded: ("database.migrations", FAILED, "another release", "c4 db upgrade"),
    image_gone: ("image.fetched", FAILED, "did not come", "copy it there"),
    image_is_none: ("image.decoded", FAILED, "could not be decoded", "image"),
    store_not_mounted: ("store.answers", FAILED, "the image store", "is empty: mount it"),
    other_weights: ("model.weights", FAILED, "sha256 differs", "c4 model fetch marco"),
    no_weights: ("model.weights", FAILED, "the files of the model marco", "c4 model fetch marco"),
    missing_extra: ("versions.extras", FAILED, "asyncssh, which store.url needs", "make install EXTRAS=ssh"),
    dead_daemon: ("dagster.daemons", FAILED, "SENSOR is silent for 3 hours", "c4 ui"),
    dead_run: ("dagster.runs", FAILED, "was killed", "c4 doctor --fix"),
    leaked_slot: ("dagster.pools", FAILED, "1 slots of the pool image_store", "c4 doctor --fix"),
    shut_pool: ("dagster.pools", FAILED, "imaging_database has the limit 0", "4 by default"),
    stopped_sensor: ("dagster.ticks", FAILED, "new_inspections is stopped", "Start it again"),
    failing_tick: ("dagster.ticks", FAILED, "its last 3 ticks have failed", "does not answer"),
    failing_tick_while_one_is_at_work: ("dagster.ticks", FAILED, "its last 3 ticks have failed", "does not answer"),
    one_failed_tick_of_many: ("dagster.ticks", WARNED, "its last tick has failed", "was away"),
    renamed_sensor: ("dagster.ticks", WARNED, "poll_inspections has a state", "was renamed"),
    lacking_yaml: ("dagster.yaml", FAILED, "lacks", "c4 config --dagster-yaml"),
    yaml_of_other_settings: ("dagster.yaml", WARNED, "other settings", "c4 doctor --fix"),
    no_dagster_storage: ("dagster.storage", FAILED, "cannot be opened", 'variable "DAGSTER_POSTGRES_'),
    no_slurm: ("slurm.answers", FAILED, "Slurm", "Unable to contact slurm controller"),
    database_stopped: ("database.answers", FAILED, "the imaging database", "does not answer (connection to server"),
    wrong_password: ("database.answers", FAILED, "the imaging database", "refuses C4's login"),
    missing_grant: ("contract.scores", FAILED, "lacks the right to insert", "GRANT SELECT, INSERT, UPDATE, DELETE"),
    databases_clock_is_behind: ("database.clock", FAILED, "90 s behind", "NTP"),
    login_refused: ("store.answers", FAILED, "the image store", "authorized_keys"),
    other_host_key: ("store.answers", FAILED, "the image store", "host key"),
    storage_hosts_clock_is_behind: ("store.clock", WARNED, "behind this machine's", "NTP"),
}
"""Set-ups that are broken, and of each the line: its id, how it ends, what it says, what it advises."""

ON_POSTGRESQL = {wrong_password, missing_grant, databases_clock_is_behind}
BY_SSH = {login_refused, other_host_key, storage_hosts_clock_is_behind}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_of_a_broken_set_up_the_right_line_fails_with_the_right_advice(
    place: Place, broken: Callable[[Place], None], request: pytest.FixtureRequest
) -> None:
    if broken in ON_POSTGRESQL:
        place.server = request.getfixturevalue("server")
    if broken in BY_SSH:
        place.ssh = request.getfixturevalue("ssh_host")
    broken(place)
    found = findings(look_around(patience=PATIENCE_S))
    id_, verdict, what, fix = BROKEN[broken]
    lines = [each for each in found if each.id == id_ and each.verdict is verdict and what in each.what]
    assert lines, told(found)
    assert any(fix in each.fix for each in lines), told(found)
    others = {each.id for each in found if each.verdict is FAILED and each.id != id_}
    assert others <= FOLLOW.get(broken, set()), told(found)
    assert exit_status(found) == (1 if verdict is FAILED else 0), told(found)
    assert "pl4nted-secret" not in as_printed(found)


FOLLOW: dict[Callable[[Place], None], set[str]] = {
    full_disk: {"folders.scratch"},
    no_inodes: {"folders.dagster_home.inodes"},
    no_locks: {"folders.dagster_home"},
    missing_extra: {"store.answers"},
}
"""What else fails of the same cause."""


def as_printed(found: Sequence[Finding]) -> str:
    """What is printed, as the command prints it."""
    return "\n".join(redacted(line) for each in found for line in lines_of(each)) + as_json(found, redacted)


def c4_doctor(place: Place, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, as an operator types it."""
    environment = {**os.environ, **variables}
    command = [str(Path(sys.executable).with_name("c4")), "doctor", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=place.home, check=False)


def test_when_every_host_hangs_it_ends_within_ten_seconds_and_names_each(place: Place) -> None:
    with listener(say_nothing) as port:
        place.by_no_answer(port)
        began = time.monotonic()
        done = c4_doctor(place, "--json")
        took = time.monotonic() - began
    report = json.loads(done.stdout)
    assert took <= 10, took
    assert done.returncode == 1
    assert report["ok"] is False
    status = {each["id"]: each["status"] for each in report["checks"]}
    hanging = {"database.answers", "store.answers", "dagster.storage"}
    assert {name for name, verdict in status.items() if verdict == "failed"} == hanging, done.stdout
    assert {status[name] for name in ("contract", "image.fetched", "dagster.daemons", "slurm")} == {"not seen"}
    assert "pl4nted-secret" not in done.stdout + done.stderr
    assert {each["id"] for each in report["checks"]} > hanging
    for each in report["checks"]:
        assert set(each) == {"id", "status", "what", "fix", "seconds"}
        assert each["seconds"] <= 6


def test_slurm_that_does_not_answer_over_ssh_is_one_line(place: Place) -> None:
    with listener(say_nothing) as port:
        place.login_node(port)
        done = c4_doctor(place, "--patience", "3")
    assert done.returncode == 1, done.stdout
    assert "✗ Slurm: no answer within" in done.stdout
    assert "slurmctld" in done.stdout


def test_settings_that_cannot_be_read_are_one_line_and_the_rest_is_looked_at(place: Place) -> None:
    unknown_key(place)
    done = c4_doctor(place, C4_MAX_ATTEMPTS="4")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("✗")] == ["✗ the settings cannot be used"]
    assert any("scratch_gigabites" in line and "Did you mean" in line for line in lines)
    assert any(line.startswith("! variables of an older release") for line in lines)
    assert any(line.startswith("✓ C4 ") for line in lines)


def test_what_is_safe_is_mended_and_said_and_a_second_time_there_is_nothing_to_do(place: Place) -> None:
    for broken in (readable_secret, missing_folder, not_upgraded, dead_run, leaked_slot, yaml_of_other_settings):
        broken(place)
    before = findings(look_around(patience=PATIENCE_S))
    assert {each.id for each in before if each.safe} == {
        "configuration.permissions",
        "folders.scratch",
        "database.migrations",
        "dagster.runs",
        "dagster.pools",
        "dagster.yaml",
    }
    done = c4_doctor(place, "--fix", "--json", "--patience", "30")
    report = json.loads(done.stdout)
    said = "\n".join(report["mended"])
    for words in ("chmod o-rwx", "made the folder", "up to date", "ended a dead run", "freed the slots", "renewed"):
        assert words in said, said
    assert done.returncode == 0, done.stdout
    assert report["ok"] is True
    assert (place.home / "secrets" / "ui_password").stat().st_mode & 0o777 == 0o640
    assert mend(look_around(patience=PATIENCE_S)) == []


def test_a_new_deployment_is_prepared_by_mending_it(place: Place, tmp_path: Path) -> None:
    done = c4_doctor(
        place, "--fix", "--patience", "30", C4_HOME=str(tmp_path / "new"), C4_STORE_URL=f"{place.home}/images"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Mended: made the folder" in done.stdout
    assert "! the imaging database lists no image" in done.stdout


def test_a_database_of_others_is_not_upgraded(place: Place, server: Server) -> None:
    place.server = server
    place.postgresql()
    not_upgraded(place)
    found = {each.id: each for each in findings(look_around(patience=PATIENCE_S))}
    assert found["database.migrations"].verdict is FAILED
    assert not found["database.migrations"].safe
    assert "Make a backup" in found["database.migrations"].fix


def test_a_site_s_own_dagster_yaml_is_never_renewed(place: Place) -> None:
    lacking_yaml(place)
    file = place.home / "dagster" / "dagster.yaml"
    before = file.read_text()
    mend(look_around(patience=PATIENCE_S))
    assert file.read_text() == before


def test_each_daemon_that_lives_is_told_from_one_that_is_dead(place: Place) -> None:
    now = datetime.now(UTC)
    beat(place, timedelta(seconds=20))
    with place.instance() as instance:
        (well,) = daemons(instance, now)
        needed = len(instance.get_required_daemon_types())
        assert (well.verdict, well.what) == (PASSED, f"all {needed} daemons live")
        assert needed >= 7
        dead = list(daemons(instance, now + timedelta(minutes=11)))
        assert [each.verdict for each in dead] == [FAILED] * needed
        assert "is silent for 11 minutes" in dead[0].what


def seen(*verdicts: Verdict) -> list[Finding]:
    return [Finding(f"a.{number}", "seen", verdict) for number, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((), 0),
        ((PASSED, WARNED), 0),
        ((PASSED, NOT_SEEN, WARNED), 2),
        ((NOT_SEEN, FAILED), 1),
    ],
)
def test_the_exit_status_says_well_to_mend_or_not_seen(verdicts: Sequence[Verdict], status: int) -> None:
    assert exit_status(seen(*verdicts)) == status
    assert json.loads(as_json(seen(*verdicts), str))["ok"] is (status == 0)


def check(id_: str, look: Callable[[], Iterable[Finding]], *after: str, silence: str = "") -> Check:
    return Check(id_, "Section", f"thing {id_}", look, after, patience=0.3, silence=silence)


def test_what_rests_on_something_that_fails_is_not_seen_and_names_what_is_at_the_bottom() -> None:
    bad = check("a", lambda: [Finding("a", "bad", FAILED)])
    found = examine([check("c", seen, "b"), check("b", seen, "a"), bad, check("d", lambda: seen(PASSED))])
    assert [each.findings[0].verdict for each in found] == [NOT_SEEN, NOT_SEEN, FAILED, PASSED]
    assert "rests on thing a (a)" in found[0].findings[0].what


def test_a_check_that_hangs_keeps_what_it_has_seen_and_holds_up_no_other() -> None:
    def hangs() -> Iterator[Finding]:
        yield Finding("a", "seen before")
        time.sleep(30)

    began = time.monotonic()
    late, silent, other = examine(
        [check("a", hangs), check("b", hangs, silence="Ask its administrator."), check("c", lambda: seen(PASSED))]
    )
    assert time.monotonic() - began < 3
    assert [each.verdict for each in late.findings] == [PASSED, NOT_SEEN]
    assert [each.verdict for each in silent.findings] == [PASSED, FAILED]
    assert silent.findings[1].fix == "Ask its administrator."
    assert other.holds


def test_all_checks_together_have_a_limit() -> None:
    def hangs() -> Iterator[Finding]:
        time.sleep(30)
        yield Finding("a", "never")

    began = time.monotonic()
    chain = [Check("a", "S", "a", lambda: seen(PASSED), patience=9), Check("b", "S", "b", hangs, ("a",), patience=9)]
    found = examine(chain, together=0.5)
    assert time.monotonic() - began < 2
    assert [each.findings[0].verdict for each in found] == [PASSED, NOT_SEEN]


def test_a_check_that_is_itself_broken_is_a_line() -> None:
    def broken() -> list[Finding]:
        raise KeyError("oh")

    (found,) = examine([check("a", broken)])
    assert found.findings[0].verdict is NOT_SEEN
    assert "KeyError" in found.findings[0].what


def test_checks_that_rest_on_each_other_or_on_none_are_refused() -> None:
    with pytest.raises(ValueError, match="rest on each other: a, b"):
        examine([check("a", seen, "b"), check("b", seen, "a")])
    with pytest.raises(ValueError, match="rest on z"):
        examine([check("a", seen, "z")])


def test_mending_that_fails_is_said_and_the_rest_is_mended() -> None:
    def fails() -> Iterator[str]:
        raise OSError("no room")

    broken = (Finding("a", "bad", FAILED, "do", safe=True),)
    checks = [Check("a", "S", "a", seen, mend=fails), Check("b", "S", "b", seen, mend=lambda: ["mended b"])]
    assert mend([Examined(each, broken) for each in checks]) == ["a could not be mended: no room", "mended b"]


def test_a_narrow_terminal_folds_words_and_leaves_commands_whole() -> None:
    finding = Finding(
        "a", "the folder is not there, and nobody knows why", FAILED, "mkdir -p /a/long/path/of/a/whole/site"
    )
    lines = lines_of(finding, width=30)
    assert lines[0] == "✗ the folder is not there, and"
    assert lines[1] == "  nobody knows why"
    assert lines[-1].strip() == "/a/long/path/of/a/whole/site"
    assert lines_of(finding) == ["✗ " + finding.what, "    " + finding.fix]


def test_a_terminal_without_such_characters_gets_others() -> None:
    assert lines_of(Finding("a", "seen", FAILED), encoding="ascii") == ["x seen"]


def test_a_test_message_is_sent_when_asked_for_and_a_channel_that_refuses_it_is_named(place: Place) -> None:
    with http_receiver() as web:
        place.set(C4_ALERTS_WEBHOOK=f"{web.url}/hook/pl4nted-secret")
        quiet = {each.id: each for each in findings(look_around(patience=PATIENCE_S))}
        assert quiet["channels"].what.startswith("messages go to webhook")
        assert web.received == []
        sent = {each.id: each for each in findings(look_around(patience=PATIENCE_S, send_test=True))}
        assert sent["channels.webhook"].verdict is PASSED
        assert len(web.received) == 1
        web.answer = Answer(status=500, body=b"broken")
        refused = {each.id: each for each in findings(look_around(patience=PATIENCE_S, send_test=True))}
    assert refused["channels.webhook"].verdict is FAILED
    assert "500" in refused["channels.webhook"].fix
    assert "pl4nted-secret" not in as_printed(list(refused.values()))


def test_a_mail_server_without_recipients_is_no_channel_for_operators(place: Place) -> None:
    place.set(C4_ALERTS_EMAIL__HOST="127.0.0.1", C4_ALERTS_EMAIL__PORT="9", C4_ALERTS_EMAIL__SENDER="c4@facility.org")
    seen = [each for each in findings(look_around(patience=PATIENCE_S, send_test=True)) if "channels" in each.id]
    assert [(each.id, each.verdict) for each in seen] == [("channels", WARNED)]
    assert "alerts.email.recipients" in seen[0].fix
