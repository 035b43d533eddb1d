"""`c4 run` where the steps are jobs of a cluster: the daemon makes the runs, and the command follows them.

In the daemon's place stands a thread that does with the sensor's requests what the daemon does: a real run of each.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer
from dagster import DagsterRunStatus as Status
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.types import DaemonHeartbeat
from typer.testing import CliRunner

from c4_assets.command import app, run_through_queue
from c4_assets.command.run_through_queue import refuse_without_daemon, score_days_through_queue
from c4_assets.definitions import defs
from c4_assets.deployment_home import dagster_instance
from c4_assets.runs.dagster_storage import values_below
from c4_assets.runs.requested_days import REQUEST_KEYS, REQUEST_TAG, run_requests
from resources.errors import ConfigurationError
from testing.always import always
from tests.conftest import QUIET, Facility, noon, photograph, replace_resources

DAY, DAY_BEFORE = noon(1).date(), noon(2).date()

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


@pytest.fixture
def instance(facility: Facility, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk, with a queue; what is waited for is looked at often."""
    monkeypatch.setattr(run_through_queue, "POLL_S", 0.1)
    with dagster_instance(facility.settings) as instance:
        yield instance


@contextmanager
def daemon(facility: Facility, does: Callable[[dg.DagsterInstance, dg.RunRequest], object]) -> Generator[None]:
    """Does something for each requested run, once, as the daemon does for each run key."""
    over, made = threading.Event(), set[str | None]()

    def work() -> None:
        with dg.DagsterInstance.from_config(str(facility.settings.dagster_home)) as own:
            while not over.wait(0.1):
                for request in run_requests(own):
                    if request.run_key not in made:
                        made.add(request.run_key)
                        does(own, request)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def test_the_days_are_scored_by_runs_of_the_daemon_and_the_rows_are_counted(
    facility: Facility, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(3)})
    facility.add_plate("P2", {f"{n}.jpg": photograph(10 + n) for n in range(2)}, noon(2))
    job = replace_resources(defs, facility.resources).resolve_job_def("score_images")

    def run(own: dg.DagsterInstance, request: dg.RunRequest) -> None:
        job.execute_in_process(
            partition_key=request.partition_key,
            instance=own,
            raise_on_error=False,
            run_config=QUIET,
            tags={**request.tags},
        )

    with daemon(facility, run):
        assert score_days_through_queue(instance, {DAY: 3, DAY_BEFORE: 2}) == {DAY: 3, DAY_BEFORE: 2}
    assert f"{DAY}: 3 scores written" in capsys.readouterr().out
    assert facility.progress().scored == 5
    assert {run.tags["c4/started_by"] for run in instance.get_runs()} == {"c4 run"}
    assert values_below(instance, REQUEST_KEYS) == {}


def stored(status: Status, **tags: str) -> Callable[[dg.DagsterInstance, dg.RunRequest], object]:
    """Makes a run that is only stored."""
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("c4"), "r"), "score_images")

    def make(own: dg.DagsterInstance, request: dg.RunRequest) -> object:
        of_run = {**request.tags, "dagster/partition": request.partition_key or "", **tags}
        return own.add_run(dg.DagsterRun(job_name="score_images", status=status, tags=of_run, remote_job_origin=origin))

    return make


def test_a_run_that_fails_is_told_with_the_reason_and_one_that_is_repeated_is_followed(
    facility: Facility, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(own: dg.DagsterInstance, request: dg.RunRequest) -> None:
        last = request.partition_key == DAY.isoformat()
        run: Any = stored(Status.STARTED, **{"dagster/max_retries": "0" if last else "3"})(own, request)
        own.report_run_failed(run, "the node was on fire" if last else "to be repeated")
        if last:
            return
        tags = {"dagster/partition": DAY_BEFORE.isoformat(), REQUEST_TAG: request.tags[REQUEST_TAG]}
        own.add_run(dg.DagsterRun(job_name="score_images", status=Status.SUCCESS, tags=tags))

    with daemon(facility, fail):
        assert score_days_through_queue(instance, {DAY: 3, DAY_BEFORE: 2}) == {DAY: None, DAY_BEFORE: 0}
    said = capsys.readouterr().err
    assert "the node was on fire" in said
    assert "to be repeated" not in said


def test_a_day_that_the_daemon_does_not_know_is_left_out_and_not_waited_for(
    facility: Facility, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = date(1999, 12, 31)
    with daemon(facility, stored(Status.SUCCESS)):
        assert score_days_through_queue(instance, {DAY: 3, unknown: 2}) == {DAY: 0, unknown: None}
    assert "1999-12-31 was left out" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", [True, False])
def test_ctrl_c_asks_whether_to_cancel(
    facility: Facility, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(typer, "confirm", always(wanted))

    def sleep(_seconds: float) -> None:
        if instance.get_runs():
            raise KeyboardInterrupt

    monkeypatch.setattr(run_through_queue.time, "sleep", sleep)
    with daemon(facility, stored(Status.QUEUED)), pytest.raises(typer.Exit) as ended:
        score_days_through_queue(instance, {DAY: 3})
    assert ended.value.exit_code == 130
    assert values_below(instance, REQUEST_KEYS) == {}, "no run comes later"
    (run,) = instance.get_runs()
    assert run.status == (Status.CANCELED if wanted else Status.QUEUED)


def test_without_a_daemon_nothing_is_asked_for_and_the_way_here_is_named(instance: dg.DagsterInstance) -> None:
    with pytest.raises(ConfigurationError, match="c4 run --here"):
        refuse_without_daemon(instance)
    instance.add_daemon_heartbeat(DaemonHeartbeat(dg_now(), "SENSOR", "one", []))
    refuse_without_daemon(instance)


def dg_now() -> float:
    return noon(0).timestamp() + 10**6  # a heartbeat from the future is none that is late


def test_c4_run_goes_through_the_queue_where_the_steps_are_jobs(tmp_path: Path) -> None:
    environment = {"C4_HOME": str(tmp_path), "C4_RUNS_EXECUTOR": "slurm", "C4_SLURM_FOLDER": str(tmp_path / "jobs")}
    done = CliRunner().invoke(app, ["run", "--date", date(2026, 3, 31).isoformat()], env=environment)
    assert isinstance(done.exception, ConfigurationError)
    assert "c4 run --here" in str(done.exception)
    here = CliRunner().invoke(app, ["run", "--here", "--date", "2026-03-31"], env=environment)
    assert here.exit_code == 0, here.output
    assert "Nothing to score" in here.output
