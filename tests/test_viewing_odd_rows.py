"""One odd row of a LIMS costs the pages one row: all others are shown."""

from hypothesis import given, settings
from sqlalchemy import text

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.schema import scores
from resources.imaging_database.viewing.best import best_over_time
from resources.imaging_database.viewing.drops import drop_over_time, image, inspection
from resources.imaging_database.viewing.find_plates import PlateSearch, find_plates
from resources.imaging_database.viewing.inspections import newest_inspections, plate
from resources.imaging_database.viewing.lists import likeliest_crystals, missed_crystals, scores_of_person
from resources.imaging_database.viewing.relations import EVERYTHING
from tests.conftest import noon
from tests.odd_site import IMAGES, INSPECTIONS, VERSION, OddRow, fill_site
from tests.test_odd_rows import ON_POSTGRESQL, ON_SQLITE, QUICKLY, odd_rows, on_postgresql, on_sqlite

__all__ = ["on_postgresql", "on_sqlite"]

NAME = VERSION.name
SPAN = noon(3), noon(0)


def say_and_score(database: ImagingDatabase) -> None:
    """Every image is scored as crystals by the machine and as clear by a person."""
    both = [
        {"image_id": image_id, "score_class_id": number, "scorer": scorer, "scored_at": noon(1), **more}
        for image_id in IMAGES
        for number, scorer, more in (
            (2, NAME, {"scorer_version": NAME, "crystal": True, **dict.fromkeys(("p_clear", "p_other"), 0.1)}),
            (1, "ana", {"scorer_version": None, "crystal": None, "p_clear": None, "p_other": None}),
        )
    ]
    for row in both:
        given_by_machine = row["scorer_version"] is not None
        row |= {"p_crystals": 0.7 if given_by_machine else None, "p_precipitate": 0.1 if given_by_machine else None}
    with database.writing() as connection:
        connection.execute(scores.insert(), both)


def assert_the_others_are_shown(odd: OddRow, database: ImagingDatabase) -> None:
    fill_site(database)
    say_and_score(database)
    value = b"Pl\xe4tte" if isinstance(odd.value, str) and "\ud8ff" in odd.value else odd.value
    OddRow(odd.table, odd.column, odd.row_id, value).put_into(database)
    good = set(IMAGES) - odd.concerned
    whole = {IMAGES[number] for number in good} - {IMAGES[number] for number in odd.concerned}
    crystals = likeliest_crystals(database, NAME, *SPAN, EVERYTHING, most=100).rows
    opposed = missed_crystals(database, NAME, *SPAN, EVERYTHING, "people", most=100).rows
    given = scores_of_person(database, ["ana"], NAME, EVERYTHING, most=100).rows
    for listed in (crystals, opposed, given):
        assert good <= {each.image.image_id for each in listed}, odd
        assert len(listed) <= len(IMAGES)
    counted = {each.inspection_id: each for each in newest_inspections(database, NAME, 3, EVERYTHING).rows}
    for number in whole:
        assert min(counted[number].listed, counted[number].crystals, counted[number].said) >= 5, odd
        viewed = inspection(database, number, EVERYTHING)
        assert viewed is not None
        assert all(each.models and each.people for each in viewed.images)
        assert plate(database, NAME, 3, f"P{number}", EVERYTHING)
        assert drop_over_time(database, f"P{number}", "A01", 1, EVERYTHING)
        assert best_over_time(database, number, NAME, EVERYTHING)
    assert {f"P{number}" for number in whole} <= {
        each.plate for each in find_plates(database, PlateSearch(), EVERYTHING).rows
    }
    for number in odd.concerned:
        image(database, number, EVERYTHING)
    for number in INSPECTIONS:
        inspection(database, number, EVERYTHING)
        drop_over_time(database, f"P{number}", "A01", 1, EVERYTHING)
        best_over_time(database, number, NAME, EVERYTHING)


def test_any_value_in_any_column_of_one_row_hides_no_other_row_in_sqlite(on_sqlite: ImagingDatabase) -> None:
    @settings(QUICKLY, max_examples=60)
    @given(odd_rows(ON_SQLITE))
    def holds(odd: OddRow) -> None:
        assert_the_others_are_shown(odd, on_sqlite)

    holds()


def test_any_value_in_any_column_of_one_row_hides_no_other_row_in_postgresql(on_postgresql: ImagingDatabase) -> None:
    @settings(QUICKLY, max_examples=25)
    @given(odd_rows(ON_POSTGRESQL))
    def holds(odd: OddRow) -> None:
        assert_the_others_are_shown(odd, on_postgresql)

    holds()


def test_odd_rows_of_what_people_say_hide_no_other_score(on_postgresql: ImagingDatabase) -> None:
    fill_site(on_postgresql)
    odd = "(id numeric, image_id numeric, score_class_id numeric, scorer text, scored_at timestamp)"
    rows = [
        "1, 101, 1, 'ana', now()",
        "1.5, 101, 1, 'x', now()",
        "2, 101, 1, null, 'infinity'",
        "null, 101, 1, 'x', now()",
    ]
    rows += ["3, 101, null, 'ben', now()", "4, 101, 4711, 'cleo', now()", "5, null, 1, 'x', now()"]
    with on_postgresql.writing() as connection:
        connection.execute(text(f"create table human_scores {odd}"))
        for row in rows:
            connection.execute(text(f"insert into human_scores values ({row})"))
    found = inspection(on_postgresql, IMAGES[101], EVERYTHING)
    assert found is not None
    (first,) = (each for each in found.images if each.image.image_id == 101)
    assert {(each.score_id, each.person, each.class_name) for each in first.people} == {
        (1, "ana", "clear"),
        (3, "ben", ""),
        (4, "cleo", "class 4711"),
    }
    assert newest_inspections(on_postgresql, NAME, 3, EVERYTHING).rows
