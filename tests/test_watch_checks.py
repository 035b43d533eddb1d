"""What the watch sees of failed checks and of images that are given up, in a real Dagster instance."""

from collections.abc import Callable

import pytest

from c4_assets.operations.alerts.records import Event, Observation, Severity
from tests.conftest import Facility, noon, photograph
from tests.watchers import DAY, Watcher, only

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def test_a_check_that_fails_is_told_with_its_plate_and_is_well_again_when_the_day_passes(
    facility: Facility,
) -> None:
    frame = photograph(1)
    facility.add_plate("Stuck", {f"{number}.jpg": frame for number in range(8)})
    watcher = Watcher(facility.instance)
    facility.score()
    told = only(watcher.look().occurred)
    assert told.event is Event.CHECK_FAILED
    assert told.key == "check-failed:inspection_is_not_one_frame"
    assert told.severity is Severity.ERROR
    assert DAY in told.summary
    assert "Stuck" in told.summary
    for number in range(8):
        (facility.images / "Stuck" / f"{number}.jpg").write_bytes(photograph(number))
    with facility.database.writing() as connection:
        from resources.imaging_database.schema import c4_withheld_inspections

        connection.execute(c4_withheld_inspections.delete())
    facility.score()
    assert watcher.look().recovered == {told.key}


def test_an_image_that_is_given_up_is_told_once_and_not_at_every_run(make_facility: Callable[..., Facility]) -> None:
    facility = make_facility(runs={"max_attempts": 2})
    facility.add_plate("P1", {"good.jpg": photograph(1), "damaged.jpg": b"no image"})
    watcher = Watcher(facility.instance)
    facility.score()
    assert watcher.look() == Observation(), "it is tried once more"
    facility.score()
    told = only(watcher.look().occurred)
    assert (told.key, told.event) == ("images-given-up", Event.IMAGES_GIVEN_UP)
    assert told.summary.startswith(f"An image of {DAY} will not be tried again. P1 A02.1: ")
    facility.score()
    assert watcher.look() == Observation()


def test_an_absent_file_is_told_when_it_is_given_up_and_not_when_it_is_looked_for_again(facility: Facility) -> None:
    facility.add_plate("Old", {"kept.jpg": photograph(1), "lost.jpg": None}, noon(9))
    watcher = Watcher(facility.instance)
    facility.score(noon(9))
    assert only(watcher.look().occurred).key == "images-given-up"
    facility.score(noon(9))
    assert watcher.look() == Observation()
