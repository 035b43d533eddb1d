"""Runs whose process is gone are ended, and their days are asked for again. One that lives is never touched.

The processes here are real, and so are the signals that kill them.
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status

from c4_assets.command.run import execute
from c4_assets.command.run_in_progress import RunInProgress
from c4_assets.command.signals import ENDING_SIGNALS, run_until_signalled
from c4_assets.definitions import defs
from c4_assets.deployment_home import dagster_instance
from c4_assets.runs import lost_runs, run_processes
from c4_assets.runs.executors import EXECUTORS
from c4_assets.runs.lost_runs import end_lost_runs
from c4_assets.runs.run_processes import PROCESS_KEY, SUSPECTED_KEY, process_noted, processes_of
from resources.process_identity import ProcessIdentity
from sensors.lost_runs import lost_runs as lost_runs_sensor
from testing.always import always
from testing.dagster_types import job_without_steps
from tests.conftest import Facility, noon, photograph, replace_resources
from tests.test_sensor import asked, tick

DAY = noon(1).date().isoformat()

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


@pytest.fixture
def instance(facility: Facility) -> Iterator[dg.DagsterInstance]:
    """The facility's Dagster instance on disk, which other processes see as well. A plate waits."""
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(3)})
    facility.database.engine.dispose()  # no open connection is shared with a forked process
    with dagster_instance(facility.settings) as instance:
        facility.instance.dispose()
        facility.instance = instance
        yield instance


class StoreThat:
    """An image store that does something else than fetch."""

    def __init__(self, does: Callable[[], object]) -> None:
        self._does = does

    def fetch(self, _paths: Sequence[str]) -> Iterator[Any]:
        self._does()
        return iter(())

    def close(self) -> None:
        pass


@contextmanager
def run_in_a_child(
    facility: Facility,
    does: Callable[[], object],
    current: RunInProgress | None = None,
    through: Callable[[signal.Signals], None] | None = None,
) -> Generator[int]:
    """A process that runs the day as `c4 run` does; while it fetches, and holds a slot, it does what it is told.

    Args:
        through: what `c4 run` does when a signal has come; without it, signals are not waited for.
    """
    child = os.fork()
    if not child:
        try:
            for number in ENDING_SIGNALS:
                signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
            resources = {**facility.resources, "image_store": StoreThat(does)}
            job = replace_resources(defs, resources).resolve_job_def("score_images")
            with dg.DagsterInstance.from_config(str(facility.settings.dagster_home)) as instance:
                if through:
                    run_until_signalled(lambda: execute(job, DAY, instance, current), through)
                else:
                    execute(job, DAY, instance)
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    try:
        yield child
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def the_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs()
    return run


def last_words(instance: dg.DagsterInstance, run_id: str) -> str:
    ends = {dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
    (entry,) = instance.all_logs(run_id, of_type=ends)
    return (entry.dagster_event and entry.dagster_event.message) or ""


def slots_taken(instance: dg.DagsterInstance) -> int:
    return instance.event_log_storage.get_concurrency_info("image_store").active_slot_count


def wait_until(happened: Callable[[], object], within: float = 60) -> None:
    end = time.monotonic() + within
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP])
def test_a_run_whose_process_was_killed_is_ended_its_slots_are_free_and_its_day_is_asked_for(
    facility: Facility, instance: dg.DagsterInstance, how: signal.Signals
) -> None:
    with run_in_a_child(facility, lambda: os.kill(os.getpid(), how)):
        wait_until(lambda: instance.get_runs() and slots_taken(instance))
        wait_until(lambda: not alive(noted(instance)))
        assert the_run(instance).status == Status.STARTED, "nobody has told Dagster"
        result, _ = tick(facility)
    run = the_run(instance)
    assert asked(result) == [DAY]
    assert run.status == Status.FAILURE
    assert f"on {socket.gethostname()} that worked on this run was killed" in last_words(instance, run.run_id)
    assert slots_taken(instance) == 0
    assert processes_of(instance, [run.run_id]) == {}
    facility.score()
    assert facility.progress().scored == 3


def noted(instance: dg.DagsterInstance) -> ProcessIdentity:
    run = the_run(instance)
    return processes_of(instance, [run.run_id])[run.run_id].process


def alive(process: ProcessIdentity) -> bool:
    return process.fate() == "lives"


