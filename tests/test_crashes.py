"""A run is killed at every point where it writes, or runs beside another one; then the next run completes it.

What could go wrong: a half-written file is read, a score is lost with a file that was removed too early, an image is
written twice because the commit was done and nobody knew. The processes here are real and so is SIGKILL.
"""

import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

from resources.imaging_database.withheld import withheld_inspections
from resources.imaging_database.work import failures
from tests.conftest import Facility, noon, photograph

PLATES = {
    "P1": {**{f"{n}.jpg": photograph(n) for n in range(3)}, "damaged.jpg": b"damaged"},
    "P2": {**{f"{n}.jpg": photograph(10 + n) for n in range(2)}, "broken.jpg": b"no image"},
}
SCORED, FAILED = 5, 2

# Where the data is judged nothing is written, and hundreds of runs are made here.
pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")

FRAME = photograph(50)
STUCK = {f"{n}.jpg": FRAME for n in range(2)}
"""A plate of which the imager sent one frame twice: its scores are withheld."""


def in_a_child(work: Callable[[], Any]) -> int:
    """Runs ``work`` in a forked process and returns its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)


def in_a_file(connection: Any) -> bool:
    """Whether an SQLite database is one that outlives the process: Dagster's own is in memory here."""
    cursor = connection.cursor()
    return bool(cursor.execute("PRAGMA database_list").fetchone()[2])


def count_writes(reached: Callable[[], None]) -> None:
    """Calls ``reached`` before every step that changes what the next run will find."""

    def before(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            if original.__name__ != "do_commit" or in_a_file(arguments[-1]):
                reached()
            return original(*arguments, **named)

        return counted

    for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (DefaultDialect, "do_commit")):
        setattr(owner, name, before(getattr(owner, name)))


def prepared(make_facility: Callable[..., Facility], home: Path) -> Facility:
    """A facility with two plates, and no open connection that a forked process would share."""
    facility = make_facility(home=home)
    for plate, files in {**PLATES, "P3": STUCK}.items():
        facility.add_plate(plate, files)
    facility.database.engine.dispose()
    return facility


def run_until(facility: Facility, point: int | None, report: int | None = None) -> None:
    """Runs the graph and kills this process before its write number ``point``; else reports how many there were."""
    writes = 0

    def reached() -> None:
        nonlocal writes
        if writes == point:
            os.kill(os.getpid(), signal.SIGKILL)
        writes += 1

    count_writes(reached)
    facility.score()
    if report is not None:
        os.write(report, str(writes).encode())


def assert_exactly_once(facility: Facility) -> None:
    """Every image is scored once or listed as failed, in the database and in the archive, and they agree."""
    rows = facility.rows("select image_id, p_clear, p_crystals, p_other, p_precipitate from scores")
    assert Counter(row.image_id for row in rows).most_common(1)[0][1] == 1
    assert len(rows) == SCORED
    progress = facility.progress()
    counts = (progress.scored, progress.retrying + progress.failed, progress.withheld)
    assert counts == (SCORED, FAILED, len(STUCK))
    assert [held.plate for held in withheld_inspections(facility.database, facility.scorer_version)] == ["P3"]
    outcomes = {o.image.image_id: o for o in facility.archive.outcomes(noon(1).date())}
    assert len(outcomes) == SCORED + FAILED + len(STUCK)
    for row in rows:
        assert outcomes[row.image_id].probabilities == pytest.approx(tuple(row)[1:], abs=1e-7)
    assert len(list((facility.settings.archive / "probabilities").rglob("*.parquet"))) == 1
    assert not list((facility.settings.archive / "checkpoints").rglob("*.parquet"))
    assert not list(facility.settings.staging.rglob("*.arrow"))


def test_killed_at_any_write_the_next_run_completes_with_nothing_lost_or_doubled(
    make_facility: Callable[..., Facility], tmp_path: Path
) -> None:
    counting = prepared(make_facility, tmp_path / "count")
    receive, send = os.pipe()
    assert in_a_child(lambda: run_until(counting, None, send)) == 0
    points = int(os.read(receive, 100))
    assert points > 20, "staging, checkpoints, merge, predictions and the commit are all points of this test"
    for point in range(points):
        facility = prepared(make_facility, tmp_path / f"killed-{point}")
        status = in_a_child(lambda point=point, facility=facility: run_until(facility, point))
        assert os.WIFSIGNALED(status), f"the run was not killed at point {point}"
        facility.score()
        assert_exactly_once(facility)
        attempts = [failure.attempts for failure in failures(facility.database, facility.scorer_version)]
        assert all(count in (1, 2) for count in attempts), f"point {point}: one attempt a run at most"


def test_two_runs_of_one_day_at_once_score_every_image_once(
    make_facility: Callable[..., Facility], tmp_path: Path
) -> None:
    for repetition in range(5):
        facility = prepared(make_facility, tmp_path / str(repetition))
        children: list[int] = []
        for _ in range(3):
            child = os.fork()
            if not child:
                try:
                    facility.score()
                    os._exit(0)
                except BaseException:
                    traceback.print_exc(file=sys.__stderr__)
                    os._exit(1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        facility.score()
        assert_exactly_once(facility)
