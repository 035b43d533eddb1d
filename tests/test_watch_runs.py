"""What the watch sees of runs: each of these fails, or passes, for its real reason in a real Dagster instance."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status

from c4_assets.definitions import defs
from c4_assets.operations.alerts import ends
from c4_assets.operations.alerts.records import Event, Observation, Severity
from c4_assets.runs import step_failures
from c4_assets.runs.daily_digest import daily_digest
from c4_assets.runs.jobs import daily_coverage, settle_yesterday, weekly_ashes
from c4_assets.runs.lost_runs import end_lost_runs
from c4_assets.runs.step_failures import waits_for_services
from c4_assets.runs.watch import run_ends
from c4_assets.runs.watch.run_ends import look_at_ends
from c4_assets.runs.watch.slow_runs import look_at_slow_runs
from resources.errors import ConfigurationError, Unavailable, outages_of
from testing.dagster_types import ephemeral_instance, job_without_steps
from tests.conftest import QUIET, Facility, noon, photograph, replace_resources
from tests.watchers import DAY, NOW, Fails, Watcher, only

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def test_a_run_that_fails_is_told_with_step_day_reason_and_link_and_is_well_again_after_one_that_succeeds(
    facility: Facility,
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    watcher = Watcher(facility.instance)
    store = facility.resources["image_store"]
    facility.resources["image_store"] = Fails(ConfigurationError("the share is another one"))
    failed = facility.score(raise_on_error=False)
    told = only(watcher.look().occurred)
    assert told.event is Event.RUN_FAILED
    assert told.severity is Severity.ERROR
    assert told.key == "run-failed:score_images, raw_inspection_images (ConfigurationError)"
    assert told.summary == f"score_images of {DAY} failed in raw_inspection_images: the share is another one"
    assert "c4 run --date" in told.advice
    (subject,) = told.subjects
    assert (subject.name, subject.url) == (f"score_images {DAY}", f"https://c4/runs/{failed.run_id}")
    assert watcher.look() == Observation(), "once"
    facility.score(raise_on_error=False)
    assert only(watcher.look().occurred).key == told.key, "the next one is of the same incident"
    facility.resources["image_store"] = store
    facility.backfill(noon(1), noon(1))
    assert watcher.look() == Observation(recovered=frozenset({told.key})), "whoever ran the day"


def test_what_failed_before_alerts_were_set_up_is_no_news(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.resources["image_store"] = Fails(ConfigurationError("no"))
    facility.score(raise_on_error=False)
    assert Watcher(facility.instance).look() == Observation()


class AnswersLater:
    """An image store that does not answer a number of times."""

    def __init__(self, store: Any, times: int) -> None:
        self._store, self._times = store, times

    def fetch(self, paths: Sequence[str]) -> Iterator[Any]:
        self._times -= 1
        if self._times >= 0:
            with outages_of("store"):
                raise Unavailable("the share does not answer")
        return self._store.fetch(paths)

    def close(self) -> None:
        pass


def test_a_run_of_a_schedule_waits_for_a_service_and_one_of_the_sensor_fails_and_is_told_because_of_it(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_failures, "RETRY_DELAY_S", 0.01)
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    watcher = Watcher(facility.instance)
    store = facility.resources["image_store"]
    facility.resources["image_store"] = AnswersLater(store, 6)
    facility.score(raise_on_error=False)
    told = only(watcher.look().occurred)
    assert (told.event, told.because_of) == (Event.RUN_FAILED, Event.STORE_AWAY)
    facility.resources["image_store"] = AnswersLater(store, 6)
    request = settle_yesterday(dg.build_schedule_context(scheduled_execution_time=noon(0)))
    assert isinstance(request, dg.RunRequest)
    job = replace_resources(defs, facility.resources).resolve_job_def("score_images")
    tags = dict(request.tags)
    assert job.execute_in_process(
        partition_key=request.partition_key, instance=facility.instance, run_config=QUIET, tags=tags
    ).success
    assert watcher.look() == Observation(recovered=frozenset({told.key}))


def test_the_runs_of_all_schedules_of_the_morning_wait_for_services(make_facility: Callable[..., Facility]) -> None:
    settings = make_facility(alerts={"webhook": "https://hooks.facility.org/c4"}).settings
    for schedule in (settle_yesterday, daily_coverage, weekly_ashes, daily_digest):
        resources = {"settings": settings} if schedule is daily_digest else None
        request = schedule(dg.build_schedule_context(scheduled_execution_time=noon(0), resources=resources))
        assert isinstance(request, dg.RunRequest)
        assert waits_for_services(request.tags)


def test_days_of_one_reason_are_one_incident_that_ends_when_the_last_of_them_is_scored(facility: Facility) -> None:
    for days_ago in (1, 2):
        facility.add_plate(f"P{days_ago}", {"a.jpg": photograph(days_ago)}, noon(days_ago))
    watcher = Watcher(facility.instance)
    store = facility.resources["image_store"]
    facility.resources["image_store"] = Fails(ConfigurationError("no"))
    for days_ago in (1, 2):
        facility.score(noon(days_ago), raise_on_error=False)
    assert len({told.key for told in watcher.look().occurred}) == 1
    facility.resources["image_store"] = store
    facility.score(noon(2))
    assert watcher.look().recovered == frozenset()
    facility.score(noon(1))
    assert len(watcher.look().recovered) == 1


def ended(instance: dg.DagsterInstance, well: bool, **about: Any) -> dg.DagsterRun:
    """A run of a day that has ended, without a step."""
    about.setdefault("tags", {"dagster/partition": DAY})
    run = dg.DagsterRun(job_name=about.pop("job_name", "score_images"), status=Status.STARTED, **about)
    instance.add_run(run)
    if well:
        instance.handle_new_event(end_of(run))
    else:
        instance.report_run_failed(run, "somebody ended it")
    return run


def end_of(run: dg.DagsterRun) -> dg.EventLogEntry:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
    return dg.EventLogEntry(
        error_info=None,
        level=20,
        user_message="",
        run_id=run.run_id,
        timestamp=datetime.now(UTC).timestamp(),
        job_name=run.job_name,
        dagster_event=event,
    )


def test_an_attempt_that_dagster_repeats_is_not_told_and_the_last_one_is(facility: Facility) -> None:
    watcher = Watcher(facility.instance)
    instance = facility.instance
    for number, will_retry in enumerate(("true", "true", "false")):
        tags = {"dagster/partition": DAY, "dagster/will_retry": will_retry, "dagster/retry_number": str(number)}
        ended(instance, well=False, tags=tags)
    told = only(watcher.look().occurred)
    ended(instance, well=True, tags={"dagster/partition": DAY, "dagster/retry_number": "4"})
    assert watcher.look().recovered == {told.key}


def test_a_week_that_is_collected_says_nothing_of_the_day_with_the_same_date(facility: Facility) -> None:
    watcher = Watcher(facility.instance)
    ended(facility.instance, well=False)
    told = only(watcher.look().occurred)
    ended(facility.instance, well=True, job_name="collect_disagreements")
    assert watcher.look() == Observation()
    ended(facility.instance, well=True)
    assert watcher.look().recovered == {told.key}


def test_a_run_of_several_days_that_succeeds_ends_what_failed_on_each(facility: Facility) -> None:
    watcher = Watcher(facility.instance)
    for days_ago in (1, 2, 3):
        ended(facility.instance, well=False, tags={"dagster/partition": noon(days_ago).date().isoformat()})
    assert len(watcher.look().occurred) == 3
    span = {
        "dagster/backfill": "years",
        "dagster/asset_partition_range_start": noon(3).date().isoformat(),
        "dagster/asset_partition_range_end": noon(1).date().isoformat(),
    }
    ended(facility.instance, well=True, job_name="__ASSET_JOB", tags=span)
    assert len(watcher.look().recovered) == 1


def test_more_runs_than_one_look_takes_are_seen_by_the_next_ones_and_none_is_lost_or_doubled(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_ends, "ENDS_A_LOOK", 10)
    watcher = Watcher(facility.instance)
    for number in range(25):
        ended(facility.instance, well=False, tags={"dagster/partition": noon(number).date().isoformat()})
        ended(facility.instance, well=True, tags={"dagster/partition": noon(number).date().isoformat()})
    names: list[str] = []
    recovered: list[str] = []
    for _ in range(4):
        seen = watcher.look()
        names += [subject.name for told in seen.occurred for subject in told.subjects]
        recovered += seen.recovered
    assert len(names) == len(set(names)) == 25
    assert len(set(recovered)) == 1, "no success was seen before the failure that it mended"


def test_a_quiet_day_that_failed_is_well_when_a_newer_one_is_and_it_has_not_failed_again(facility: Facility) -> None:
    def look(hours: int) -> Observation:
        nonlocal cursor
        seen, cursor = look_at_ends(facility.instance, cursor, NOW + timedelta(hours=hours), "", timedelta(days=14))
        return seen

    _, cursor = look_at_ends(facility.instance, {}, NOW)
    day, before, old = ({"dagster/partition": noon(ago).date().isoformat()} for ago in (1, 2, 40))
    ended(facility.instance, well=False, tags=before)
    told = only(look(0).occurred)
    ended(facility.instance, well=True, tags=day)
    assert look(1) == Observation(), "the sensor may still ask for it"
    ended(facility.instance, well=True, tags=old)
    assert look(24) == Observation(), "an older day says nothing"
    ended(facility.instance, well=True, job_name="collect_disagreements", tags=day)
    assert look(24) == Observation(), "nor does another job"
    ended(facility.instance, well=True, tags=day)
    assert look(24).recovered == {told.key}
    ended(facility.instance, well=False, tags=old)
    look(24)
    ended(facility.instance, well=True, tags=day)
    assert look(48) == Observation(), "nobody asks for a day before the window"


@pytest.mark.parametrize("before", [0, 2])
def test_a_storage_that_is_younger_than_the_cursor_is_watched_from_its_newest_run_on_and_that_is_said_once(
    facility: Facility, before: int
) -> None:
    for _ in range(before):
        ended(facility.instance, well=False)
    restored = {"after": {"failed": 9000, "succeeded": 9001}, "open": {}}
    seen, cursor = look_at_ends(facility.instance, restored, NOW)
    assert seen == Observation(notes=(run_ends.BEGUN_AGAIN,))
    ended(facility.instance, well=False)
    seen, cursor = look_at_ends(facility.instance, cursor, NOW)
    assert (len(seen.occurred), seen.notes) == (1, ())
    ended(facility.instance, well=True)
    seen, _ = look_at_ends(facility.instance, cursor, NOW)
    assert (len(seen.recovered), seen.notes) == (1, ())


def test_a_failed_run_that_is_pruned_is_no_younger_storage_and_the_next_one_is_told(facility: Facility) -> None:
    watcher = Watcher(facility.instance)
    pruned = ended(facility.instance, well=False)
    ended(facility.instance, well=True)
    watcher.look()
    facility.instance.delete_run(pruned.run_id)
    assert watcher.look() == Observation()
    ended(facility.instance, well=False)
    assert len(watcher.look().occurred) == 1


def test_what_is_remembered_of_failed_days_does_not_grow_for_ever(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "MAX_OPEN", 3)
    watcher = Watcher(facility.instance)
    for number in range(6):
        ended(facility.instance, well=False, tags={"dagster/partition": noon(number).date().isoformat()})
    (key,) = {told.key for told in watcher.look().occurred}
    for number in (3, 4, 5):
        ended(facility.instance, well=True, tags={"dagster/partition": noon(number).date().isoformat()})
    assert watcher.look().recovered == {key}
    ended(facility.instance, well=False)
    watcher.look()
    assert watcher.look(NOW + timedelta(days=31)).recovered == {key}, "nobody will run that day again"


def test_a_run_whose_events_cannot_be_read_is_told_and_hides_none_that_come_after_it(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        watcher = Watcher(instance)
        torn, after = (ended(instance, well=False) for _ in range(2))
        instance.event_log_storage.dispose()
        for file in tmp_path.rglob(f"{torn.run_id}.db*"):
            file.write_bytes(b"torn" * 5000)
        told = {each.subjects[0].url.rpartition("/")[2]: each.summary for each in watcher.look().occurred}
        assert "its events cannot be read" in told[torn.run_id]
        assert told[after.run_id].endswith("somebody ended it")


def test_a_run_of_another_code_location_is_none_of_our_business(facility: Facility) -> None:
    from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

    watcher = Watcher(facility.instance)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("accounting"), "r"), "daily")
    ended(facility.instance, well=False, job_name="daily", remote_job_origin=origin)
    assert watcher.look() == Observation()


def test_a_run_whose_process_was_killed_is_told_with_what_ended_it(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        watcher = Watcher(instance)
        child = os.fork()
        if not child:
            with suppress(BaseException), dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as its:
                started(its)
            os._exit(0)
        os.waitpid(child, 0)
        assert len(end_lost_runs(instance)) == 1
        told = only(watcher.look().occurred)
        assert told.key == "run-failed:nothing (Killed)"
        assert "that worked on this run was killed" in told.summary
        assert "Nothing that it had finished is lost" in told.advice


def started(instance: dg.DagsterInstance) -> None:
    """Begins a run in this process, which is then killed."""
    from c4_assets.runs.run_processes import process_noted

    run = dg.DagsterRun(job_name="nothing", status=Status.STARTED)
    instance.add_run(run)
    with process_noted(instance, run.run_id):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_that_was_marked_from_outside_is_told_with_what_the_engine_said() -> None:
    with ephemeral_instance() as instance:
        watcher = Watcher(instance)
        run = dg.DagsterRun(job_name="score_images", status=Status.STARTED)
        instance.add_run(run)
        instance.report_engine_event("Run worker was ended: out of memory", run)
        instance.report_run_failed(run)
        assert only(watcher.look().occurred).summary == "score_images failed: Run worker was ended: out of memory"


def test_a_run_that_takes_far_longer_than_its_like_is_told_and_one_of_a_backfill_is_not() -> None:
    with ephemeral_instance() as instance:
        job_without_steps("score_images").execute_in_process(instance=instance)
        for tags in ({}, {"dagster/backfill": "years"}):
            run = dg.DagsterRun(job_name="score_images", status=Status.NOT_STARTED, tags=tags)
            instance.add_run(run)
            instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", run.job_name), run.run_id)
        assert look_at_slow_runs(instance, datetime.now(UTC) + timedelta(hours=2)).holding == ()
        told = only(look_at_slow_runs(instance, datetime.now(UTC) + timedelta(hours=4)).holding)
        assert (told.key, told.severity, len(told.subjects)) == ("run-slow:score_images", Severity.WARNING, 1)
        assert "has been running for 4 h" in told.summary