def test_a_run_that_lives_is_never_touched_even_if_its_process_is_stopped(
    facility: Facility, instance: dg.DagsterInstance
) -> None:
    with run_in_a_child(facility, lambda: os.kill(os.getpid(), signal.SIGSTOP)) as child:
        wait_until(lambda: instance.get_runs() and slots_taken(instance))
        os.waitpid(child, os.WUNTRACED)
        assert end_lost_runs(instance) == []
        result, _ = tick(facility)
        assert isinstance(result, dg.SkipReason)
        assert the_run(instance).status == Status.STARTED
        assert slots_taken(instance) == 1
    assert len(end_lost_runs(instance)) == 1, "and when it is killed, it is ended"
    assert end_lost_runs(instance) == [], "once"


def test_a_run_that_was_being_cancelled_when_its_process_was_killed_is_cancelled(
    facility: Facility, instance: dg.DagsterInstance
) -> None:
    with run_in_a_child(facility, lambda: os.kill(os.getpid(), signal.SIGSTOP)) as child:
        wait_until(lambda: instance.get_runs() and slots_taken(instance))
        os.waitpid(child, os.WUNTRACED)
        instance.report_run_canceling(the_run(instance))
    end_lost_runs(instance)
    assert the_run(instance).status == Status.CANCELED
    assert slots_taken(instance) == 0


def test_a_run_that_ends_leaves_no_note(facility: Facility, instance: dg.DagsterInstance) -> None:
    job = replace_resources(defs, facility.resources).resolve_job_def("score_images")
    assert execute(job, DAY, instance).success
    run_id = the_run(instance).run_id
    keys = {PROCESS_KEY.format(run_id=run_id), SUSPECTED_KEY.format(run_id=run_id)}
    assert instance.run_storage.get_cursor_values(keys) == {}


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_notes_the_process_of_its_run(name: str, instance: dg.DagsterInstance) -> None:
    there: list[int] = []

    class Looks(dg.Executor):
        @property
        def retries(self) -> Any:
            return None

        def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[Any]:
            there.append(processes_of(instance, ["one"])["one"].process.pid)
            yield from ()

    executor = EXECUTORS[name]
    assert executor.executor_creation_fn
    noting = run_processes.noting_processes(
        dg.ExecutorDefinition("looks", executor_creation_fn=lambda _: Looks())
    ).executor_creation_fn
    assert noting
    made = noting(cast("Any", None))
    assert executor.executor_creation_fn.__code__ is noting.__code__, "each is wrapped in this way"
    assert list(made.execute(cast("Any", SimpleNamespace(instance=instance, run_id="one")), cast("Any", None))) == []
    assert there == [os.getpid()]
    assert processes_of(instance, ["one"]) == {}


def started(instance: dg.DagsterInstance, **about: Any) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name="score_images", status=Status.STARTED, tags={"dagster/partition": DAY}, **about)
    instance.add_run(run)
    return run


def note(instance: dg.DagsterInstance, run: dg.DagsterRun, silent_s: float, **changes: Any) -> None:
    """Notes a process that is this one but for the changes, and was last heard of so many seconds ago."""
    process = replace(ProcessIdentity.of_this_process(), **changes)
    text = json.dumps({"process": vars(process), "alive_at": time.time() - silent_s})
    instance.run_storage.set_cursor_values({PROCESS_KEY.format(run_id=run.run_id): text})


@pytest.mark.parametrize(
    ("changes", "silent_s", "words"),
    [
        ({"started": "1"}, 0, "was killed"),  # its number is another process's now
        ({"boot": "of yesterday"}, 300, "the machine was switched off or restarted"),
        ({"boot": "of yesterday"}, 10, None),  # a copy of this machine, with its name and id
        ({"boot": "another", "host": "elsewhere"}, 500, None),
        ({"namespace": "pid:[1]", "pid": 1}, 500, None),  # in a container, where numbers mean other processes
        ({"boot": ""}, 500, None),  # a machine without /proc
        ({}, 10_000, None),  # it lives, whatever the clock says
    ],
)
def test_a_process_is_gone_only_if_that_is_certain(
    instance: dg.DagsterInstance, changes: dict[str, str], silent_s: float, words: str | None
) -> None:
    run = started(instance)
    note(instance, run, silent_s, **changes)
    ended = end_lost_runs(instance)
    if words is None:
        assert ended == []
        assert the_run(instance).status == Status.STARTED
    else:
        assert words in last_words(instance, run.run_id)


def test_a_process_elsewhere_is_gone_when_it_stays_silent_and_lives_when_it_was_dagsters_database_that_was_away(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"boot": "another", "host": "elsewhere"}
    dead, alive_again = started(instance), started(instance)
    for run in (dead, alive_again):
        note(instance, run, 3600, **elsewhere)
    assert end_lost_runs(instance) == [], "the first look may follow an outage in which nobody could write"
    note(instance, alive_again, 3500, **elsewhere)  # its clock is wrong, and it gives signs of life
    now = time.time()
    monkeypatch.setattr(lost_runs, "time", SimpleNamespace(time=lambda: now + 240))
    ended = end_lost_runs(instance)
    assert len(ended) == 1
    assert "elsewhere that worked on this run has given no sign of life" in last_words(instance, dead.run_id)
    left = instance.get_run_by_id(alive_again.run_id)
    assert left and left.status == Status.STARTED


