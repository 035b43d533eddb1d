"""What the watch sees of services, disks and the daemon, each of which is away, filling or dead for real."""

import socket
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat

from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity
from c4_assets.operations.disks import GB, Room, severity_of
from c4_assets.operations.metrics.catalogue import Sample
from c4_assets.runs.instance_health import ticks
from c4_assets.runs.metrics import dagster_samples
from c4_assets.runs.ticking import SCHEDULES, SENSORS
from c4_assets.runs.watch.bounded import answers_within
from c4_assets.runs.watch.daemons import look_at_daemons, look_at_ticks
from c4_assets.runs.watch.idle import look_at_imaging
from c4_assets.runs.watch.look import look, look_at_disks
from c4_assets.runs.watch.outages import BELIEVED_FOR, met_by_step, outages
from c4_assets.runs.watch.services import look_at_services
from resources.imaging_database.register import NewImage, register_inspection
from resources.settings import Settings
from testing.listeners import listener, say_nothing
from tests.conftest import Facility, noon, photograph, unavailable

NOW = datetime.now(UTC)

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def keys(observation: Observation) -> list[str]:
    return [condition.key for condition in observation.holding]


def only(observation: Observation) -> Condition:
    (condition,) = observation.holding
    return condition


def elsewhere(settings: Settings, **changes: Any) -> Settings:
    """The same deployment with other settings."""
    values: dict[str, Any] = {**settings.model_dump(), **changes}
    return Settings(**values)


def test_services_that_answer_are_asked_at_intervals_and_nothing_holds(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    seen, cursor = look_at_services(facility.instance, facility.settings, {}, NOW)
    assert seen == Observation(looked_at=frozenset({"database-away", "store-away", "slurm-away"}))
    later = NOW + timedelta(minutes=2)
    _, after = look_at_services(facility.instance, facility.settings, cursor, later)
    assert after["database"] == later.isoformat()
    assert after["store"] == NOW.isoformat(), "a login over ssh each minute would fill the storage host's log"


def test_a_database_that_is_away_is_told_since_when_and_with_the_runs_that_wait_until_it_is_back(
    facility: Facility,
) -> None:
    for number in range(7):
        facility.instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                status=dg.DagsterRunStatus.STARTED,
                tags={"dagster/backfill": "years", "dagster/partition": noon(number).date().isoformat()},
            )
        )
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    away = elsewhere(facility.settings, database={"url": f"postgresql+psycopg2://c4:secret@127.0.0.1:{port}/lims"})
    for minutes in (0, 20):
        seen, _ = look_at_services(facility.instance, away, {}, NOW + timedelta(minutes=minutes), "https://c4")
        told = only(seen)
        assert (told.event, told.severity, told.since) == (Event.DATABASE_AWAY, Severity.ERROR, NOW)
        assert "secret" not in str(told)
        assert len(told.subjects) == 7
        assert sum(bool(subject.url) for subject in told.subjects) == 5
    seen, _ = look_at_services(facility.instance, facility.settings, {}, NOW + timedelta(minutes=30))
    assert seen.holding == ()
    assert outages(facility.instance, NOW) == []


def test_an_image_store_whose_folder_is_gone_is_away(facility: Facility) -> None:
    facility.images.rmdir()
    seen, _ = look_at_services(facility.instance, facility.settings, {}, NOW)
    assert seen.holding == (), "no image is listed yet: nobody needs it"
    register_inspection(facility.database, "P1", noon(1), None, [NewImage("A01", 1, "P1/a.jpg")])
    seen, _ = look_at_services(facility.instance, facility.settings, {}, NOW)
    assert keys(seen) == ["store-away"]


@pytest.fixture
def slurm_without_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The settings of a Slurm whose commands are not there, whatever this machine has."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return {"folder": tmp_path, "commands": tmp_path / "empty"}


def test_a_cluster_without_its_commands_is_away(facility: Facility, slurm_without_commands: dict[str, Path]) -> None:
    with_slurm = elsewhere(facility.settings, slurm=slurm_without_commands)
    seen, _ = look_at_services(facility.instance, with_slurm, {}, NOW)
    assert keys(seen) == ["slurm-away"]
    seen, _ = look_at_services(facility.instance, facility.settings, {}, NOW)
    assert seen.holding == (), "whoever takes Slurm out of the settings because it is away hears no more of it"
    assert "slurm-away" in seen.looked_at
    assert outages(facility.instance, NOW) == []


