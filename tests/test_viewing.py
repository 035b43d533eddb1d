"""What pages read of inspections and drops, on every kind of database."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text

from resources.imaging_database.schema import image_details, inspections, plate_details
from resources.imaging_database.viewing.best import best_over_time
from resources.imaging_database.viewing.cursors import Cursor
from resources.imaging_database.viewing.drops import drop_over_time, image, inspection
from resources.imaging_database.viewing.inspections import newest_inspections, plate
from resources.imaging_database.viewing.records import (
    ImageDetails,
    InspectionCounts,
    PlateDetails,
    ViewedInspection,
)
from resources.imaging_database.viewing.relations import EVERYTHING
from resources.imaging_database.withheld import FailedCheck, release, withhold
from tests.conftest import noon
from tests.viewed_site import AT, OTHER, VERSION, Site, new_site, version

EARLY, LATE = noon(9), noon(2)
WELLS = ["A01", "A02", "B01"]


@pytest.fixture
def site(database_url: str) -> Site:
    return new_site(database_url)


@pytest.fixture
def imaged_twice(site: Site) -> Site:
    """A plate that was imaged twice: the crystal in A01 is gone in the later inspection."""
    for at in (EARLY, LATE):
        site.image_plate("P1", at, WELLS)
    site.score({site.image("P1", EARLY, "A01"): 0.9, site.image("P1", EARLY, "A02"): 0.1})
    site.score({site.image("P1", LATE, "A01"): 0.2, site.image("P1", LATE, "A02"): 0.6})
    return site


def viewed(site: Site, inspection_id: int) -> ViewedInspection:
    found = inspection(site.database, inspection_id, EVERYTHING)
    assert found is not None
    return found


def newest(site: Site) -> Sequence[InspectionCounts]:
    return newest_inspections(site.database, VERSION, 2, EVERYTHING).rows


def test_an_inspection_has_all_images_and_all_that_was_said_of_each(imaged_twice: Site) -> None:
    site = imaged_twice
    first = site.image("P1", LATE, "A01")
    site.score({first: 0.7}, by=OTHER)
    site.say(first, "ana", "needles", 1)
    site.say(first, "ben", "skin", 2)
    site.say(first, "ben", "withdrawn", 3)
    site.fail(site.image("P1", LATE, "B01"), "not an image")
    found = viewed(site, 2)
    assert (found.plate, found.imaged_at, found.imager, found.details) == ("P1", LATE, "left", PlateDetails())
    assert [each.image.well for each in found.images] == WELLS
    a01, a02, b01 = found.images
    assert a01.image.path == f"P1/{LATE:%d%H%M}/A01"
    assert {name: (score.probabilities[1], score.flagged) for name, score in a01.models.items()} == {
        VERSION: (0.2, False),
        OTHER: (0.7, True),
    }
    of_version = a01.models[VERSION]
    assert (of_version.category, of_version.scored_at, of_version.run_id) == ("clear", AT, "run-1")
    assert of_version.sha256 == f"{first:064}"
    assert [(score.person, score.class_name, score.category, score.withdraws) for score in a01.people] == [
        ("ben", "withdrawn", None, True),
        ("ben", "skin", "other", False),
        ("ana", "needles", "crystals", False),
    ]
    assert (a02.people, a02.failures) == ([], {})
    assert (b01.models, b01.failures[VERSION].reason, b01.failures[VERSION].attempts) == ({}, "not an image", 1)


def test_an_inspection_without_images_is_there_and_one_that_is_not_listed_is_not(site: Site) -> None:
    number = site.image_plate("P1", EARLY, [])
    assert (viewed(site, number).plate, viewed(site, number).images) == ("P1", [])
    assert inspection(site.database, number + 1, EVERYTHING) is None


def test_an_inspection_says_why_it_is_withheld_and_who_released_it(imaged_twice: Site) -> None:
    site = imaged_twice
    assert viewed(site, 1).withheld == []
    withhold(site.database, version(VERSION), {1: 3}, [FailedCheck(1, "one_frame", "all images alike", 3)])
    (held,) = viewed(site, 1).withheld
    assert (held.check, held.reason, held.released_by) == ("one_frame", "all images alike", None)
    assert {each.inspection_id: each.withheld for each in newest(site)} == {1: True, 2: False}
    release(site.database, VERSION, 1, "ana", "a calibration plate")
    (held,) = viewed(site, 1).withheld
    assert (held.released_by, held.release_reason) == ("ana", "a calibration plate")
    assert not any(each.withheld for each in newest(site))


def test_what_was_said_of_another_image_that_had_the_number_is_not_shown(imaged_twice: Site) -> None:
    site = imaged_twice
    site.say(site.image("P1", EARLY, "A01"), "ana", "needles")
    site.fail(site.image("P1", EARLY, "B01"), "not an image")
    with site.database.writing() as connection:
        for table in ("scores", "c4_image_failures"):
            connection.execute(text(f"update {table} set image_path = 'elsewhere.jpg'"))
    assert [(each.models, each.people, each.failures) for each in viewed(site, 1).images] == [({}, [], {})] * 3
    assert [(each.scored, each.failed, each.said) for each in newest(site)] == [(0, 0, 0)] * 2


def test_one_image_is_shown_within_its_inspection(imaged_twice: Site) -> None:
    number = imaged_twice.image("P1", LATE, "A02")
    found = image(imaged_twice.database, number, EVERYTHING)
    assert found is not None
    assert (found.inspection_id, [each.image.image_id for each in found.images]) == (2, [number])
    assert image(imaged_twice.database, 4711, EVERYTHING) is None


def test_a_drop_is_followed_through_all_inspections_the_oldest_first(imaged_twice: Site) -> None:
    site = imaged_twice
    site.image_plate("P1", noon(5), ["A02"])
    found = drop_over_time(site.database, "P1", "A01", 1, EVERYTHING)
    assert [each.imaged_at for each in found] == [EARLY, LATE]
    assert [image.models[VERSION].probabilities[1] for each in found for image in each.images] == [0.9, 0.2]
    assert drop_over_time(site.database, "P1", "A01", 2, EVERYTHING) == []
    assert drop_over_time(site.database, "P2", "A01", 1, EVERYTHING) == []


def test_inspections_are_counted_and_the_newest_comes_first(imaged_twice: Site) -> None:
    site = imaged_twice
    for person, name, minute in (("ana", "needles", 1), ("ben", "clear", 2), ("ben", "withdrawn", 3)):
        site.say(site.image("P1", LATE, "A01"), person, name, minute)
    site.say(site.image("P1", LATE, "A02"), "ana", "skin")
    failing = site.image("P1", LATE, "B01")
    site.fail(failing, "not an image")
    late, early = newest(site)
    assert (late.plate, late.imaged_at, late.imager) == ("P1", LATE, "left")
    assert (late.listed, late.scored, late.failed, late.crystals, late.best) == (3, 2, 0, 1, 0.6)
    assert (late.said, late.hits) == (2, 1)
    assert (early.imaged_at, early.best, early.said, early.hits) == (EARLY, 0.9, 0, 0)
    (only,) = newest_inspections(site.database, VERSION, 1, EVERYTHING, most=1).rows
    assert only.failed == 1, "one attempt is all it gets"


def test_a_list_of_inspections_goes_on_where_it_ended_whatever_is_imaged_meanwhile(site: Site) -> None:
    for number in range(5):
        site.image_plate(f"P{number}", noon(9 - number // 2), ["A01"])
    seen: list[str] = []
    cursor: Cursor | None = None
    while True:
        page = newest_inspections(site.database, VERSION, 2, EVERYTHING, cursor, most=2)
        seen += [each.plate for each in page.rows]
        site.image_plate(f"later {len(seen)}", noon(0), ["A01"])
        if page.after is None:
            break
        cursor = Cursor.parse(str(page.after))
    assert seen == ["P4", "P3", "P2", "P1", "P0"]


def test_inspections_of_the_future_can_be_left_out(imaged_twice: Site) -> None:
    imaged_twice.image_plate("P2", noon(-30), ["A01"])
    rows = newest_inspections(imaged_twice.database, VERSION, 2, EVERYTHING, until=noon(0)).rows
    assert [each.inspection_id for each in rows] == [2, 1]


def test_a_plate_has_all_its_inspections(imaged_twice: Site) -> None:
    imaged_twice.image_plate("P2", LATE, ["A01"])
    found = plate(imaged_twice.database, VERSION, 2, "P1", EVERYTHING)
    assert found is not None
    assert [(each.inspection_id, each.best) for each in found.inspections] == [(2, 0.6), (1, 0.9)]
    assert plate(imaged_twice.database, VERSION, 2, "P3", EVERYTHING) is None


def test_the_best_of_a_drop_is_not_hidden_by_a_later_image(imaged_twice: Site) -> None:
    site = imaged_twice
    site.say(site.image("P1", EARLY, "A01"), "ana", "needles", 1)
    site.say(site.image("P1", LATE, "A01"), "ana", "clear", 2)
    site.say(site.image("P1", EARLY, "B01"), "ben", "single crystal", 3)
    site.say(site.image("P1", EARLY, "B01"), "ben", "withdrawn", 4)
    site.say(site.image("P1", LATE, "B01"), "ben", "skin", 5)
    a01, a02, b01 = best_over_time(site.database, site.plate_of(1), VERSION, EVERYTHING)
    assert (a01.probability, a01.image_id, a01.imaged_at) == (0.9, site.image("P1", EARLY, "A01"), EARLY)
    assert (a01.person and a01.person.class_name, a01.person_imaged_at) == ("needles", EARLY)
    assert (a02.well, a02.drop_number, a02.probability, a02.imaged_at, a02.person) == ("A02", 1, 0.6, LATE, None)
    assert (b01.probability, b01.image_id, b01.person and b01.person.class_name) == (None, None, "skin")
    ranks = {"clear": 2, "needles": 1}
    (ranked, *_) = best_over_time(site.database, site.plate_of(1), VERSION, EVERYTHING, ranks)
    assert (ranked.person and ranked.person.class_name, ranked.person_imaged_at) == ("clear", LATE)


def test_what_a_site_says_of_plates_and_images_is_shown_where_it_says_it(imaged_twice: Site) -> None:
    site = imaged_twice
    site.add_relation(plate_details, [{"plate_id": site.plate_of(1), "project": "lysozyme", "owner": "ana"}])
    of_image = {"image_id": site.image("P1", LATE, "A01"), "microns_per_pixel": 2.5, "light": "uv", "focus": -3.0}
    site.add_relation(image_details, [of_image])
    found = viewed(site, 2)
    assert found.details == PlateDetails("lysozyme", "ana", None)
    assert [each.details for each in found.images] == [ImageDetails(2.5, "uv", -3.0), ImageDetails(), ImageDetails()]
    of_plate = plate(site.database, VERSION, 2, "P1", EVERYTHING)
    assert of_plate is not None
    assert of_plate.details.project == "lysozyme"


def test_an_inspection_without_a_time_is_shown_but_in_no_list(imaged_twice: Site) -> None:
    site = imaged_twice
    with site.database.writing() as connection:
        odd = EARLY - timedelta(days=365 * 200)
        connection.execute(inspections.update().where(inspections.c.id == 1).values(imaged_at=odd))
    assert viewed(site, 1).imaged_at is None
    assert [each.inspection_id for each in newest(site)] == [2]
