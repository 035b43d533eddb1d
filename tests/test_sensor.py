"""The sensor of new inspections: which days it asks for, and what it says when it asks for none.

The decision is a pure function; around it stands a real Dagster instance with real run records, because what counts as
«in flight» is Dagster's word and not ours.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from hypothesis import given
from hypothesis import strategies as st

from c4_assets.models.active import ActiveModels
from c4_assets.runs.pools import POOLS
from c4_assets.runs.requested_days import ask_for, newest_runs
from resources.errors import ConfigurationError, Unavailable
from resources.imaging_database import ImagingDatabase
from sensors.new_inspections import FAILED_POLLS_BORNE, Decision, days_in_flight, decide, new_inspections
from sensors.requested_days import requested_days
from tests.conftest import Facility, noon, photograph

TODAY, FIRST = date(2026, 3, 10), date(2026, 1, 1)
days = st.dates(date(2025, 12, 20), date(2026, 3, 20))


@given(st.dictionaries(days, st.integers(1, 500)), st.sets(days))
def test_every_pending_day_is_asked_for_or_explained_and_never_while_it_is_in_flight(
    pending: dict[date, int], in_flight: set[date]
) -> None:
    decision = decide(pending, in_flight, TODAY, FIRST)
    asked = set(decision.requests)
    assert asked <= set(pending)
    assert not asked & in_flight
    assert all(FIRST <= day <= TODAY for day in asked)
    assert list(decision.requests) == sorted(asked, reverse=True), "the newest day comes first"
    for day in set(pending) - asked:
        assert day in in_flight or day > TODAY or day < FIRST
    assert decision.explanation


def test_the_first_poll_of_a_new_instance_gives_the_pools_their_limits(facility: Facility) -> None:
    tick(facility)
    assert {pool.name: pool.limit for pool in facility.instance.event_log_storage.get_pool_limits()} == POOLS


def test_inspections_from_the_future_are_named_with_what_to_check() -> None:
    tomorrow = TODAY + timedelta(days=1)
    decision = decide({tomorrow: 96}, set(), TODAY, FIRST)
    assert decision == Decision([], "96 images are dated in the future (2026-03-11): check the imager's clock")


def tick(facility: Facility) -> tuple[dg.SensorResult | dg.SkipReason, dg.SensorEvaluationContext]:
    """One evaluation of the sensor over a facility."""
    context = dg.build_sensor_context(
        instance=facility.instance,
        resources={name: facility.resources[name] for name in ("imaging_database", "models", "settings")},
    )
    return evaluated(context), context


def evaluated(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """What the sensor answers; of a tick that asks for no run, the reason. The cursor is moved as the daemon does."""
    result = new_inspections(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    if isinstance(result, dg.SkipReason):
        return result
    if result.cursor:
        context.update_cursor(result.cursor)
    for event in result.asset_events:
        context.instance.report_runless_asset_event(event)
    return result.skip_reason or result


def asked(result: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    assert isinstance(result, dg.SensorResult), result
    return [request.partition_key for request in result.run_requests or []]


def test_each_day_with_pending_images_is_asked_for_once_newest_first(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)}, noon(3))
    facility.add_plate("P2", {"b.jpg": photograph(2)}, noon(1))
    facility.add_plate("P3", {"c.jpg": photograph(3)}, noon(1) + timedelta(hours=1))
    result, _ = tick(facility)
    assert asked(result) == [noon(1).date().isoformat(), noon(3).date().isoformat()]


def test_a_day_before_the_window_is_left_to_backfills(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)}, noon(40))
    result, _ = tick(facility)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "nothing to score (last 30 days)"


def test_when_all_is_scored_the_sensor_says_so_and_its_cursor_too(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.score()
    result, context = tick(facility)
    assert isinstance(result, dg.SkipReason)
    assert json.loads(context.cursor or "")["saw"] == "nothing to score"


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTED, Status.CANCELING])
def test_a_day_in_flight_is_not_asked_for_a_second_time(facility: Facility, status: Status) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    day = noon(1).date()
    run = dg.DagsterRun(job_name="__ASSET_JOB", status=status, tags={"dagster/partition": day.isoformat()})
    facility.instance.add_run(run)
    assert days_in_flight(facility.instance, [day]) == {day}
    result, _ = tick(facility)
    assert isinstance(result, dg.SkipReason)
    assert f"waiting for the runs of {day}" in str(result.skip_message)


def test_a_day_among_those_of_a_backfills_run_waits_for_it_only_when_it_has_begun(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    day = noon(1).date()
    span = [(day + timedelta(days=shift)).isoformat() for shift in (-3, 3)]
    of_backfill = {
        "dagster/backfill": "years",
        "dagster/asset_partition_range_start": span[0],
        "dagster/asset_partition_range_end": span[1],
    }
    origin = RemoteJobOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("c4"), "__repository__"), "__ASSET_JOB"
    )
    run = dg.DagsterRun(job_name="__ASSET_JOB", status=Status.QUEUED, tags=of_backfill, remote_job_origin=origin)
    facility.instance.add_run(run)
    result, _ = tick(facility)
    assert asked(result) == [day.isoformat()], "what waits behind years of backlog holds up nobody"
    facility.instance.delete_run(run.run_id)
    facility.instance.add_run(dg.DagsterRun(job_name="__ASSET_JOB", status=Status.STARTED, tags=of_backfill))
    result, _ = tick(facility)
    assert isinstance(result, dg.SkipReason)
    assert f"waiting for the runs of {day}" in str(result.skip_message)


def test_a_day_whose_run_failed_is_asked_for_again(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    day = noon(1).date().isoformat()
    first, _ = tick(facility)
    assert isinstance(first, dg.SensorResult)
    keys = {request.run_key for request in first.run_requests or []}
    assert keys == {None}, "a remembered run key would silence the second request"
    facility.instance.add_run(
        dg.DagsterRun(job_name="score_images", status=Status.FAILURE, tags={"dagster/partition": day})
    )
    again, _ = tick(facility)
    assert asked(again) == [day]


@pytest.mark.parametrize(
    ("job", "selection"),
    [("collect_disagreements", None), ("__ASSET_JOB", frozenset({dg.AssetKey("ashes_disagreements")}))],
)
def test_a_running_week_of_ashes_does_not_hold_up_the_day_with_the_same_key(
    facility: Facility, job: str, selection: frozenset[dg.AssetKey] | None
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    day = noon(1).date().isoformat()
    facility.instance.add_run(
        dg.DagsterRun(job_name=job, status=Status.STARTED, tags={"dagster/partition": day}, asset_selection=selection)
    )
    result, _ = tick(facility)
    assert asked(result) == [day]


def test_an_image_that_failed_for_good_asks_for_no_more_runs(make_facility: Callable[..., Facility]) -> None:
    facility = make_facility(runs={"max_attempts": 1})
    facility.add_plate("P1", {"damaged.jpg": b"no image"})
    facility.score()
    result, _ = tick(facility)
    assert isinstance(result, dg.SkipReason)


def test_a_database_that_is_down_is_a_skipped_tick_that_says_so_without_the_password(
    make_facility: Callable[..., Facility],
) -> None:
    facility = make_facility()
    facility.database.engine.dispose()
    facility.resources["imaging_database"] = ImagingDatabase("postgresql+psycopg2://c4:secret@127.0.0.1:9/lims")
    result, _ = tick(facility)
    assert isinstance(result, dg.SkipReason)
    assert "imaging database" in str(result.skip_message)
    assert "secret" not in str(result.skip_message)


def tick_after(facility: Facility, cursor: str | None) -> tuple[dg.SkipReason, str | None]:
    """The next tick of a sensor: its skip reason and cursor."""
    context = dg.build_sensor_context(
        instance=facility.instance,
        cursor=cursor,
        resources={name: facility.resources[name] for name in ("imaging_database", "models", "settings")},
    )
    result = evaluated(context)
    assert isinstance(result, dg.SkipReason)
    return result, context.cursor


def test_a_database_that_stays_away_fails_the_tick_from_the_third_poll_on_and_not_once_it_is_back(
    facility: Facility,
) -> None:
    here = facility.resources["imaging_database"]
    away = ImagingDatabase("postgresql+psycopg2://c4:secret@127.0.0.1:9/lims")
    facility.resources["imaging_database"] = away
    facility.resources["models"] = ActiveModels(facility.settings, away)
    cursor: str | None = "of an earlier release"
    for _ in range(FAILED_POLLS_BORNE):
        reason, cursor = tick_after(facility, cursor)
        assert "does not answer" in str(reason.skip_message)
    for _ in range(2):
        with pytest.raises(Unavailable, match="does not answer") as error:
            tick_after(facility, cursor)
        assert "secret" not in str(error.value) + str(error.value.__cause__)
    facility.resources["imaging_database"] = here
    facility.resources["models"] = ActiveModels(facility.settings, here)
    _, cursor = tick_after(facility, cursor)
    facility.resources["imaging_database"] = away
    facility.resources["models"] = ActiveModels(facility.settings, away)
    tick_after(facility, cursor)


def test_what_only_an_operator_can_mend_fails_the_tick_at_once(make_facility: Callable[..., Facility]) -> None:
    facility = make_facility(own_database=False)
    facility.database.engine.dispose()
    with pytest.raises(ConfigurationError, match="There is no imaging database"):
        tick_after(facility, None)


def test_what_is_waited_for_overtakes_backfills_and_is_not_repeated_and_a_backfill_of_the_job_is_neither(
    facility: Facility,
) -> None:
    from c4_assets.definitions import defs
    from c4_assets.runs.jobs import PRIORITY_RUN_TAGS, daily_coverage, settle_yesterday, weekly_ashes

    facility.add_plate("P1", {"a.jpg": photograph(1)})
    result, _ = tick(facility)
    assert isinstance(result, dg.SensorResult)
    requests = list(result.run_requests or ())
    for schedule in (daily_coverage, settle_yesterday, weekly_ashes):
        answer = schedule(dg.build_schedule_context(scheduled_execution_time=datetime(2026, 3, 9, 6, tzinfo=UTC)))
        assert isinstance(answer, dg.RunRequest)
        requests.append(answer)
    assert len(requests) == 4
    for request in requests:
        assert PRIORITY_RUN_TAGS.items() <= request.tags.items()
    for job in ("score_images", "collect_disagreements", "count_backlog"):
        inherited = defs.resolve_job_def(job).tags
        assert not PRIORITY_RUN_TAGS.keys() & inherited.keys(), "a backfill of the job, from the UI, would inherit it"


def test_a_run_of_another_code_location_on_the_same_day_holds_up_nobody(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    day = noon(1).date().isoformat()
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("accounting"), "r"), "daily")
    facility.instance.add_run(
        dg.DagsterRun(
            job_name="daily", status=Status.STARTED, tags={"dagster/partition": day}, remote_job_origin=origin
        )
    )
    result, _ = tick(facility)
    assert asked(result) == [day]


def test_days_that_c4_run_asks_for_get_one_run_each_whatever_the_number_of_ticks(facility: Facility) -> None:
    days = [noon(1).date(), noon(2).date()]
    request = ask_for(facility.instance, [*days, date(1999, 1, 1)])

    def requested() -> list[dg.RunRequest]:
        result = requested_days(dg.build_sensor_context(instance=facility.instance))
        return list(result.run_requests or ()) if isinstance(result, dg.SensorResult) else []

    first, again = requested(), requested()
    assert {each.partition_key for each in first} == {day.isoformat() for day in days}, "1999 is no partition"
    assert [each.run_key for each in first] == [each.run_key for each in again], "Dagster makes one run of a key"
    assert all(each.tags["dagster/priority"] == "10" for each in first)
    for each in first:
        tags = {**each.tags, "dagster/partition": each.partition_key or ""}
        facility.instance.add_run(dg.DagsterRun(job_name="score_images", status=Status.STARTED, tags=tags))
    assert requested() == []
    assert set(newest_runs(facility.instance, request)) == set(days)
    for run_id in facility.instance.get_run_ids():
        facility.instance.delete_run(run_id)
    assert requested() == [], "a request that was served is forgotten, and does not come again when its runs are pruned"


def test_the_weekly_schedule_asks_for_the_week_that_is_over() -> None:
    from c4_assets.runs.jobs import weekly_ashes

    monday = datetime(2026, 3, 9, 5, tzinfo=UTC)
    request = weekly_ashes(dg.build_schedule_context(scheduled_execution_time=monday))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-02"
