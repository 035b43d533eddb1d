"""The model of the backlog: what limits it, what more of anything brings, and how its overhead is found."""

from dataclasses import fields, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from testing.trial.backlog_model import (
    Load,
    Means,
    Rates,
    bottleneck,
    bounds,
    overhead_seconds,
    paper_seconds,
    seconds,
)

RATES = Rates(fetch=200, decode=50, model=100, write=20_000, overhead_s=20)
PLENTY = Means(connections=100, devices=100, cores=1000, at_once=1000, writers=100)
A_RUN = 30_000

some = st.floats(0.1, 1e5)
rates = st.builds(Rates, some, some, some, some, st.floats(0, 1e4))
count = st.integers(1, 200)
means = st.builds(Means, count, count, count, count, count)
loads = st.builds(Load, st.integers(1, 10**8), st.floats(1, 1e6))


@pytest.mark.parametrize(
    ("scarce", "named"),
    [
        ({"connections": 1}, "fetch"),
        ({"cores": 1}, "decode"),
        ({"devices": 1}, "model"),
        ({"writers": 1, "connections": 1000, "devices": 1000}, "database"),
        ({"at_once": 1}, "share"),
    ],
)
def test_what_there_is_least_of_is_the_bottleneck(scarce: dict[str, int], named: str) -> None:
    assert bottleneck(replace(RATES, write=2000), replace(PLENTY, **scarce), A_RUN) == named


def test_forty_million_images_over_one_connection_take_its_time() -> None:
    means = replace(PLENTY, connections=1)
    assert seconds(RATES, means, Load(40_000_000, A_RUN)) == pytest.approx(200_000)


def test_runs_one_at_a_time_pay_for_each_part_and_their_overhead() -> None:
    rates = Rates(fetch=100, decode=1000, model=50, write=1000, overhead_s=30)
    means = replace(PLENTY, at_once=1)
    # A run of 1000 images: 10 s, 20 s and 1 s of work, and the overhead.
    assert seconds(rates, means, Load(5000, 1000)) == pytest.approx(5 * 61)


def test_a_slow_decoder_holds_up_a_run_that_is_alone() -> None:
    means = Means(connections=10, devices=10, cores=1, at_once=1)
    rates = Rates(fetch=1000, decode=50, model=100, write=1000, overhead_s=0)
    assert bounds(rates, means, 100)["share"] == pytest.approx(100 / (0.1 + 2 + 0.1))


@given(rates, means, loads, st.sampled_from([field.name for field in fields(Means)]))
def test_fewer_of_anything_is_never_faster(rates: Rates, means: Means, load: Load, thing: str) -> None:
    fewer = replace(means, **{thing: max(1, getattr(means, thing) - 1)})
    assert seconds(rates, fewer, load) >= seconds(rates, means, load)


@given(rates, means, loads, st.sampled_from(["fetch", "decode", "model", "write"]))
def test_a_slower_one_of_anything_is_never_faster(rates: Rates, means: Means, load: Load, thing: str) -> None:
    slower = replace(rates, **{thing: getattr(rates, thing) / 2})
    assert seconds(slower, means, load) >= seconds(rates, means, load)


@given(rates, means, loads)
def test_the_overhead_of_a_backfill_is_found_again(rates: Rates, means: Means, load: Load) -> None:
    assume(bottleneck(rates, means, load.a_run) == "share")
    took = seconds(rates, means, load)
    # What is found is a difference: exact to the digits that the whole has.
    whole = took * means.at_once * load.a_run / load.images
    assert overhead_seconds(rates, means, load, took) == pytest.approx(rates.overhead_s, abs=1e-9 * whole + 1e-9)


def test_the_paper_works_through_its_inspections_ten_at_a_time() -> None:
    assert paper_seconds(40_000_000, inspection_s=120, inspection=200, jobs=10) == 2_400_000
