"""Taking an import back: machine scores move away, and what people said or wrote is never lost."""

from datetime import timedelta
from pathlib import Path

import pytest

from c4_assets.importing.folder import inspections_of
from c4_assets.importing.reading import Import
from resources.errors import DataError
from resources.imaging_database.people_tables import c4_favourites, c4_notes, c4_people, c4_tags
from resources.imaging_database.register import record_human_scores
from resources.imaging_database.withdraw import withdraw_inspections
from tests.conftest import Facility
from tests.imports import TAKEN, imported, plate_folder, store_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plate_folder(tmp_path)


def test_withdrawing_moves_machine_scores_away_and_the_right_import_is_scored_anew(
    facility: Facility, folder: Path
) -> None:
    (wrong,) = imported(facility, folder, TAKEN - timedelta(days=3)).inspections
    facility.score(TAKEN - timedelta(days=3))
    assert inspections_of(Import(folder), facility.database, store_of(facility)) == {wrong.inspection_id: "90j8"}
    (done,) = withdraw_inspections(facility.database, [wrong.inspection_id])
    assert (done.plate, done.images, done.superseded) == ("90j8", 4, 4)
    for table in ("plates", "inspections", "images", "scores"):
        assert not facility.rows(f"select * from {table}"), table
    assert len(facility.rows("select * from c4_superseded_scores")) == 4
    (right,) = imported(facility, folder, TAKEN).inspections
    assert (right.imaged_at, right.new_images) == (TAKEN, 4)
    facility.score(TAKEN)
    assert facility.progress().scored == 4
    assert len(facility.rows("select * from c4_superseded_scores")) == 4


def test_what_people_have_scored_is_not_withdrawn(facility: Facility, folder: Path) -> None:
    (only,) = imported(facility, folder).inspections
    (path, *_) = (row.path for row in facility.rows("select path from images"))
    record_human_scores(facility.database, only.inspection_id, "ana", TAKEN, {path: "crystals"})
    with pytest.raises(DataError, match=r"People have given 1 score .* Nothing was withdrawn"):
        withdraw_inspections(facility.database, [only.inspection_id])
    assert len(facility.rows("select * from images")) == 4


def test_what_people_have_written_is_not_withdrawn_and_favourites_and_tags_go(facility: Facility, folder: Path) -> None:
    (only,) = imported(facility, folder).inspections
    person = {"name": "ana", "display_name": "Ana", "role": "scorer", "active": True, "created_at": TAKEN}
    kept = {"image_id": facility.rows("select min(id) from images")[0][0], "person": "ana"}
    with facility.database.writing() as connection:
        connection.execute(c4_people.insert().values(person))
        connection.execute(c4_favourites.insert().values(**kept, created_at=TAKEN))
        connection.execute(c4_tags.insert().values(**kept, tag="soaking", created_at=TAKEN))
        connection.execute(c4_notes.insert().values(**kept, note="a twin?", written_at=TAKEN))
    with pytest.raises(DataError, match=r"written 1 note,.* c4_notes"):
        withdraw_inspections(facility.database, [only.inspection_id])
    with facility.database.writing() as connection:
        connection.execute(c4_notes.delete())
    withdraw_inspections(facility.database, [only.inspection_id])
    assert not facility.rows("select image_id from c4_favourites union select image_id from c4_tags")


def test_withdrawing_what_is_not_there_withdraws_nothing(facility: Facility, folder: Path) -> None:
    (only,) = imported(facility, folder).inspections
    with pytest.raises(DataError, match="no inspection 99"):
        withdraw_inspections(facility.database, [only.inspection_id, 99])
    assert len(facility.rows("select * from images")) == 4


def test_a_time_that_is_given_later_is_said_to_need_a_withdrawal(facility: Facility, folder: Path) -> None:
    imported(facility, folder)
    (again,) = imported(facility, folder, TAKEN - timedelta(days=9)).inspections
    assert again.known_images == 4
    assert f"`c4 import --withdraw {again.inspection_id}` first" in again.warnings[0]