def test_an_outage_of_a_service_that_is_no_longer_in_the_settings_ends(
    facility: Facility, slurm_without_commands: dict[str, Path]
) -> None:
    with_slurm = elsewhere(facility.settings, slurm=slurm_without_commands)
    look_at_services(facility.instance, with_slurm, {}, NOW)
    met_by_step(facility.instance, "slurm", "sbatch is not there")
    assert len(outages(facility.instance, NOW)) == 2
    seen, _ = look_at_services(facility.instance, facility.settings, {}, NOW)
    assert seen.holding == ()
    assert "slurm-away" in seen.looked_at, "so that its incident ends"
    assert outages(facility.instance, NOW) == [], "failed runs are told again"


def test_a_service_that_hangs_holds_up_a_look_for_seconds_and_is_not_asked_twice_at_once(facility: Facility) -> None:
    with listener(say_nothing) as port:
        hung = elsewhere(facility.settings, database={"url": f"postgresql+psycopg2://c4@127.0.0.1:{port}/lims"})
        asked: list[float] = []

        def hangs() -> None:
            asked.append(time.monotonic())
            time.sleep(3)

        began = time.monotonic()
        for _ in range(3):
            answer = answers_within(0.2, {"a share that is gone": hangs})["a share that is gone"]
            assert isinstance(answer, TimeoutError)
        assert time.monotonic() - began < 2
        assert len(asked) == 1
        from c4_assets.runs.watch.probes import PROBES, ask

        began = time.monotonic()
        error = ask({"database": PROBES["database"]}, hung, seconds=1)["database"]
        assert time.monotonic() - began < 3
        assert "no answer within 1 s" in str(error)


def test_what_a_backfills_step_has_met_is_told_until_a_step_meets_it_no_more(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    moved = facility.images.with_name("moved")
    facility.images.rename(moved)
    facility.images.mkdir()
    from c4_assets.runs import step_failures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_failures, "BACKFILL_ATTEMPTS", 0)
        facility.backfill(noon(1), noon(1), raise_on_error=False)
    (outage,) = outages(facility.instance, datetime.now(UTC))
    assert (outage.service, outage.place) == ("store", "steps")
    seen, _ = look_at_services(facility.instance, facility.settings, {}, datetime.now(UTC), probes={})
    assert "where steps run" in only(seen).summary
    facility.images.rmdir()
    moved.rename(facility.images)
    later = datetime.now(UTC) + BELIEVED_FOR + timedelta(seconds=1)
    seen, _ = look_at_services(facility.instance, facility.settings, {}, later)
    assert seen.holding == ()


