"""What the watch sees of services, imaging and disks, each of which is away, silent or filling for real."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from sqlalchemy import text

from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity
from c4_assets.operations.disks import GB, Room, severity_of
from c4_assets.runs.own_runs import REPOSITORY_TAG
from c4_assets.runs.watch.bounded import answers_within
from c4_assets.runs.watch.idle import look_at_imaging
from c4_assets.runs.watch.look import look, look_at_disks
from c4_assets.runs.watch.outages import BELIEVED_FOR, met_by_step, outages
from c4_assets.runs.watch.services import look_at_services
from resources.imaging_database.register import NewImage, register_inspection
from testing.listeners import listener, say_nothing
from testing.settings import elsewhere
from tests.conftest import Facility, noon, photograph
from tests.small_disks import small_file_system
from tests.watchers import NOW, keys, only

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def test_services_that_answer_are_asked_at_intervals_and_nothing_holds(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    seen, cursor = look_at_services(facility.instance, facility.settings, {}, NOW)
    assert seen == Observation(looked_at=frozenset({"database-away", "store-away", "slurm-away"}))
    later = NOW + timedelta(minutes=2)
    _, after = look_at_services(facility.instance, facility.settings, cursor, later)
    assert after["database"] == later.isoformat()
    assert after["store"] == NOW.isoformat(), "a login over ssh each minute would fill the storage host's log"
    put_back = NOW - timedelta(days=1)
    _, after = look_at_services(facility.instance, facility.settings, after, put_back)
    assert set(after.values()) == {put_back.isoformat()}, "a clock that was ahead holds no question up"


def test_a_database_that_is_away_is_told_since_when_and_with_the_runs_that_wait_until_it_is_back(
    facility: Facility,
) -> None:
    for number in range(9):
        location = "accounting" if number > 6 else "c4"
        facility.instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                status=dg.DagsterRunStatus.STARTED,
                tags={
                    "dagster/backfill": "years",
                    "dagster/partition": noon(number).date().isoformat(),
                    REPOSITORY_TAG: f"__repository__@{location}",
                },
            )
        )
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    away = elsewhere(facility.settings, database={"url": f"postgresql+psycopg2://c4:secret@127.0.0.1:{port}/lims"})
    for minutes in (0, 20):
        seen, _ = look_at_services(facility.instance, away, {}, NOW + timedelta(minutes=minutes), "https://c4")
        told = only(seen.holding)
        assert (told.event, told.severity, told.since) == (Event.DATABASE_AWAY, Severity.ERROR, NOW)
        assert "secret" not in str(told)
        days = {f"backfill {noon(number).date()}" for number in range(7)}
        assert {subject.name for subject in told.subjects} == days, (
            "runs of another code location wait for nothing here"
        )
        assert all(subject.url.startswith("https://c4/runs/") for subject in told.subjects)
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
    assert "its disk or share is mounted" in seen.holding[0].advice, "a folder has no host that could be down"


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
    now = datetime.now(UTC)
    look_at_services(facility.instance, with_slurm, {}, now)
    met_by_step(facility.instance, "slurm", "sbatch is not there")
    assert len(outages(facility.instance, now)) == 2
    seen, _ = look_at_services(facility.instance, facility.settings, {}, now)
    assert seen.holding == ()
    assert "slurm-away" in seen.looked_at, "so that its incident ends"
    assert outages(facility.instance, now) == [], "failed runs are told again"


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
    assert (outage.service, outage.observer) == ("store", "steps")
    put_back = datetime.now(UTC) - timedelta(hours=1)
    assert outages(facility.instance, put_back) == [], "nor is a note of a machine whose clock is ahead"
    seen, _ = look_at_services(facility.instance, facility.settings, {}, datetime.now(UTC), probes={})
    assert "where steps run" in only(seen.holding).summary
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
    told = only(seen.holding)
    assert told.event is Event.NOTHING_IMAGED
    assert "in the same hours of the last" in told.summary.lower()
    again, _ = look_at_imaging(facility.settings, cursor, now + timedelta(minutes=5))
    assert again == Observation(), "neither holds nor has ended: nobody has looked"
    put_back = now - timedelta(minutes=5)
    assert look_at_imaging(facility.settings, cursor, put_back)[1] != cursor, "a clock that was ahead holds no look up"
    register_inspection(facility.database, "P-new", now, None, [NewImage("A01", 1, "a.jpg")])
    seen, _ = look_at_imaging(facility.settings, cursor, now + timedelta(minutes=11))
    assert seen == Observation(looked_at=frozenset({"nothing-imaged"}))


def test_imaging_that_cannot_be_judged_is_told_and_not_where_the_database_is_away(
    facility: Facility, tmp_path: Path
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    gone = elsewhere(facility.settings, database={"url": f"sqlite:///{tmp_path}"})
    assert look_at_imaging(gone, "", NOW) == (Observation(), "")
    with facility.database.writing("test") as connection:
        connection.execute(text("UPDATE inspections SET imaged_at = '1999-99-99 00:00:00'"))
    seen = look(facility.instance, facility.settings, {}, NOW)
    assert "sensor-failed:run_alerts, imaging" in keys(seen.observation)
    assert "database-away" not in keys(seen.observation)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB with 20 inodes."""
    with small_file_system(tmp_path / "small") as folder:
        yield folder


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
