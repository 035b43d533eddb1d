"""What people keep, write and say of images on C4's pages, beside scores: favourites, notes and tags."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, FromClause, Select, select

from resources.errors import DataError
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.pending import at_its_place
from resources.imaging_database.people_tables import LONGEST_REMARK, c4_favourites, c4_notes, c4_tags
from resources.imaging_database.schema import images
from resources.imaging_database.statements import among, insert_absent

LONGEST_TAG = 64


@dataclass(frozen=True)
class Note:
    """A note on an image that its writer has not taken back."""

    note_id: int
    image_id: int
    person: str
    text: str
    written_at: datetime


@dataclass(frozen=True)
class Remarks:
    """What there is of some images.

    Attributes:
        favourites: the images that the person who asks has kept.
        notes: of everybody, the oldest first.
        tags: of everybody, by image, in the order of the alphabet.
    """

    favourites: frozenset[int]
    notes: tuple[Note, ...]
    tags: dict[int, tuple[str, ...]]


def remarks_of(database: ImagingDatabase, person: str, image_ids: Collection[int]) -> Remarks:
    """What there is of the images. What was said of another image, which had the number before, is left out."""
    favourites: set[int] = set()
    notes: dict[int, Note] = {}
    tags: dict[int, set[str]] = {}
    with database.reading("remarks") as connection:
        for these in among(connection, images.c.id, sorted(image_ids)):
            kept = _of_images(c4_favourites).where(these, c4_favourites.c.person == person)
            favourites.update(row.image_id for row in connection.execute(kept))
            written = _of_images(c4_notes).where(these, c4_notes.c.withdrawn_at.is_(None))
            for row in connection.execute(written):
                notes[row.id] = Note(row.id, row.image_id, row.person, row.note, row.written_at)
            for row in connection.execute(_of_images(c4_tags).where(these)):
                tags.setdefault(row.image_id, set()).add(row.tag)
    in_order = sorted(notes.values(), key=lambda note: (note.written_at, note.note_id))
    return Remarks(frozenset(favourites), tuple(in_order), {number: tuple(sorted(of)) for number, of in tags.items()})


def set_favourite(database: ImagingDatabase, person: str, image_id: int, kept: bool, at: datetime) -> None:
    """Keeps an image for a person, or no longer. Doing it again changes nothing.

    Raises:
        DataError: there is no such image.
    """
    favourite = c4_favourites.c
    with database.writing("remarks") as connection:
        path = _path(connection, image_id)
        # One of an image that had the number before makes room.
        connection.execute(c4_favourites.delete().where(favourite.person == person, favourite.image_id == image_id))
        if kept:
            row = {"person": person, "image_id": image_id, "image_path": path, "created_at": at}
            insert_absent(connection, c4_favourites, [row])


def add_note(database: ImagingDatabase, person: str, image_id: int, note: str, at: datetime) -> None:
    """Adds a note to an image.

    Raises:
        DataError: there is no such image, or the note is empty or too long.
    """
    text = _text(note, LONGEST_REMARK, "A note")
    with database.writing("remarks") as connection:
        path = _path(connection, image_id)
        row = {"image_id": image_id, "image_path": path, "person": person, "note": text, "written_at": at}
        connection.execute(c4_notes.insert().inline().values(row))


def withdraw_note(database: ImagingDatabase, person: str, note_id: int, at: datetime) -> None:
    """Takes a note of one's own back. It stays in the database, and is shown no more.

    Raises:
        DataError: it is another person's, or there is none.
    """
    own = (c4_notes.c.id == note_id, c4_notes.c.person == person)
    with database.writing("remarks") as connection:
        mark = c4_notes.update().where(*own, c4_notes.c.withdrawn_at.is_(None)).values(withdrawn_at=at)
        if not connection.execute(mark).rowcount and connection.scalar(select(c4_notes.c.id).where(*own)) is None:
            raise DataError(f"There is no note {note_id} of {person}.")


def set_tag(database: ImagingDatabase, person: str, image_id: int, tag: str, tagged: bool, at: datetime) -> None:
    """Puts a tag on an image, or takes it off, whoever has put it there. Doing it again changes nothing.

    Raises:
        DataError: there is no such image, or the tag is empty or too long.
    """
    text = _text(tag, LONGEST_TAG, "A tag")
    with database.writing("remarks") as connection:
        path = _path(connection, image_id)
        same = c4_tags.delete().where(c4_tags.c.image_id == image_id, c4_tags.c.tag == text)
        if not tagged:
            connection.execute(same)
            return
        connection.execute(same.where(c4_tags.c.image_path != path))  # of an image that had the number before
        row = {"image_id": image_id, "tag": text, "image_path": path, "person": person, "created_at": at}
        insert_absent(connection, c4_tags, [row])


def _of_images(table: FromClause) -> Select[Any]:
    return select(table).join(images, images.c.id == table.c.image_id).where(at_its_place(table.c.image_path))


def _path(connection: Connection, image_id: int) -> str | None:
    """Where the image is listed; a site's view may list it at several places."""
    found = connection.execute(select(images.c.path).where(images.c.id == image_id).order_by(images.c.path)).first()
    if found is None:
        raise DataError(f"There is no image {image_id}.")
    return found.path or None


def _text(given: str, most: int, what: str) -> str:
    """A text as every database takes it: without NUL, half characters, or nothing but spaces."""
    text = given.replace("\0", "").encode(errors="replace").decode().strip()
    if not 0 < len(text) <= most:
        raise DataError(f"{what} has 1 to {most} characters.")
    return text
