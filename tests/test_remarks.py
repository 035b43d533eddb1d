"""Favourites, notes and tags, on each kind of database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from resources.accounts.people import create_person
from resources.accounts.rights import Role
from resources.errors import DataError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Actor
from resources.imaging_database.people_tables import c4_notes
from resources.imaging_database.register import NewImage, register_inspection
from resources.imaging_database.remarks import (
    add_note,
    remarks_of,
    set_favourite,
    set_tag,
    withdraw_note,
)
from resources.imaging_database.schema import images
from tests.conftest import Facility

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def database(make_facility: Callable[..., Facility], database_url: str) -> ImagingDatabase:
    """A database of each kind, with three images and two people."""
    made = make_facility(database={"url": database_url}).database
    register_inspection(made, "P1", NOW, None, [NewImage("A01", n, f"P1/{n}.jpg") for n in range(1, 4)])
    for name in ("ana", "ben"):
        create_person(made, Actor(None, None), NOW, name, name, Role.SCORER)
    return made


def test_favourites_are_a_persons_own_and_tags_everybodys(database: ImagingDatabase) -> None:
    for _ in range(2):
        set_favourite(database, "ana", 1, True, NOW)
        set_favourite(database, "ben", 2, True, NOW)
        set_tag(database, "ana", 1, " soaking ", True, NOW)
        set_tag(database, "ben", 1, "harvested", True, NOW)
    assert remarks_of(database, "ana", [1, 2, 3]).favourites == {1}
    assert remarks_of(database, "ben", [1, 2, 3]).tags == {1: ("harvested", "soaking")}
    for _ in range(2):
        set_favourite(database, "ana", 1, False, NOW)
        set_tag(database, "ben", 1, "soaking", False, NOW)
    found = remarks_of(database, "ana", [1, 2, 3])
    assert (found.favourites, found.tags) == (frozenset(), {1: ("harvested",)})


def test_a_note_is_taken_back_by_its_writer_alone_and_stays_in_the_database(database: ImagingDatabase) -> None:
    add_note(database, "ana", 1, "a twin?", NOW + timedelta(minutes=1))
    add_note(database, "ben", 1, "<b>no</b>", NOW)
    notes = remarks_of(database, "ben", [1]).notes
    assert [(note.person, note.text) for note in notes] == [("ben", "<b>no</b>"), ("ana", "a twin?")]
    with pytest.raises(DataError, match="no note"):
        withdraw_note(database, "ben", notes[1].note_id, NOW)
    for minutes in (2, 3):
        withdraw_note(database, "ana", notes[1].note_id, NOW + timedelta(minutes=minutes))
    assert [note.person for note in remarks_of(database, "ana", [1]).notes] == ["ben"]
    with database.reading() as connection:
        marks = {row.person: row.withdrawn_at for row in connection.execute(c4_notes.select())}
    assert marks == {"ana": NOW + timedelta(minutes=2), "ben": None}


def test_what_was_said_of_another_image_with_the_number_is_not_said_of_this_one(database: ImagingDatabase) -> None:
    def say() -> None:
        set_favourite(database, "ana", 1, True, NOW)
        set_tag(database, "ana", 1, "soaking", True, NOW)
        add_note(database, "ana", 1, "a twin?", NOW)

    say()
    with database.writing() as connection:
        connection.execute(images.update().where(images.c.id == 1).values(path="P1/new.jpg"))
    found = remarks_of(database, "ana", [1])
    assert (found.favourites, found.notes, found.tags) == (frozenset(), (), {})
    say()
    found = remarks_of(database, "ana", [1])
    assert (found.favourites, len(found.notes), found.tags) == (frozenset({1}), 1, {1: ("soaking",)})


@pytest.mark.parametrize("given", ["", " \0 ", "x" * 1001])
def test_a_text_of_nothing_or_too_much_and_an_image_that_is_not_there_are_refused(
    database: ImagingDatabase, given: str
) -> None:
    with pytest.raises(DataError, match="1 to 1000 characters"):
        add_note(database, "ana", 1, given, NOW)
    with pytest.raises(DataError, match="1 to 64 characters"):
        set_tag(database, "ana", 1, given, True, NOW)
    with pytest.raises(DataError, match="no image 99"):
        set_favourite(database, "ana", 99, True, NOW)
    add_note(database, "ana", 1, "\N{MICROSCOPE}" * 1000, NOW)
