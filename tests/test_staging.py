"""The staging area as a buffer: how much of it fetching may fill, and what happens when it is full."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from c4_assets.command.run import failure_reason
from c4_assets.operations.alerts.records import Event, Observation, Severity
from c4_assets.runs.watch.look import look_at_staging
from c4_assets.scoring import fetch
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from tests.conftest import Facility, c4, noon, photograph
from tests.test_graph import metadata

OTHER_DAY = date(2020, 1, 1)


def plate(first: int) -> dict[str, bytes | None]:
    return {f"{seed}.jpg": photograph(seed) for seed in range(first, first + 3)}


@pytest.fixture
def narrow(make_facility: Callable[..., Facility], monkeypatch: pytest.MonkeyPatch) -> Facility:
    """A facility whose staging area takes one inspection, and whose runs look again at once."""
    monkeypatch.setattr(fetch, "POLL_S", 0.02)
    return make_facility(scratch_gigabytes=1e-6)


def test_a_day_that_is_larger_than_the_buffer_is_scored_in_parts_and_says_what_is_left(narrow: Facility) -> None:
    for number in range(3):
        narrow.add_plate(f"P{number}", plate(10 * number))
    left: list[object] = []
    while not left or left[-1]:
        result = narrow.score()
        left.append(metadata(result, "raw_inspection_images")["images left for the next run"])
        assert metadata(result, "marco_probabilities")["images scored"] == 3
    assert left == [6, 3, 0]
    assert narrow.progress().scored == 9


def test_a_run_that_has_nothing_staged_waits_until_another_one_has_made_room(narrow: Facility) -> None:
    others = narrow.settings.staging / OTHER_DAY.isoformat() / "7.arrow"
    others.parent.mkdir(parents=True)
    others.write_bytes(bytes(5000))
    narrow.add_plate("P1", plate(0))
    removed_at: list[float] = []

    def classify_the_other() -> None:
        time.sleep(0.5)
        others.unlink()
        removed_at.append(time.monotonic())

    other_run = threading.Thread(target=classify_the_other)
    other_run.start()
    narrow.score()
    other_run.join()
    assert removed_at[0] < time.monotonic()
    assert narrow.progress().scored == 3


def test_a_buffer_that_nobody_empties_fails_the_run_with_what_to_do(
    narrow: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PATIENCE_S", 0.1)
    forgotten = narrow.settings.staging / OTHER_DAY.isoformat() / "7.arrow"
    forgotten.parent.mkdir(parents=True)
    forgotten.write_bytes(bytes(5000))
    narrow.add_plate("P1", plate(0))
    result = narrow.score(raise_on_error=False)
    assert not result.success
    assert "C4_SCRATCH_GIGABYTES" in failure_reason(result)
    assert "folders of days that nobody classifies any more" in failure_reason(result)
    assert narrow.progress().retrying == 0, "no image is blamed for it"
    forgotten.unlink()
    narrow.score()
    assert narrow.progress().scored == 3


def test_runs_that_wait_because_staging_is_full_and_stands_still_are_told_until_something_leaves_it(
    narrow: Facility,
) -> None:
    began = datetime.now(UTC)
    forgotten = narrow.settings.staging / OTHER_DAY.isoformat() / "7.arrow"
    forgotten.parent.mkdir(parents=True)
    forgotten.write_bytes(bytes(5000))
    narrow.add_plate("P1", plate(0))
    run = threading.Thread(target=narrow.score)
    run.start()
    assert look_at_staging(narrow.settings, began + timedelta(minutes=29)).holding == (), "classification takes time"
    [told] = look_at_staging(narrow.settings, began + timedelta(minutes=31.5)).holding
    assert (told.event, told.severity) == (Event.STAGING_FULL, Severity.WARNING)
    assert "nothing has left it for 31 minutes" in told.summary
    assert run.is_alive(), "the run waits"
    forgotten.unlink()
    run.join(60)
    assert narrow.progress().scored == 3
    seen = look_at_staging(narrow.settings, datetime.now(UTC) + timedelta(days=1))
    assert seen == Observation(looked_at=frozenset({"staging-full"})), "an empty buffer may stand still"


def test_a_full_buffer_from_which_inspections_leave_is_no_trouble(narrow: Facility) -> None:
    day = narrow.settings.staging / OTHER_DAY.isoformat()
    day.mkdir(parents=True)
    for number in range(2):
        (day / f"{number}.arrow").write_bytes(bytes(5000))
    long_ago = time.time() - 3600
    os.utime(day, (long_ago, long_ago))
    assert len(look_at_staging(narrow.settings, datetime.now(UTC)).holding) == 1
    (day / "1.arrow").unlink()
    assert look_at_staging(narrow.settings, datetime.now(UTC)).holding == ()


def test_c4_run_goes_on_until_a_day_is_done(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    database = ImagingDatabase(f"sqlite:///{home / 'imaging.db'}")
    database.upgrade()
    seed_classes(database)
    for number in range(2):
        file = home / "images" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photograph(number))
        register_inspection(database, f"P{number}", noon(1), None, [NewImage("A01", 1, file.name)])
    database.engine.dispose()
    monkeypatch.setenv("C4_SCRATCH_GIGABYTES", "1e-6")
    said = c4(home, "run", "--pending", models=models).stdout
    assert "2 scores were written" in said


def test_the_memory_of_a_step_does_not_grow_with_the_inspection(tmp_path: Path) -> None:
    peak = {}
    for count in (100, 2000):
        command = [sys.executable, "-m", "tests.day_in_memory", str(tmp_path / str(count)), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        peak[count] = float(done.stdout)
    assert peak[2000] < peak[100] + 50, "2,000 images have 600 MB, which must not all be held"
