"""What limits the backlog: the decision, case by case, and the observations that it rests on."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import dagster as dg
import numpy as np
import pytest
from dagster import DagsterEventType as Event
from dagster._core.events import EngineEventData
from dagster._core.execution.plan.objects import StepSuccessData
from hypothesis import given
from hypothesis import strategies as st

from c4_assets.backlog.limits import (
    CLASSIFY,
    FETCH,
    STEPS,
    WRITE,
    Limit,
    Name,
    Observations,
    Pool,
    StepTimes,
    limit,
)
from c4_assets.models.engine import inference_times, pipeline
from c4_assets.runs.backfills import backfills, start
from c4_assets.runs.observed import observe, times_of_run
from c4_assets.runs.pools import POOLS, set_pool_limits
from tests.conftest import Facility, noon, photograph

RUNNING = Observations(pending=1000, backfills=1, runs_started=2, staging_room=50 * 10**9)


def spent(fetch: float = 1, classify: float = 1, write: float = 1, queued: float = 1) -> dict[str, StepTimes]:
    return {
        FETCH: StepTimes(working=fetch, queued=queued, images=100, took=10),
        CLASSIFY: StepTimes(working=classify, images=100, took=50),
        WRITE: StepTimes(working=write),
    }


CASES: dict[str, tuple[Observations, Name, str]] = {
    "nothing is pending": (replace(RUNNING, pending=0), "nothing", "pending"),
    "no backfill was started": (Observations(pending=1), "not started", "c4 backlog start"),
    "it is paused": (Observations(pending=1, paused=2), "paused", "2 backfills paused: `c4 backlog resume`"),
    "the daemon is gone": (replace(RUNNING, daemon_silent=timedelta(minutes=40)), "daemon", "for 40 min"),
    "there never was a daemon": (replace(RUNNING, daemon_silent=None), "daemon", "ever"),
    "all started runs wait for a host that does not answer": (
        replace(RUNNING, steps={FETCH: StepTimes(working=9, retrying=2, trouble="storage does not answer")}),
        "no answer",
        "2 steps of raw_inspection_images: storage does not answer",
    ),
    "one of the started runs is tried again": (
        replace(RUNNING, steps={**spent(), FETCH: StepTimes(working=9, retrying=1)}),
        "fetch",
        "Fetching takes 82 %",
    ),
    "the staging area is full": (
        replace(RUNNING, staged=51 * 10**9, steps=spent(fetch=900), model_computed=1),
        "staging",
        "51.0 of 50.0 GB are staged, so fetching waits for classification, whose limit is the neural network",
    ),
    "no connection to the storage host is free": (
        replace(RUNNING, pools={"image_store": Pool(10, 10, 3)}, steps=spent(write=900), runs_queued=9),
        "fetch",
        "all 10 slots of the pool image_store are taken, 3 steps waiting (10.0 images a second and step)",
    ),
    "no connection to the database is free": (
        replace(RUNNING, pools={"imaging_database": Pool(4, 4, 1)}),
        "database",
        "all 4 slots",
    ),
    "a pool is full and nobody waits": (
        replace(RUNNING, pools={"image_store": Pool(2, 2)}, steps=spent(write=900)),
        "database",
        "The database takes",
    ),
    "Slurm has no node": (replace(RUNNING, steps=spent(queued=90), slurm=True, runs_queued=9), "slurm", "97 %"),
    "processes start for longer than they work": (replace(RUNNING, steps=spent(queued=90)), "overhead", "More days"),
    "fetching takes longest": (replace(RUNNING, steps=spent(fetch=96)), "fetch", "Fetching takes 97 %"),
    "the model takes longest": (
        replace(RUNNING, steps=spent(classify=9), model_waited=1, model_computed=2),
        "model",
        "The neural network takes 50 % of a run's time (2.0 images a second and step)",
    ),
    "the model waits for the decoder": (
        replace(RUNNING, steps=spent(classify=9), model_waited=2, model_computed=1),
        "decode",
        "Decoding takes 50 %",
    ),
    "writing takes longest": (replace(RUNNING, steps=spent(write=97)), "database", "The database takes 97 %"),
    "its share is used up": (
        replace(RUNNING, steps=spent(fetch=97), runs_queued=30, share=2, max_runs=8),
        "share",
        "30 runs queued: the backlog's share is 2 runs at a time (dagster.yaml, dagster/backfill). Of those started",
    ),
    "other runs take all places": (
        replace(RUNNING, runs_queued=30, runs_started=0, share=2, max_runs=8, all_runs_started=8),
        "share",
        "30 runs queued and none started: 8 runs are started, and dagster.yaml allows no more",
    ),
    "its share is used up, and the cores are, too": (
        replace(RUNNING, steps=spent(fetch=97), runs_queued=30, share=2, load_per_core=1.5),
        "fetch",
        "the cores of this machine are busy (1.5 processes a core)",
    ),
    "nothing has run yet": (RUNNING, "unknown", "ask again"),
}


@pytest.mark.parametrize(("seen", "name", "words"), CASES.values(), ids=CASES)
def test_the_limit_is_named_with_the_reason(seen: Observations, name: Name, words: str) -> None:
    found = limit(seen)
    assert found.name == name, found
    assert words in found.why


seconds = st.floats(0, 10_000)
observations = st.builds(
    Observations,
    pending=st.integers(0, 10),
    backfills=st.integers(0, 2),
    paused=st.integers(0, 2),
    daemon_silent=st.none() | st.timedeltas(timedelta(), timedelta(days=3)),
    runs_queued=st.integers(0, 3),
    runs_started=st.integers(0, 3),
    share=st.none() | st.integers(1, 3),
    max_runs=st.none() | st.integers(1, 3),
    steps=st.dictionaries(
        st.sampled_from(STEPS),
        st.builds(StepTimes, seconds, seconds, seconds, st.integers(0, 9), seconds, st.integers(0, 3)),
    ),
    model_waited=seconds,
    model_computed=seconds,
    pools=st.dictionaries(st.sampled_from(list(POOLS)), st.builds(Pool, *[st.integers(0, 3)] * 3)),
    staged=st.integers(0, 2),
    staging_room=st.integers(1, 2),
    slurm=st.booleans(),
    load_per_core=st.none() | st.floats(0, 5),
)


@given(observations)
def test_whatever_is_seen_there_is_one_answer_in_a_sentence(seen: Observations) -> None:
    found = limit(seen)
    assert isinstance(found, Limit)
    assert found.name in get_args(Name)
    assert found.why.rstrip("?").endswith((".", "running")), found
    assert found.why[0].isupper() or found.why[0].isdigit()
    assert (found.name == "nothing") == (not seen.pending)
    if found.name == "share":
        assert seen.runs_queued, "a share that keeps nobody waiting is no limit"
    if found.name == "slurm":
        assert seen.slurm


DATA = {Event.STEP_WORKER_STARTING: EngineEventData(), Event.STEP_SUCCESS: StepSuccessData(duration_ms=1.0)}


def entry(kind: Event, at: float, step: str | None = None) -> dg.EventLogEntry:
    event = dg.DagsterEvent(kind.value, "job", step_key=step, event_specific_data=DATA.get(kind))
    return dg.EventLogEntry(None, logging.INFO, "", "run", float(at), step_key=step, dagster_event=event)


FETCHED = [
    entry(Event.RUN_START, 1000),
    entry(Event.STEP_WORKER_STARTING, 1010, FETCH),
    entry(Event.STEP_START, 1100, FETCH),
    entry(Event.STEP_SUCCESS, 1400, FETCH),
]


def of_step(events: Sequence[dg.EventLogEntry], step: str, over: bool = False, after: float = 0) -> StepTimes:
    found = {each.name: each.times for each in times_of_run(events, over, now=2000, after=after)}
    return found[step]


def test_a_steps_waits_and_work_are_told_apart() -> None:
    assert of_step(FETCHED, FETCH) == StepTimes(held=10, queued=90, working=300)


def test_a_step_that_is_at_it_counts_until_now_and_one_of_a_dead_run_does_not() -> None:
    queued = [*FETCHED, entry(Event.STEP_WORKER_STARTING, 1450, CLASSIFY)]
    assert of_step(queued, CLASSIFY) == StepTimes(held=50, queued=550)
    working = [*queued, entry(Event.STEP_START, 1500, CLASSIFY)]
    assert of_step(working, CLASSIFY) == StepTimes(held=50, queued=50, working=500)
    assert of_step(working, CLASSIFY, over=True) == StepTimes(held=50, queued=50)


def test_only_the_last_hour_counts() -> None:
    assert of_step(FETCHED, FETCH, after=1300) == StepTimes(working=100)


@given(st.lists(st.floats(0, 2000), min_size=4, max_size=4).map(sorted), st.floats(0, 2000))
def test_no_second_is_counted_twice(times: list[float], after: float) -> None:
    kinds = (Event.RUN_START, Event.STEP_WORKER_STARTING, Event.STEP_START, Event.STEP_SUCCESS)
    events = [entry(kind, at, FETCH if n else None) for n, (kind, at) in enumerate(zip(kinds, times, strict=True))]
    spent = of_step(events, FETCH, after=after)
    assert spent.held + spent.queued + spent.working == pytest.approx(max(0, times[-1] - max(times[0], after)))


def failing(context: dg.AssetExecutionContext) -> None:
    raise dg.RetryRequested(max_retries=1, seconds_to_wait=0.01) from OSError("storage does not answer")


def test_a_step_that_waits_for_its_next_attempt_says_why(facility: Facility) -> None:
    asset = dg.asset(name=FETCH)(failing)
    result = dg.materialize([asset], instance=facility.instance, raise_on_error=False)
    events = facility.instance.all_logs(result.run_id)
    until_retry = events[: 1 + next(n for n, e in enumerate(events) if e.dagster_event_type is Event.STEP_UP_FOR_RETRY)]
    (step,) = times_of_run(until_retry, False, time.time(), 0)
    assert step.times.retrying == 1
    assert "storage does not answer" in step.times.trouble
    (step,) = times_of_run(events, True, time.time(), 0)
    assert step.times.retrying == 0


def test_what_runs_did_is_found_in_dagsters_own_records(facility: Facility) -> None:
    set_pool_limits(facility.instance)
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(5)})
    facility.score()
    seen = observe(facility.instance, facility.settings, facility.resources["staging"], [], pending=0)
    assert seen.steps[FETCH].images == seen.steps[CLASSIFY].images == 5
    assert all(seen.steps[name].working > 0 for name in STEPS)
    assert seen.model_waited + seen.model_computed > 0
    assert seen.pools == {name: Pool(slots) for name, slots in POOLS.items()}
    assert seen.daemon_silent is None
    assert limit(seen).name == "nothing"


def test_runs_of_a_running_backfill_are_the_ones_that_are_looked_at(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.score()
    start(facility.instance, [noon(1).date()], {})
    known = backfills(facility.instance)
    seen = observe(facility.instance, facility.settings, facility.resources["staging"], known, pending=1)
    assert (seen.backfills, seen.runs_queued, seen.runs_started) == (1, 0, 0)
    assert seen.steps[FETCH].working == 0, "the run before was no run of the backfill"
    assert limit(seen).name == "daemon"


def slowly(value: Any, seconds: float) -> Callable[[Any], Any]:
    def work(_: Any) -> Any:
        time.sleep(seconds)
        return value

    return work


@pytest.mark.parametrize("slow", ["decode", "model"])
def test_it_shows_whether_the_model_waits_or_computes(slow: str) -> None:
    pixels, probabilities = np.zeros((4, 4, 3), np.float32), np.full((1, 4), 0.25, np.float32)
    before = inference_times()
    decode = slowly(pixels, 0.05 if slow == "decode" else 0)
    models = [slowly(probabilities, 0.05 if slow == "model" else 0)] * 2
    assert len(list(pipeline([b""] * 12, decode, models, batch_size=1))) == 12
    spent = inference_times() - before
    assert (spent.waited > spent.computed) == (slow == "decode")
