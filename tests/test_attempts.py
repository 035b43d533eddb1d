"""What counts as an attempt at an image, what is waited for, and what is given up and looked for all the same."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.command.console import console
from c4_assets.command.run import failure_reason
from resources.image_store import ImageStore
from resources.image_store.base import FetchedImage
from resources.imaging_database.attempts import DAY, NEVER_FAILED, POLL, STORE_PATIENCE, WEEK, failing
from resources.imaging_database.work import failures, forget_failures, pending_by_day
from resources.imaging_database.write_back import FailedAttempt, write_back
from resources.records import Problem
from tests.conftest import Facility, noon, photograph
from tests.test_sensor import asked, tick

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FOUR = {f"{seed}.jpg": photograph(seed) for seed in range(4)}

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def test_only_the_file_itself_uses_attempts_up() -> None:
    assert failing((1, NOW), Problem.FILE, NOW).attempts == 2
    assert failing((1, NOW), Problem.ABSENT, NOW).attempts == 1
    assert failing((1, NOW), Problem.STORE, NOW).attempts == 1


def test_waits_for_an_absent_file_grow_from_an_hour_to_a_day_and_end_after_a_week() -> None:
    at, waits = NOW, list[timedelta]()
    known = NEVER_FAILED
    given_up = list[bool]()
    for _ in range(20):
        now = failing(known, Problem.ABSENT, at, NOW)
        assert now.retry_at
        waits.append(now.retry_at - at)
        given_up.append(now.given_up)
        known, at = (now.attempts, now.first_failed_at), now.retry_at
    assert waits[0] == POLL
    assert waits == sorted(waits)
    assert DAY in waits
    assert waits[-1] == WEEK
    assert len([wait for wait in waits if wait < DAY]) < 8
    assert given_up == sorted(given_up)
    first = given_up.index(True)
    assert timedelta(days=7) <= sum(waits[:first], timedelta()) < timedelta(days=8)


@given(
    st.tuples(st.integers(0, 5), st.none() | st.datetimes(timezones=st.just(UTC))),
    st.sampled_from(Problem),
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_whatever_times_there_are_a_wait_is_bounded(
    before: tuple[int, datetime | None], problem: Problem, at: datetime, imaged_at: datetime | None
) -> None:
    now = failing(before, problem, at, imaged_at)
    assert now.first_failed_at <= at
    assert (now.retry_at is None) == (problem is Problem.FILE)
    assert now.retry_at is None or timedelta() <= now.retry_at - at <= WEEK
    assert not now.given_up or problem is Problem.ABSENT


def test_a_store_that_fails_is_asked_again_at_the_next_poll_and_then_less_often() -> None:
    assert failing(NEVER_FAILED, Problem.STORE, NOW).retry_at == NOW
    for hours in (1, 2, 100):
        now = failing((0, NOW), Problem.STORE, NOW + timedelta(hours=hours), NOW - timedelta(days=99))
        assert now.retry_at == NOW + timedelta(hours=hours) + min(timedelta(hours=hours), STORE_PATIENCE)
        assert not now.given_up


def test_a_store_that_fails_says_nothing_of_a_file_that_was_given_up() -> None:
    assert failing((0, NOW), Problem.STORE, NOW, given_up=True).given_up
    assert not failing((0, NOW), Problem.FILE, NOW, given_up=True).given_up


def pending(facility: Facility, due_only: bool = True) -> dict[str, int]:
    days = pending_by_day(facility.database, facility.scorer_version, 3, noon(30), due_only=due_only)
    return {day.isoformat(): count for day, count in days.items()}


def time_passes(facility: Facility, hours: float) -> None:
    """As if all that has failed had failed so much earlier."""
    names = ("failed_at", "first_failed_at", "retry_at")
    with facility.database.writing() as connection:
        for row in connection.execute(text(f"select image_id, {', '.join(names)} from c4_image_failures")).all():
            for name, value in zip(names, row[1:], strict=True):
                if value:
                    moved = (datetime.fromisoformat(value) - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S.%f")
                    change = text(f"update c4_image_failures set {name} = :at where image_id = :image")
                    connection.execute(change, {"at": moved, "image": row.image_id})


def test_an_image_that_is_not_there_yet_is_never_given_up_by_counting(facility: Facility) -> None:
    facility.add_plate("P1", {"late.jpg": None, **FOUR})
    for _ in range(5):
        facility.score()
    progress = facility.progress()
    assert (progress.scored, progress.retrying, progress.failed, progress.pending) == (4, 1, 0, 1)
    (failure,) = failures(facility.database, facility.scorer_version)
    assert (failure.attempts, failure.problem, failure.failed) == (0, Problem.ABSENT, False)
    (facility.images / "P1" / "late.jpg").write_bytes(photograph(7))
    facility.score()
    assert facility.progress().scored == 5
    assert failures(facility.database, facility.scorer_version) == []


def test_no_run_is_started_for_an_image_that_waits_and_one_is_when_its_time_has_come(facility: Facility) -> None:
    facility.add_plate("P1", {"late.jpg": None, **FOUR})
    facility.score()
    assert pending(facility) == {}
    assert pending(facility, due_only=False) == {noon(1).date().isoformat(): 1}
    assert isinstance(tick(facility)[0], dg.SkipReason)
    time_passes(facility, 1)
    assert asked(tick(facility)[0]) == [noon(1).date().isoformat()]
    facility.score()
    assert pending(facility) == {}
    time_passes(facility, 0.95)
    assert pending(facility) == {}, "the second wait is longer"


def test_an_absent_image_of_an_old_inspection_is_failed_and_still_found_when_it_appears(facility: Facility) -> None:
    facility.add_plate("P1", {"lost.jpg": None, **FOUR}, noon(9))
    facility.score(noon(9))
    time_passes(facility, 24 * 8)
    facility.score(noon(9))
    progress = facility.progress()
    assert (progress.scored, progress.failed, progress.pending) == (4, 1, 0)
    assert pending(facility, due_only=False) == {}
    time_passes(facility, 24 * 6.9)
    assert pending(facility) == {}
    time_passes(facility, 24 * 0.2)
    assert pending(facility) == {noon(9).date().isoformat(): 1}
    (facility.images / "P1" / "lost.jpg").write_bytes(photograph(7))
    facility.score(noon(9))
    assert facility.progress().scored == 5


def test_lost_files_of_long_ago_are_looked_for_a_few_days_at_each_poll(facility: Facility) -> None:
    for days_ago in range(40, 46):
        facility.add_plate(f"P{days_ago}", {"lost.jpg": None, "a.jpg": photograph(days_ago)}, noon(days_ago))
        facility.score(noon(days_ago))
    assert isinstance(tick(facility)[0], dg.SkipReason)
    time_passes(facility, 24 * 7.1)
    first = asked(tick(facility)[0])
    assert len(first) == 3
    for day in first:
        facility.score(datetime.fromisoformat(str(day)))
    second = asked(tick(facility)[0])
    assert len(second) == 3
    assert not set(first) & set(second)
    for day in second:
        facility.score(datetime.fromisoformat(str(day)))
    assert isinstance(tick(facility)[0], dg.SkipReason)


class Refusing:
    """A store that refuses some files, or all."""

    def __init__(self, inner: ImageStore, refused: Callable[[str], bool]) -> None:
        self._inner, self.refused = inner, refused

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        for fetched in self._inner.fetch(paths):
            refused = FetchedImage(fetched.path, None, "429 Too Many Requests", Problem.STORE)
            yield refused if self.refused(fetched.path) else fetched

    def close(self) -> None:
        self._inner.close()


def test_what_the_store_refuses_is_tried_again_and_never_counted(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    store = facility.resources["image_store"]
    facility.resources["image_store"] = Refusing(store, lambda path: path.endswith(("1.jpg", "2.jpg")))
    for _ in range(4):
        facility.score()
    assert (facility.progress().scored, facility.progress().retrying) == (2, 2)
    assert {(f.attempts, f.problem, f.reason) for f in failures(facility.database, facility.scorer_version)} == {
        (0, Problem.STORE, "429 Too Many Requests")
    }
    facility.resources["image_store"] = store
    facility.score()
    assert facility.progress().scored == 4


def test_a_store_that_refuses_everything_fails_the_run_once_and_no_image(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.add_plate("P2", {f"b{name}": data for name, data in FOUR.items()})
    store = facility.resources["image_store"]
    facility.resources["image_store"] = Refusing(store, lambda _path: True)
    result = facility.score(raise_on_error=False)
    assert "Not one of 8 images" in failure_reason(result)
    assert "429 Too Many Requests" in failure_reason(result)
    assert facility.rows("select * from c4_image_failures") == []
    facility.resources["image_store"] = store
    facility.score()
    assert facility.progress().scored == 8


def test_where_every_path_is_wrong_the_run_fails_with_a_sentence_and_nothing_is_counted(facility: Facility) -> None:
    for number in range(3):
        facility.add_plate(f"P{number}", FOUR, noon(number + 1))
    with facility.database.writing() as connection:
        connection.execute(text("update images set path = 'mnt/' || path"))
    for _ in range(4):
        result = facility.score(raise_on_error=False)
        assert not result.success
        assert "nor any of 2 of other days" in failure_reason(result)
        assert "C4_STORE_URL" in failure_reason(result)
    assert facility.rows("select * from c4_image_failures") == []
    with facility.database.writing() as connection:
        connection.execute(text("update images set path = substr(path, 5)"))
    facility.score()
    assert facility.progress().scored == 4


def test_names_that_no_store_takes_are_a_mistake_of_the_site_if_all_are_so(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    with facility.database.writing() as connection:
        connection.execute(text(r"update images set path = replace(path, '/', '\')"))
    assert "is not one below the image store's root" in failure_reason(facility.score(raise_on_error=False))
    assert facility.rows("select * from c4_image_failures") == []


def test_a_day_whose_files_alone_are_missing_waits_for_them_while_the_store_has_others(facility: Facility) -> None:
    facility.add_plate("P1", FOUR, noon(2))
    facility.score(noon(2))
    facility.add_plate("P2", dict.fromkeys(FOUR, None))
    facility.score()
    progress = facility.progress()
    assert (progress.scored, progress.retrying) == (4, 4)


def test_retrying_forgets_attempts_and_waits_of_a_day_a_plate_or_a_reason(facility: Facility) -> None:
    for number in range(3):
        facility.add_plate(f"P{number}", FOUR, noon(1 + number // 2))
    reasons = {1: "gone", 2: "cut off: 100% lost", 5: "gone", 9: "gone"}
    attempts = [FailedAttempt(image, reason, NOW, problem=Problem.ABSENT) for image, reason in reasons.items()]
    version = facility.models.current.version.as_row()

    def left_after(**chosen: object) -> list[int]:
        forget_failures(facility.database, facility.scorer_version)
        write_back(facility.database, version, [], attempts, "run")
        count = forget_failures(facility.database, facility.scorer_version, **chosen)  # type: ignore[arg-type]
        left = [row.image_id for row in facility.rows("select image_id from c4_image_failures order by 1")]
        assert count == 4 - len(left)
        return left

    assert left_after(day=noon(2).date()) == [1, 2, 5]
    assert left_after(plate="P1") == [1, 2, 9]
    assert left_after(reason="CUT OFF") == [1, 5, 9]
    assert left_after(reason="100% L") == [1, 5, 9]
    assert left_after(reason="%") == [1, 5, 9], "a sign and no wildcard"
    assert left_after(reason="gone", day=noon(1).date()) == [2, 9]
    assert left_after(plate="P0", day=noon(2).date()) == [1, 2, 5, 9]
    assert left_after() == []


def test_the_command_names_when_an_image_is_tried_again_and_retries_what_it_is_told(facility: Facility) -> None:
    facility.add_plate("P1", {"late.jpg": None, "bad.jpg": b"no image", **FOUR})
    facility.score()

    def c4(*arguments: str) -> str:
        console.width = 200
        done = CliRunner().invoke(app, arguments, env={"C4_HOME": str(facility.settings.home)})
        assert done.exit_code == 0, done.output
        return done.stdout

    told = c4("status", "--failures")
    assert "by the next run" in told
    assert "from 20" in told
    assert "--reason" in told
    assert "Tried again by the next run: 1 image." in c4("retry", "--plate", "P1", "--reason", "not an image")
    assert "Tried again by the next run: 0 images." in c4("retry", "--date", "2001-01-01")
    assert [failure.image.well for failure in failures(facility.database, facility.scorer_version)] == ["A01"]
    assert "Tried again by the next run: 1 image." in c4("retry")
    assert pending(facility) == {noon(1).date().isoformat(): 2}
