"""Freshness as Dagster's own evaluation sees it, fed by the sensor, and the graph as a snapshot."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import FRESHNESS_EVALUATORS_BY_POLICY_TYPE
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time

from c4_assets.definitions import defs
from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.doctor.databases import imaging_rhythm
from c4_assets.runs.freshness import POLICIES, policies, seen
from resources.findings import Finding, Verdict
from resources.imaging_database.register import NewImage, register_inspection
from resources.settings import Settings
from resources.settings.freshness import Freshness
from sensors.new_inspections import new_inspections
from testing.graph_text import SNAPSHOT
from tests.conftest import Facility, photograph

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def state(instance: dg.DagsterInstance, asset: str, at: datetime) -> FreshnessState:
    """What Dagster's freshness daemon would say of an asset at a time."""
    node = defs.resolve_asset_graph().get(dg.AssetKey(asset))
    assert node.freshness_policy
    evaluator = FRESHNESS_EVALUATORS_BY_POLICY_TYPE[type(node.freshness_policy)]()
    # In a thread of its own: where a browser's tests have run, this one has an event loop.
    with freeze_time(at), ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, evaluator.evaluate_freshness(LoadingContextForTest(instance), node)).result()


def poll(facility: Facility, cursor: str | None, at: datetime) -> tuple[str | None, int]:
    """One tick of the sensor, and what the daemon does with its events: the cursor, and how many events there were."""
    context = dg.build_sensor_context(
        instance=facility.instance,
        cursor=cursor,
        resources={name: facility.resources[name] for name in ("imaging_database", "models", "settings")},
    )
    with freeze_time(at):
        result = new_inspections(context)
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            facility.instance.report_runless_asset_event(event)
    return result.cursor, len(result.asset_events)


def test_the_doctor_suggests_hours_from_the_rhythm_and_warns_of_a_warning_that_would_come_every_week(
    facility: Facility,
) -> None:
    def rhythm(settings: Freshness) -> Finding:
        return imaging_rhythm(facility.database, settings, monday + HOUR)

    monday = datetime(2026, 6, 1, 8, tzinfo=UTC)
    assert "less than four weeks" in rhythm(Freshness()).what
    for day in range(57):
        at = monday - timedelta(days=day)
        if at.weekday() < 5:
            register_inspection(facility.database, f"P{day}", at, None, [NewImage("A01", 1, f"{day}.jpg")])
    suits = rhythm(Freshness())
    assert suits.verdict is Verdict.PASSED
    assert "up to 72 h in most weeks" in suits.what
    assert "suggests 90 and 180 h" in suits.what
    too_short = rhythm(Freshness(inspections_warn_hours=48))
    assert too_short.verdict is Verdict.WARNED
    assert "freshness.inspections_warn_hours = 90" in too_short.fix


def test_inspections_are_fresh_then_late_then_failed_and_fresh_again_with_the_next_one(facility: Facility) -> None:
    assert state(facility.instance, "inspections", NOW) == FreshnessState.UNKNOWN
    facility.add_plate("P1", {"a.jpg": photograph(1)}, NOW - HOUR)
    cursor, told = poll(facility, None, NOW)
    assert told == 1
    assert state(facility.instance, "inspections", NOW + 71 * HOUR) == FreshnessState.PASS
    assert state(facility.instance, "inspections", NOW + 73 * HOUR) == FreshnessState.WARN
    assert state(facility.instance, "inspections", NOW + 169 * HOUR) == FreshnessState.FAIL
    cursor, told = poll(facility, cursor, NOW + HOUR)
    assert told == 0, "nothing is newer, so polling alone keeps nothing fresh"
    facility.add_plate("P0", {"a.jpg": photograph(2)}, NOW - 9_000 * HOUR)
    cursor, told = poll(facility, cursor, NOW + 2 * HOUR)
    assert told == 0, "history that is imported is no sign of an imager at work"


def test_an_inspection_dated_in_the_future_does_not_silence_those_to_come(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)}, NOW + 9_000 * HOUR)
    cursor, told = poll(facility, None, NOW)
    assert told == 0
    facility.add_plate("P2", {"a.jpg": photograph(2)}, NOW - HOUR)
    assert poll(facility, cursor, NOW)[1] == 1


def test_the_first_look_at_an_imager_that_stopped_long_ago_does_not_make_it_fresh() -> None:
    assert seen(NOW - 200 * HOUR, None, NOW, Freshness()) is None
    assert seen(NOW - 160 * HOUR, None, NOW, Freshness()) == NOW - 160 * HOUR
    assert seen(None, None, NOW, Freshness()) is None


def test_scores_are_late_from_the_deadline_on_until_the_day_is_settled(facility: Facility) -> None:
    eight = (NOW + 48 * HOUR).replace(hour=8, minute=0, second=0)

    def made(at: datetime) -> None:
        with freeze_time(at):
            facility.instance.report_runless_asset_event(dg.AssetMaterialization("db_scores", partition="2026-03-01"))

    made(eight - 3 * HOUR)
    assert state(facility.instance, "db_scores", eight - HOUR) == FreshnessState.PASS
    assert state(facility.instance, "db_scores", eight + HOUR) == FreshnessState.FAIL
    made(eight + 2 * HOUR)
    assert state(facility.instance, "db_scores", eight + 3 * HOUR) == FreshnessState.PASS


@pytest.mark.parametrize(("asset", "late", "failed"), [("ashes_disagreements", 9, 16), ("backlog_coverage", 2, 3)])
def test_what_is_made_on_a_schedule_is_late_after_its_days(
    facility: Facility, asset: str, late: int, failed: int
) -> None:
    facility.instance.report_runless_asset_event(dg.AssetMaterialization(asset))
    found = [state(facility.instance, asset, NOW + timedelta(days=days)) for days in (late - 1, late, failed)]
    assert found == [FreshnessState.PASS, FreshnessState.WARN, FreshnessState.FAIL]


def test_windows_are_the_sites_own_and_a_warning_comes_before_its_failure() -> None:
    own = policies(Freshness(inspections_warn_hours=10, inspections_fail_hours=20))
    assert own["inspections"] != POLICIES["inspections"]
    assert own["db_scores"] == POLICIES["db_scores"]
    with pytest.raises(ValueError, match="the warning of backlog must come before the failure"):
        Settings(freshness=Freshness(backlog_warn_hours=50))


def test_the_daemon_that_looks_at_freshness_is_one_that_must_run(tmp_path: Path) -> None:
    with dagster_instance(Settings(home=tmp_path)) as instance:
        assert "FRESHNESS_DAEMON" in instance.get_required_daemon_types()


@pytest.fixture
def bare() -> dict[str, str]:
    """The environment without settings of C4: the snapshot is of the defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("C4_", "DAGSTER_"))}


def test_the_graph_is_the_one_of_the_snapshot(bare: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "testing.graph_text"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env={**bare, "C4_HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == SNAPSHOT.read_text(encoding="utf-8"), (
        "The asset graph is another one than in tests/snapshots/graph.txt. If that is meant, write it anew with "
        "`python -m testing.graph_text --write` and read the diff before it is committed."
    )