def test_a_database_that_a_step_could_not_reach_is_well_when_a_step_has_reached_it(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    met_by_step(facility.instance, "database", "from this node there is no way")
    assert len(outages(facility.instance, datetime.now(UTC))) == 1
    facility.score()
    assert outages(facility.instance, datetime.now(UTC)) == []


def test_nothing_imaged_is_told_from_the_databases_own_history_and_asked_for_every_ten_minutes(
    facility: Facility,
) -> None:
    now = datetime(2026, 5, 4, 15, tzinfo=UTC)
    for week in range(1, 9):
        for minute in range(0, 360, 30):
            at = now - timedelta(weeks=week) - timedelta(minutes=minute)
            register_inspection(facility.database, f"P{week}-{minute}", at, None, [NewImage("A01", 1, "a.jpg")])
    seen, cursor = look_at_imaging(facility.settings, "", now)
    told = only(seen)
    assert told.event is Event.NOTHING_IMAGED
    assert "in the same hours of the last" in told.summary.lower()
    again, _ = look_at_imaging(facility.settings, cursor, now + timedelta(minutes=5))
    assert again == Observation(), "neither holds nor has ended: nobody has looked"
    register_inspection(facility.database, "P-new", now, None, [NewImage("A01", 1, "a.jpg")])
    seen, _ = look_at_imaging(facility.settings, cursor, now + timedelta(minutes=11))
    assert seen == Observation(looked_at=frozenset({"nothing-imaged"}))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB with 20 inodes."""
    with small_file_system(tmp_path / "small") as folder:
        yield folder


@contextmanager
def small_file_system(folder: Path) -> Generator[Path]:
    """A new folder on a file system of 1 MB with 20 inodes, until the block ends."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        unavailable("a small file system cannot be mounted: run the tests as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_fills_is_told_by_bytes_and_by_inodes_and_well_again_with_room(
    small_disk: Path, facility: Facility
) -> None:
    settings = elsewhere(facility.settings, scratch=small_disk)

    def of_staging() -> list[Condition]:
        return [each for each in look_at_disks(settings).holding if each.key == "disk-filling:staging"]

    assert of_staging() == []
    (small_disk / "large").write_bytes(b"0" * 900_000)
    (told,) = of_staging()
    assert told.severity is Severity.ERROR
    assert "0.0 GB" in told.summary
    (small_disk / "large").unlink()
    assert of_staging() == []
    for number in range(18):
        (small_disk / str(number)).touch()
    (told,) = of_staging()
    assert "inodes" in told.summary


@pytest.mark.parametrize(
    ("room", "severity"),
    [
        (Room(1000 * GB, 500 * GB), None),
        (Room(100_000 * GB, 200 * GB), None),  # a large archive with 0.2 % free: years of scores
        (Room(400 * GB, 35 * GB), Severity.WARNING),
        (Room(400 * GB, 10 * GB), Severity.ERROR),
        (Room(100_000 * GB, 1 * GB), Severity.ERROR),
        (Room(1000 * GB, 500 * GB, 1000, 50), Severity.WARNING),
        (Room(1000 * GB, 500 * GB, 1000, 10), Severity.ERROR),
        (Room(1000 * GB, 500 * GB, 0, 0), None),  # a file system without inodes
    ],
)
def test_how_bad_a_disk_is(room: Room, severity: Severity | None) -> None:
    assert severity_of(room) is severity


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dg.DagsterInstance]]:
    """A deployment's own instance on disk, of which the daemons are known."""
    settings = Settings(home=tmp_path_factory.mktemp("watched") / "home")
    with dagster_instance(settings) as instance:
        yield settings, instance


def test_a_daemon_that_gives_no_sign_of_life_is_told(on_disk: tuple[Settings, dg.DagsterInstance]) -> None:
    _, instance = on_disk
    for name in instance.get_required_daemon_types():
        silent = timedelta(minutes=30 if name == "SCHEDULER" else 1)
        instance.add_daemon_heartbeat(DaemonHeartbeat((NOW - silent).timestamp(), name, "one", None))
    told = only(look_at_daemons(instance, NOW))
    assert told.event is Event.DAEMON_SILENT
    assert told.summary == "Dagster's daemon has given no sign of life for 30 min: SCHEDULER."
    assert look_at_daemons(instance, NOW - timedelta(minutes=25)).holding == ()


