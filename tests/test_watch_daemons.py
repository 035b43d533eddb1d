"""What the watch sees of daemons, sensors and schedules that are silent, fail or stall."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

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
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.alerts.records import Event, Observation
from c4_assets.operations.metrics.catalogue import Sample
from c4_assets.runs.instance_health import daemons, ticks
from c4_assets.runs.metrics import dagster_samples
from c4_assets.runs.ticking import SCHEDULES, SENSORS
from c4_assets.runs.watch.daemons import look_at_daemons, look_at_ticks
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.ssh import NoAnswer
from tests.watchers import NOW, only


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
    told = only(look_at_daemons(instance, NOW).holding)
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


WRONG = SerializableErrorInfo("no such column", [], "Wrong")


def ticked(
    instance: dg.DagsterInstance,
    state: InstigatorState,
    ago: timedelta,
    status: TickStatus,
    why: SerializableErrorInfo = WRONG,
) -> None:
    error = why if status is TickStatus.FAILURE else None
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


@pytest.mark.parametrize(
    ("own", "driver", "said"),
    [
        (ConfigurationError("The password is wrong."), OSError("28P01"), "The password is wrong."),
        (NoAnswer("The host is silent."), OSError("timed out"), "The host is silent."),
        (RuntimeError("somewhere in a library"), OSError("file is not\na database"), "file is not a database"),
    ],
)
def test_a_failed_tick_and_a_daemon_say_why_and_not_where_dagster_met_it(
    tmp_path: Path, own: Exception, driver: Exception, said: str
) -> None:
    try:
        try:
            raise own from driver
        except Exception as error:
            raise RuntimeError("Error occurred during the execution of evaluation_fn for sensor traces") from error
    except RuntimeError:
        kept = serializable_error_info_from_exc_info(sys.exc_info())
    state = instigator("new_inspections", InstigatorType.SENSOR, 3600)
    with dagster_instance(Settings(home=tmp_path / "home")) as instance:
        instance.add_instigator_state(state)
        ticked(instance, state, timedelta(), TickStatus.FAILURE, kept)
        for name in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(NOW.timestamp(), name, "one", [kept]))
        assert only(look_at_ticks(instance, NOW).holding).summary == f"The sensor new_inspections failed: {said}"
        assert [each.fix for each in ticks(instance, NOW)] == [f"It says: {said}"]
        assert said in [each.fix for each in daemons(instance, NOW)]


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
