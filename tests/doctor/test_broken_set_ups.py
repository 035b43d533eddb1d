"""`c4 doctor`: a good set-up is well, and of each broken one the right line fails with the right advice."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from c4_assets.command.doctor import look_around
from c4_assets.deployment_home import PREPARATION_LOCK
from c4_assets.operations.doctor.render import exit_status
from c4_assets.runs.instance_health import daemons
from resources.file_lock import locked
from resources.findings import Verdict
from tests.doctor.faults import (
    beat,
    database_stopped,
    databases_clock_is_behind,
    dead_daemon,
    dead_run,
    failing_tick,
    failing_tick_while_one_is_at_work,
    full_disk,
    image_gone,
    image_is_none,
    lacking_yaml,
    leaked_slot,
    login_refused,
    logs_elsewhere,
    machines_environment_that_a_group_may_write,
    missing_extra,
    missing_folder,
    missing_grant,
    no_dagster_storage,
    no_inodes,
    no_locks,
    no_slurm,
    no_weights,
    not_upgraded,
    old_variables,
    one_failed_tick_of_many,
    other_host_key,
    other_weights,
    readable_environment_of_services,
    readable_secret,
    renamed_sensor,
    shut_pool,
    stopped_sensor,
    storage_hosts_clock_is_behind,
    store_not_mounted,
    thumbnails_elsewhere,
    unknown_key,
    writable_settings,
    wrong_password,
    yaml_of_other_settings,
)
from tests.doctor.place import PATIENCE_S, Place, as_printed, c4_doctor, findings, told

PASSED, WARNED, FAILED, NOT_SEEN = Verdict


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


BROKEN: dict[Callable[[Place], None], tuple[str, Verdict, str, str]] = {
    unknown_key: ("configuration.settings", FAILED, "cannot be used", "Did you mean scratch_gigabytes?"),
    old_variables: ("configuration.old_variables", WARNED, "C4_MAX_ATTEMPTS", "is C4_RUNS_MAX_ATTEMPTS"),
    readable_secret: ("configuration.permissions", FAILED, "it holds a secret", "chmod g-w,o-rwx"),
    readable_environment_of_services: ("configuration.permissions", FAILED, "home/environment", "chmod g-w,o-rwx"),
    machines_environment_that_a_group_may_write: (
        "configuration.permissions",
        FAILED,
        "environment",
        "chmod g-w",
    ),
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
    dead_daemon: ("dagster.daemons", FAILED, "SENSOR is silent for 3 h", "c4 ui"),
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
    no_locks: {"folders.dagster_home", "dagster.storage"},
    missing_extra: {"store.answers"},
}
"""What else fails of the same cause."""


def test_settings_that_cannot_be_read_are_one_line_and_the_rest_is_looked_at(place: Place) -> None:
    unknown_key(place)
    done = c4_doctor(place, C4_MAX_ATTEMPTS="4")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("✗")] == ["✗ the settings cannot be used"]
    assert any("scratch_gigabites" in line and "Did you mean" in line for line in lines)
    assert any(line.startswith("! variables of an older release") for line in lines)
    assert any(line.startswith("✓ C4 ") for line in lines)


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
        assert "is silent for 11 min" in dead[0].what


@pytest.mark.parametrize(("errors", "verdict"), [(1, WARNED), (5, FAILED)])
def test_a_daemon_that_only_errs_is_told_from_one_that_has_erred(place: Place, errors: int, verdict: Verdict) -> None:
    beat(place, timedelta(seconds=20), errors)
    with place.instance() as instance:
        found = list(daemons(instance, datetime.now(UTC)))
        assert {each.verdict for each in found if "the daemon" in each.what} == {verdict}
        assert any("daemons live" in each.what for each in found) == (verdict is WARNED)


def test_an_instance_that_another_process_makes_is_waited_for_and_then_left_alone(place: Place) -> None:
    shutil.rmtree(place.home / "dagster" / "schedules")
    with locked(place.home / "dagster" / PREPARATION_LOCK):
        (found,) = (each.findings for each in look_around(patience=PATIENCE_S) if each.check.id == "dagster.storage")
        assert [each.verdict for each in found] == [NOT_SEEN]
        assert "is being made by another process" in found[0].fix
        assert not (place.home / "dagster" / "schedules").exists()
    (found,) = (each.findings for each in look_around(patience=PATIENCE_S) if each.check.id == "dagster.storage")
    assert [each.verdict for each in found] == [PASSED]