def instigator(name: str, kind: InstigatorType, every: int = 30, location: str = "c4") -> InstigatorState:
    """The state of a sensor or schedule that is on, as the daemon keeps it."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    origin = RemoteInstigatorOrigin(repository, name)
    is_sensor = kind is InstigatorType.SENSOR
    data = SensorInstigatorData(min_interval=every) if is_sensor else ScheduleInstigatorData(cron_schedule="0 6 * * *")
    return InstigatorState(origin, kind, InstigatorStatus.RUNNING, data)


def ticked(instance: dg.DagsterInstance, state: InstigatorState, ago: timedelta, status: TickStatus) -> None:
    from dagster_shared.error import SerializableErrorInfo

    error = SerializableErrorInfo("no such column", [], "Wrong") if status is TickStatus.FAILURE else None
    at = (NOW - ago).timestamp()
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            state.instigator_name,
            state.instigator_type,
            status,
            at,
            selector_id=state.selector_id,
            error=error,
            end_timestamp=at,
        )
    )


def test_sensors_and_schedules_that_fail_or_stall_are_told_and_one_failure_of_what_ticks_often_is_not(
    on_disk: tuple[Settings, dg.DagsterInstance],
) -> None:
    _, instance = on_disk
    minute = timedelta(minutes=1)
    hourly = instigator("new_inspections", InstigatorType.SENSOR, 3600)
    often = instigator("lost_runs", InstigatorType.SENSOR, 60)
    thrice = instigator("requested_days", InstigatorType.SENSOR, 15)
    stalled = instigator("messages", InstigatorType.SENSOR, 15)
    daily = instigator("settle_yesterday", InstigatorType.SCHEDULE)
    others = InstigatorState(
        RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("accounting"), "r"), "theirs"),
        InstigatorType.SENSOR,
        InstigatorStatus.RUNNING,
        SensorInstigatorData(min_interval=3600),
    )
    for state in (hourly, often, thrice, stalled, daily, others):
        instance.add_instigator_state(state)
    for state in (hourly, often, others):
        ticked(instance, state, 2 * minute, TickStatus.SKIPPED)
        ticked(instance, state, minute, TickStatus.FAILURE)
    for number in (3, 2, 1):
        ticked(instance, thrice, number * minute, TickStatus.FAILURE)
    ticked(instance, stalled, 20 * minute, TickStatus.SKIPPED)
    ticked(instance, daily, 300 * minute, TickStatus.FAILURE)
    told = {each.key.partition(":")[2]: each.summary for each in look_at_ticks(instance, NOW, "https://c4").holding}
    assert told == {
        "new_inspections": "The sensor new_inspections failed: no such column",
        "requested_days": "The sensor requested_days failed, 3 times in a row: no such column",
        "messages": "The sensor messages has not looked for 20 min.",
        "settle_yesterday": "The schedule settle_yesterday failed: no such column",
    }
    for state in (hourly, thrice, stalled, daily):
        ticked(instance, state, timedelta(), TickStatus.SKIPPED)
    assert look_at_ticks(instance, NOW).holding == ()


def test_what_is_left_of_a_sensor_that_was_renamed_or_moved_is_told_by_nobody_and_the_newer_one_counts(
    tmp_path: Path,
) -> None:
    hour = timedelta(hours=1)
    with dagster_instance(Settings(home=tmp_path / "home")) as instance:
        renamed = instigator("poll_inspections", InstigatorType.SENSOR)
        moved = instigator("new_inspections", InstigatorType.SENSOR, location="c4_assets.definitions")
        now_here = instigator("new_inspections", InstigatorType.SENSOR)
        for state in (renamed, moved, now_here):
            instance.add_instigator_state(state)
        for state in (renamed, moved):
            for number in range(3):
                ticked(instance, state, 48 * hour + number * timedelta(minutes=1), TickStatus.FAILURE)
        ticked(instance, now_here, timedelta(), TickStatus.SKIPPED)
        assert look_at_ticks(instance, NOW) == Observation(looked_at=frozenset({"sensor-failed:"}))
        (stray,) = ticks(instance, NOW)
        assert stray.what.startswith("poll_inspections has a state"), "of a rename a person is told once who asks"
        told = [sample for sample in dagster_samples(instance) if sample.name == "c4_tick_failed"]
        assert told == [Sample("c4_tick_failed", 0.0, ("sensor", "new_inspections"))]


def test_the_names_of_sensors_and_schedules_are_those_of_the_code_location() -> None:
    from c4_assets.definitions import defs

    assert {each.name for each in defs.sensors or ()} == SENSORS
    assert {each.name for each in defs.schedules or ()} == SCHEDULES


def test_a_part_of_the_watch_that_fails_keeps_no_other_from_looking_and_is_told(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Observation:
        raise KeyError("a table of a later release")

    monkeypatch.setattr("c4_assets.runs.watch.look.look_at_ticks", broken)
    seen = look(facility.instance, facility.settings, {}, NOW)
    assert "sensor-failed:run_alerts, ticks" in keys(seen.observation)
    assert "database-away" in seen.observation.looked_at
    monkeypatch.undo()
    seen = look(facility.instance, facility.settings, seen.cursors, NOW)
    assert "sensor-failed:run_alerts, ticks" not in keys(seen.observation)
    assert "sensor-failed:run_alerts, ticks" in seen.observation.looked_at


def test_a_stale_asset_is_told(facility: Facility) -> None:
    from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

    from c4_assets.runs.watch.look import look_at_freshness

    key = dg.AssetKey("db_scores")
    for state in (FreshnessState.FAIL, FreshnessState.PASS):
        change = FreshnessStateChange(
            key=key,
            previous_state=FreshnessState.UNKNOWN,
            new_state=state,
            state_change_timestamp=NOW.timestamp(),
        )
        cast("Any", facility.instance).report_runless_asset_event(change)
        stale = look_at_freshness(facility.instance).holding
        assert [each.key for each in stale] == (["asset-stale:db_scores"] if state is FreshnessState.FAIL else [])
