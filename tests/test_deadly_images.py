"""An image that ends the process that classifies it is listed as failed, and everything else is scored."""

import faulthandler
import os
import signal
from collections.abc import Callable

import pytest

from c4_assets.models.active import ActiveModels
from c4_assets.models.isolated import IsolatedEngine
from c4_assets.pictures import fetched_thumbnails, isolated_thumbnails
from c4_assets.pictures.inspection_thumbnails import thumbnails_of_inspection
from resources.archive.begun import Begun
from resources.errors import ConfigurationError, Unavailable
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.work import failures
from tests.conftest import Facility, noon, photograph
from tests.deadly import (
    ENDLESS,
    KILLED,
    SEGFAULT,
    STOPPED,
    UNHEARD_OF,
    WHOLE_STEP,
    BrokenMachine,
    DeadlyClassifier,
    DeadlyEngine,
    thumbnail_or_death,
)
from tests.test_crashes import in_a_child

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")

DAY = noon(1).date()


@pytest.fixture
def facility(make_facility: Callable[..., Facility]) -> Facility:
    made = make_facility()
    made.resources["models"] = ActiveModels(made.settings, made.database, DeadlyClassifier)
    return made


def listed(facility: Facility, deadly: bytes) -> None:
    """Two plates; an image of the first ends its process."""
    first = {f"{number}.jpg": photograph(number) for number in range(4)}
    facility.add_plate("P1", {**first, "2.jpg": photograph(2) + deadly})
    facility.add_plate("P2", {f"{number}.jpg": photograph(10 + number) for number in range(3)})
    facility.database.engine.dispose()


def run(facility: Facility) -> int:
    """The wait status of a process of its own group that makes one run."""

    def score() -> None:
        os.setpgid(0, 0)
        faulthandler.disable()
        facility.score()

    return in_a_child(score)


def assert_all_but_one(facility: Facility, reason: str) -> None:
    progress = facility.progress()
    assert (progress.listed, progress.scored, progress.retrying) == (7, 6, 1)
    (failure,) = failures(facility.database, facility.scorer_version)
    assert (failure.image.path, failure.attempts) == ("P1/2.jpg", 1)
    assert reason in failure.reason


@pytest.mark.parametrize(
    ("deadly", "reason"), [(KILLED, "SIGKILL, as"), (SEGFAULT, "SIGSEGV")], ids=["memory", "segfault"]
)
def test_after_two_deaths_the_image_is_listed_and_all_others_are_scored(
    facility: Facility, deadly: bytes, reason: str
) -> None:
    listed(facility, deadly)
    assert os.WIFSIGNALED(run(facility))
    assert os.WIFSIGNALED(run(facility))
    assert {outcome.image.plate for outcome in facility.archive.outcomes(DAY)} == {"P2"}, "it holds up no other plate"
    assert run(facility) == 0
    assert_all_but_one(facility, reason)
    assert run(facility) == 0, "it is known from now on, and ends no step any more"
    (failure,) = failures(facility.database, facility.scorer_version)
    assert failure.attempts == 2


def test_an_image_that_ends_the_whole_step_is_listed_all_the_same(facility: Facility) -> None:
    listed(facility, WHOLE_STEP)
    for _ in range(4):
        assert os.WIFSIGNALED(run(facility))
    assert run(facility) == 0
    assert_all_but_one(facility, "ended the whole step")


@pytest.mark.parametrize("deadly", [KILLED, SEGFAULT], ids=["memory", "segfault"])
def test_a_thumbnail_that_ends_a_run_costs_no_score_and_ends_nobody_who_looks(
    make_facility: Callable[..., Facility], monkeypatch: pytest.MonkeyPatch, deadly: bytes
) -> None:
    for module in (fetched_thumbnails, isolated_thumbnails):
        monkeypatch.setattr(module, "thumbnail_of", thumbnail_or_death)
    facility = make_facility()
    listed(facility, deadly)
    ends = [run(facility) for _ in range(3)]
    assert os.WIFSIGNALED(ends[0])
    assert ends[2] == 0, "a second death is possible where the plate was not staged yet"
    assert facility.progress().scored == 7
    thumbnails, store = facility.resources["thumbnails"], facility.resources["image_store"]
    first, second = inspections_of_day(facility.database, DAY)
    assert all(each.webp for each in thumbnails_of_inspection(DAY, 2, second.images, thumbnails, store))
    for _ in range(2):
        found = list(thumbnails_of_inspection(DAY, 1, first.images, thumbnails, store))
        assert [each.path for each in found if not each.webp] == ["P1/2.jpg"]
        assert {each.error for each in found if not each.webp} == {
            "P1/2.jpg: decoding this image ended the process that did it; look at the file"
        }
    assert not list(facility.settings.thumbnails.rglob("1.*.begun"))


def test_where_thumbnails_have_ended_two_runs_a_third_makes_none_of_that_plate(facility: Facility) -> None:
    listed(facility, b"")
    for _ in range(2):
        with pytest.raises(MemoryError), facility.resources["thumbnails"].begun(DAY).noted("1"):
            raise MemoryError
    facility.score()
    assert facility.progress().scored == 7
    assert [len(facility.resources["thumbnails"].read(DAY, number)) for number in (1, 2)] == [0, 3]


def test_an_error_that_nobody_expects_of_an_image_counts_as_a_death(facility: Facility) -> None:
    listed(facility, UNHEARD_OF)
    assert not facility.score(raise_on_error=False).success, "the step is tried twice"
    facility.score()
    assert_all_but_one(facility, "LookupError: no such marker")


def test_a_mended_image_leaves_no_note_behind(facility: Facility) -> None:
    listed(facility, KILLED)
    for _ in range(3):
        run(facility)
    (facility.images / "P1" / "2.jpg").write_bytes(photograph(2))
    assert run(facility) == 0
    assert facility.progress().scored == 7
    assert not list(facility.settings.archive.rglob("*.begun"))


def test_a_run_that_is_stopped_is_no_death(facility: Facility) -> None:
    begun = Begun(facility.settings.archive, facility.settings.archive)
    for error in (KeyboardInterrupt, Unavailable, OSError):
        with pytest.raises(error), begun.noted("7"):
            raise error
    assert begun.count("7") == 0
    with pytest.raises(MemoryError), begun.noted("7"):
        raise MemoryError
    assert (begun.count("7"), begun.count("77"), begun.count("7-a")) == (1, 0, 0)


def test_where_any_picture_ends_the_process_no_image_is_to_blame() -> None:
    engine = IsolatedEngine(BrokenMachine)
    with pytest.raises(ConfigurationError, match=r"SIGKILL.*No image was tried"):
        list(engine.classify([photograph(1)]))


def test_a_process_that_is_stopped_from_outside_blames_no_image() -> None:
    engine = IsolatedEngine(DeadlyEngine)
    with pytest.raises(Unavailable, match=signal.SIGTERM.name):
        list(engine.classify([photograph(1) + STOPPED]))
    assert engine.deadly == 0


def test_a_process_that_does_not_answer_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = IsolatedEngine(DeadlyEngine)
    (first,) = engine.classify([photograph(1)])
    monkeypatch.setattr("c4_assets.models.isolated.ANSWER_S", 0.2)
    (late,) = engine.classify([photograph(2) + ENDLESS])
    assert first.probabilities
    assert "no answer in 0.2 s" in str(late.error)
