"""Plates that are looked for, and lists of images across plates, on every kind of database."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.schema import human_scores, plate_details, plates
from resources.imaging_database.viewing.cursors import Cursor
from resources.imaging_database.viewing.find_plates import PlateSearch, find_plates
from resources.imaging_database.viewing.lists import likeliest_crystals, missed_crystals, scores_of_person
from resources.imaging_database.viewing.relations import EVERYTHING
from resources.records import LARGEST_NUMBER
from tests.conftest import noon
from tests.viewed_site import AT, VERSION, Site, new_site

EARLY, LATE = noon(9), noon(2)
DAY = AT - timedelta(hours=1), AT + timedelta(hours=1)


@pytest.fixture
def site(database_url: str) -> Site:
    """Three plates with two images each, the last one imaged twice, and one plate that never was."""
    made = new_site(database_url)
    for plate, at in (("AB-1", EARLY), ("ab_2", LATE), ("CD%1", noon(20)), ("CD%1", noon(5))):
        made.image_plate(plate, at, ["A01", "A02"])
    return made


def found(site: Site, **asked: object) -> list[str]:
    return [each.plate for each in find_plates(site.database, PlateSearch(**asked), EVERYTHING).rows]  # type: ignore[arg-type]


def test_plates_are_found_by_how_their_barcode_begins_or_by_a_part_of_it(site: Site) -> None:
    assert found(site) == ["ab_2", "CD%1", "AB-1"], "the one imaged last first"
    assert sorted(found(site, barcode="ab")) == ["AB-1", "ab_2"]
    assert found(site, barcode="Ab-1") == ["AB-1"]
    assert found(site, barcode="B-1") == []
    assert found(site, part="b-") == ["AB-1"]
    assert found(site, barcode="AB_") == ["ab_2"], "letters of a pattern stand for themselves"
    assert found(site, part="d%") == ["CD%1"]
    assert found(site, part="%") == ["CD%1"]


def test_plates_are_found_by_when_they_were_imaged(site: Site) -> None:
    assert found(site, since=noon(6), until=noon(1)) == ["ab_2", "CD%1"]
    assert found(site, since=noon(6), until=noon(5)) == [], "the end is excluded"
    assert found(site, until=noon(15)) == ["CD%1"]
    assert found(site, since=noon(6), barcode="ab") == ["ab_2"]


def test_plates_are_found_by_project_and_owner_where_the_site_says_them(site: Site) -> None:
    assert found(site, project="lysozyme") == []
    numbers = {each.plate: each.plate_id for each in find_plates(site.database, PlateSearch(), EVERYTHING).rows}
    rows = [
        {"plate_id": numbers["AB-1"], "project": "lysozyme", "owner": "ana", "name": "first"},
        {"plate_id": numbers["CD%1"], "project": "lysozyme", "owner": "ben", "name": None},
        {"plate_id": numbers["ab_2"], "project": "insulin", "owner": None, "name": None},
        {"plate_id": numbers["ab_2"], "project": "zinc", "owner": None, "name": None},
    ]
    site.add_relation(plate_details, rows)
    fresh = Site(ImagingDatabase(site.database.engine.url))
    assert found(fresh, project="lysozyme") == ["CD%1", "AB-1"]
    assert found(fresh, project="lysozyme", owner="ana") == ["AB-1"]
    assert found(fresh, project="insulin") == ["ab_2"]
    assert found(fresh, project="zinc") == ["ab_2"], "a plate may be of several projects"
    assert found(fresh) == found(site), "each plate once"
    assert found(fresh, project="insulin", owner="ana") == []
    (only,) = find_plates(fresh.database, PlateSearch(owner="ben"), EVERYTHING).rows
    assert (only.details.project, only.details.name, only.inspections, only.newest) == ("lysozyme", None, 2, noon(5))


def test_a_plate_that_was_never_imaged_comes_last(site: Site) -> None:
    with site.database.writing() as connection:
        connection.execute(plates.insert(), [{"barcode": "never"}])
    pages: list[tuple[str, datetime | None]] = []
    cursor: Cursor | None = None
    while True:
        page = find_plates(site.database, PlateSearch(), EVERYTHING, cursor, most=3)
        pages += [(each.plate, each.newest) for each in page.rows]
        if (cursor := page.after) is None:
            break
        cursor = Cursor.parse(str(cursor))
    assert pages == [("ab_2", LATE), ("CD%1", noon(5)), ("AB-1", EARLY), ("never", None)]


def test_the_likeliest_crystals_come_first_page_by_page(site: Site) -> None:
    probabilities = dict(
        zip(sorted(site.numbers.values()), (0.5, 0.9, 0.7, 0.1, 0.9, 1 / 3 + 0.5, 0.6, 0.9), strict=True)
    )
    site.score(probabilities)
    expected = sorted(((p, number) for number, p in probabilities.items() if p >= 0.5), reverse=True)
    seen: list[tuple[float, int]] = []
    cursor: Cursor | None = None
    while True:
        page = likeliest_crystals(site.database, VERSION, *DAY, EVERYTHING, before=cursor, most=3)
        seen += [(each.model.probabilities[1], each.image.image_id) for each in page.rows]
        if (cursor := page.after) is None:
            break
        cursor = Cursor.parse(str(cursor))
    assert seen == expected
    assert [p for p, _ in expected if p >= 0.85] == [0.9] * 3
    rows = likeliest_crystals(site.database, VERSION, *DAY, EVERYTHING, minimum=0.85).rows
    assert [each.model.probabilities[1] for each in rows] == [0.9] * 3
    assert likeliest_crystals(site.database, VERSION, DAY[1], DAY[1] + timedelta(1), EVERYTHING).rows == []
    assert likeliest_crystals(site.database, "another", *DAY, EVERYTHING).rows == []


def test_crystals_that_nobody_has_scored_are_told_apart_and_a_withdrawn_score_is_none(site: Site) -> None:
    scored, withdrawn, never, *_ = sorted(site.numbers.values())
    site.score(dict.fromkeys((scored, withdrawn, never), 0.9))
    site.say(scored, "ana", "needles", 1)
    for minute, name in enumerate(("skin", "withdrawn")):
        site.say(withdrawn, "ben", name, minute)
    rows = likeliest_crystals(site.database, VERSION, *DAY, EVERYTHING).rows
    assert {row.image.image_id: [said.class_name for said in row.people] for row in rows} == {
        scored: ["needles"],
        withdrawn: ["withdrawn", "skin"],
        never: [],
    }
    unscored = likeliest_crystals(site.database, VERSION, *DAY, EVERYTHING, only_unscored=True).rows
    assert {row.image.image_id for row in unscored} == {withdrawn, never}


def test_crystals_that_the_machine_or_people_missed_are_told_by_the_newest_score_that_stands(site: Site) -> None:
    both, missed, alarm, corrected, taken_back, unscored, *_ = sorted(site.numbers.values())
    site.score({both: 0.9, missed: 0.1, alarm: 0.8, corrected: 0.1, taken_back: 0.1})
    for image_id, person, name, minute in (
        (both, "ana", "needles", 1),
        (missed, "ana", "needles", 2),
        (alarm, "ana", "skin", 3),
        (corrected, "ana", "needles", 4),
        (corrected, "ben", "clear", 5),
        (taken_back, "ana", "needles", 6),
        (taken_back, "ben", "clear", 7),
        (taken_back, "ben", "withdrawn", 8),
        (unscored, "ana", "needles", 9),
    ):
        site.say(image_id, person, name, minute)
    by_machine = missed_crystals(site.database, VERSION, *DAY, EVERYTHING)
    assert [row.image.image_id for row in by_machine.rows] == [taken_back, missed]
    assert [(row.person.person, row.person.class_name) for row in by_machine.rows] == [("ana", "needles")] * 2
    assert by_machine.rows[1].model.probabilities[1] == 0.1
    by_people = missed_crystals(site.database, VERSION, *DAY, EVERYTHING, missed_by="people")
    assert [row.image.image_id for row in by_people.rows] == [alarm]
    first = missed_crystals(site.database, VERSION, *DAY, EVERYTHING, most=1)
    second = missed_crystals(site.database, VERSION, *DAY, EVERYTHING, before=first.after, most=1)
    assert [row.image.image_id for page in (first, second) for row in page.rows] == [taken_back, missed]
    soon = AT + timedelta(minutes=3)
    assert len(missed_crystals(site.database, VERSION, DAY[0], soon, EVERYTHING).rows) == 1


def test_a_person_finds_all_that_was_said_under_any_of_the_names(site: Site) -> None:
    first, second, *_ = sorted(site.numbers.values())
    site.score({first: 0.9})
    site.say(first, "ana", "needles", 1)
    site.say(second, "A. Example", "clear", 2)
    site.say(first, "ben", "skin", 3)
    site.say(first, "ana", "withdrawn", 4)
    names = ["ana", "A. Example"]
    page = scores_of_person(site.database, names, VERSION, EVERYTHING, most=2)
    rest = scores_of_person(site.database, names, VERSION, EVERYTHING, page.after, most=2)
    said = [(row.score.class_name, row.image.image_id, row.model is None) for row in (*page.rows, *rest.rows)]
    assert said == [("withdrawn", first, False), ("clear", second, True), ("needles", first, False)]
    assert rest.after is None
    assert scores_of_person(site.database, [], VERSION, EVERYTHING).rows == []


def test_what_people_say_is_read_from_a_sites_own_view_where_it_has_one(site: Site) -> None:
    first, second, *_ = sorted(site.numbers.values())
    site.score({first: 0.9, second: 0.1})
    site.say(first, "ana", "skin", 1)
    rows = [{"id": 7, "image_id": second, "score_class_id": 2, "scorer": "lims", "scored_at": AT}]
    site.add_relation(human_scores, rows)
    (own,) = missed_crystals(site.database, VERSION, *DAY, EVERYTHING).rows
    assert (own.image.image_id, own.person.person, own.person.score_id) == (second, "lims", 7)
    assert scores_of_person(site.database, ["ana"], VERSION, EVERYTHING).rows == []


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
    | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-LARGEST_NUMBER, LARGEST_NUMBER),
)
def test_a_cursor_goes_through_an_address_and_comes_back_the_same(value: datetime | float, number: int) -> None:
    assert Cursor.parse(str(Cursor(value, number))) == Cursor(value, number)


@pytest.mark.parametrize("odd", ["", "x", "nan_1", "inf_1", "0.5", "0.5_", "0.5_99999999999999999999", "2026-13-01Z_1"])
def test_what_is_no_cursor_is_refused(odd: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cursor.parse(odd)