def test_a_process_gives_signs_of_life(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_processes, "SIGN_OF_LIFE_S", 0.05)
    with process_noted(instance, "one"):
        first = processes_of(instance, ["one"])["one"].alive_at
        wait_until(lambda: processes_of(instance, ["one"])["one"].alive_at > first)


def test_a_dagster_database_that_is_away_does_not_end_a_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_processes, "SIGN_OF_LIFE_S", 0.05)
    tried: list[int] = []

    def away(*_: object) -> None:
        tried.append(1)
        raise OSError("no answer")

    with process_noted(instance, "one"):
        monkeypatch.setattr(instance.run_storage, "set_cursor_values", away)
        monkeypatch.setattr(run_processes, "forget_values", away)
        wait_until(lambda: len(tried) > 2)


def test_a_run_that_died_between_its_start_and_its_first_step_is_ended(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = dg.reconstructable(the_job).get_python_origin()
    run = instance.create_run_for_job(the_job(), job_code_origin=origin)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", run.job_name), run.run_id)
    assert the_run(instance).status == Status.STARTED
    now = time.time()
    monkeypatch.setattr(lost_runs, "time", SimpleNamespace(time=lambda: now + 700))
    assert end_lost_runs(instance) == [], "it is another code location's"
    monkeypatch.setattr(lost_runs, "is_of_c4", always(True))
    monkeypatch.setattr(lost_runs, "time", SimpleNamespace(time=lambda: now))
    assert end_lost_runs(instance) == [], "it may be about to begin"
    monkeypatch.setattr(lost_runs, "time", SimpleNamespace(time=lambda: now + 700))
    assert "before its first step" in end_lost_runs(instance)[0]


def the_job() -> dg.JobDefinition:
    """A job that can be found again by its name."""
    return job_without_steps("nothing")


def test_runs_are_left_to_a_launcher_that_looks_after_them(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance)
    note(instance, run, 0, started="1")
    monkeypatch.setattr(type(instance.run_launcher), "supports_check_run_worker_health", True)
    assert end_lost_runs(instance) == []
    monkeypatch.undo()
    assert len(end_lost_runs(instance)) == 1


def test_the_sensor_of_lost_runs_tells_what_it_has_ended(instance: dg.DagsterInstance) -> None:
    run = started(instance)
    note(instance, run, 0, started="1")
    look = cast("Any", lost_runs_sensor)
    said = [look(dg.build_sensor_context(instance=instance)).skip_message for _ in range(2)]
    assert run.run_id[:8] in said[0]
    assert said[1] == "Every run that is started has its process."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_at_once_whatever_it_waits_for_and_marks_it_as_cancelled(
    facility: Facility, instance: dg.DagsterInstance, number: signal.Signals
) -> None:
    current = RunInProgress()
    with run_in_a_child(facility, lambda: time.sleep(100), current, through=current.cancel) as child:
        wait_until(lambda: instance.get_runs() and slots_taken(instance))
        sent = time.monotonic()
        os.kill(child, number)
        _, status = os.waitpid(child, 0)
        assert time.monotonic() - sent < 5
        assert os.waitstatus_to_exitcode(status) == 128 + number
    run = the_run(instance)
    assert run.status == Status.CANCELED
    assert "`c4 run` was ended by" in last_words(instance, run.run_id)
    assert slots_taken(instance) == 0
    assert processes_of(instance, [run.run_id]) == {}
    facility.score()
    assert facility.progress().scored == 3


def test_a_second_signal_ends_what_a_first_one_could_not(facility: Facility, instance: dg.DagsterInstance) -> None:
    with run_in_a_child(facility, lambda: time.sleep(100), RunInProgress(), through=lambda _: time.sleep(100)) as child:
        wait_until(lambda: instance.get_runs() and slots_taken(instance))
        os.kill(child, signal.SIGINT)
        time.sleep(1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGINT


def test_what_is_done_under_signals_gives_its_result_or_its_error() -> None:
    assert run_until_signalled(lambda: 3, lambda _: None) == 3
    before = [signal.getsignal(number) for number in ENDING_SIGNALS]
    with pytest.raises(ZeroDivisionError):
        run_until_signalled(lambda: 1 / 0, lambda _: None)
    assert [signal.getsignal(number) for number in ENDING_SIGNALS] == before
