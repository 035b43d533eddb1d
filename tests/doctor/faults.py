"""Ways in which a set-up is broken."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
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

from c4_assets.deployment_home import prepare_dagster_home, shipped_dagster_yaml
from c4_assets.runs.dagster_yaml import put_dagster_yaml
from c4_assets.runs.run_processes import process_noted
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.database import MIGRATIONS
from resources.settings import Settings
from testing.always import always
from testing.dagster_types import job_without_steps
from testing.ports import free_port
from testing.postgresql import PASSWORD
from testing.sshd import make_key
from tests.doctor.place import Place


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


def readable_environment_of_services(place: Place) -> None:
    (place.home / "environment").write_text("C4_UI_PASSWORD=pl4nted-secret\n")
    (place.home / "environment").chmod(0o644)


def machines_environment_that_a_group_may_write(place: Place) -> None:
    file = place.home / "etc-c4-environment"
    file.write_text("C4_UI_PASSWORD=pl4nted-secret\n")
    file.chmod(0o660)
    place.monkeypatch.setattr("resources.secret_files.SERVICES_ENVIRONMENT", file)


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


def beat(place: Place, ago: timedelta, errors: int = 0) -> None:
    at = (datetime.now(UTC) - ago).timestamp()
    with place.instance() as instance:
        for name in instance.get_required_daemon_types():
            told = [SerializableErrorInfo("CheckError: none\n", [], None)] * errors
            instance.add_daemon_heartbeat(DaemonHeartbeat(at, name, None, told))


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
