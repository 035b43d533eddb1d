"""A number is no identity: a score is of a file, and the old one never passes for the new one's."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.command.console import console
from c4_assets.scoring.fetch import stage_day
from resources.errors import ConfigurationError
from resources.imaging_database.human_scores import newest_human_scores
from resources.imaging_database.labels import human_labels
from resources.imaging_database.models import change_model, register_model
from resources.imaging_database.register import record_human_scores
from resources.imaging_database.schema import c4_scorer_versions
from resources.imaging_database.statements import insert_absent
from resources.imaging_database.work import pending_by_day
from resources.settings import Settings
from tests.conftest import Facility, noon, photograph
from tests.test_graph import metadata

FOUR = {f"{number}.jpg": photograph(number) for number in range(4)}


def score_of(facility: Facility, path: str) -> tuple[float, ...]:
    columns = "p_clear, p_crystals, p_other, p_precipitate"
    (row,) = facility.rows(f"select {columns} from scores join images on images.id = image_id where path = '{path}'")
    return tuple(row)


def written_score(facility: Facility, data: bytes) -> tuple[float, ...]:
    (classification,) = facility.engine.classify([data])
    assert classification.probabilities is not None
    return tuple(classification.probabilities)


def withdraw(facility: Facility, plate: str) -> None:
    """Takes a plate out of the database with all that is said of it, as a site does that corrects an import."""
    inspections = f"select id from inspections where plate_id = (select id from plates where barcode = '{plate}')"
    images = f"select id from images where inspection_id in ({inspections})"
    with facility.database.writing() as connection:
        for table in ("scores", "c4_image_failures"):
            connection.execute(text(f"delete from {table} where image_id in ({images})"))
        connection.execute(text(f"delete from c4_withheld_inspections where inspection_id in ({inspections})"))
        connection.execute(text(f"delete from images where inspection_id in ({inspections})"))
        connection.execute(text(f"delete from inspections where id in ({inspections})"))
        connection.execute(text(f"delete from plates where barcode = '{plate}'"))
        connection.execute(text("delete from sqlite_sequence"))  # a LIMS may give its numbers again


def test_a_score_says_which_file_it_is_of(facility: Facility) -> None:
    import hashlib

    facility.add_plate("P1", FOUR)
    facility.score()
    rows = facility.rows("select image_path, image_sha256 from scores order by image_path")
    assert [tuple(row) for row in rows] == [
        (f"P1/{name}", hashlib.sha256(data).hexdigest()) for name, data in sorted(FOUR.items())
    ]


def test_a_plate_registered_anew_under_the_same_numbers_gets_the_scores_of_its_own_files(facility: Facility) -> None:
    facility.add_plate("WRONG", FOUR)
    facility.score()
    withdraw(facility, "WRONG")
    facility.add_plate("RIGHT", {f"{number}.jpg": photograph(10 + number) for number in range(4)})
    assert facility.rows("select min(id) from images")[0][0] == 1, "the numbers are used again"
    facility.score()
    assert facility.progress().scored == 4
    for number in range(4):
        expected = written_score(facility, photograph(10 + number))
        assert score_of(facility, f"RIGHT/{number}.jpg") == pytest.approx(expected, abs=1e-6)


def test_an_inspection_registered_anew_with_other_files_under_the_same_names_gets_their_scores(
    facility: Facility,
) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    withdraw(facility, "P1")
    facility.add_plate("P1", {name: photograph(20 + number) for number, name in enumerate(FOUR)})
    facility.score()
    for number, name in enumerate(FOUR):
        expected = written_score(facility, photograph(20 + number))
        assert score_of(facility, f"P1/{name}") == pytest.approx(expected, abs=1e-6)


def test_the_same_files_registered_anew_are_fetched_and_compared_but_not_classified_again(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    seen = len(facility.seen)
    withdraw(facility, "P1")
    facility.add_plate("P1", FOUR)
    result = facility.score()
    assert metadata(result, "raw_inspection_images")["images staged"] == 4
    assert len(facility.seen) == seen
    assert facility.progress().scored == 4


def test_a_replaced_file_is_seen_when_it_is_fetched_again_and_its_old_score_is_kept_apart(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    old = score_of(facility, "P1/2.jpg")
    (facility.images / "P1" / "2.jpg").write_bytes(photograph(77))
    add_second_model(facility)
    with caplog.at_level(logging.WARNING, "c4.classify"):
        result = facility.score()
    assert "image 3 (P1/2.jpg): its file was replaced" in caplog.text
    assert metadata(result, "marco_probabilities")["images whose file was replaced"] == 1
    assert metadata(result, "db_scores")["scores superseded"] == 1
    current = facility.rows(
        f"select p_clear from scores where image_id = 3 and scorer_version = '{facility.scorer_version}'"
    )
    assert current[0][0] == pytest.approx(written_score(facility, photograph(77))[0], abs=1e-6)
    (kept,) = facility.rows("select image_id, p_clear, p_crystals, p_other, p_precipitate from c4_superseded_scores")
    assert tuple(kept) == (3, *old)
    facility.score()
    assert len(facility.rows("select * from c4_superseded_scores")) == 1


def add_second_model(facility: Facility) -> None:
    from dataclasses import replace

    version = replace(facility.models.current.version, precision="bf16")
    assert register_model(facility.database, "second", "marco", version.as_row())


def test_scores_of_a_number_that_is_another_images_after_a_restored_backup_are_not_taken_for_its_own(
    facility: Facility,
) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    reuse_the_numbers(facility, {f"{number}.jpg": photograph(30 + number) for number in range(4)})
    result = facility.score()
    assert metadata(result, "db_scores")["scores superseded"] == 4
    for number in range(4):
        expected = written_score(facility, photograph(30 + number))
        assert score_of(facility, f"P2/{number}.jpg") == pytest.approx(expected, abs=1e-6)
    assert len(facility.rows("select * from c4_superseded_scores")) == 4


def test_a_failure_of_another_image_under_the_same_number_does_not_use_up_attempts(facility: Facility) -> None:
    facility.add_plate("WRONG", {"0.jpg": b"no image"})
    for _ in range(facility.settings.runs.max_attempts):
        facility.score()
    assert facility.progress().failed == 1
    with facility.database.writing() as connection:
        connection.execute(text("update images set path = 'RIGHT/0.jpg'"))
    (facility.images / "RIGHT").mkdir()
    (facility.images / "RIGHT" / "0.jpg").write_bytes(photograph(1))
    facility.score()
    assert facility.progress().scored == 1


def test_another_operating_point_reads_the_archive_and_writes_rows(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    first, seen = facility.scorer_version, len(facility.seen)
    before = facility.rows("select * from scores order by id")
    change_model(facility.database, "marco", scorer_version=facility.models.current.with_threshold(0.1).as_row())
    assert facility.scorer_version != first
    assert facility.progress().pending == 4
    result = facility.score()
    assert metadata(result, "raw_inspection_images")["images staged"] == 0
    assert len(facility.seen) == seen
    assert metadata(result, "db_scores")["rows written"] == 4
    after = facility.rows("select * from scores order by id")
    assert after[:4] == before
    assert len(after) == 8


def test_two_models_score_side_by_side_and_each_image_is_fetched_once(facility: Facility) -> None:
    facility.models.read()
    add_second_model(facility)
    facility.add_plate("P1", FOUR)
    result = facility.score()
    assert metadata(result, "raw_inspection_images")["images staged"] == 4
    first, second = facility.models.read()
    assert len(facility.seen) == 8
    assert {tuple(row) for row in facility.rows("select scorer_version, count(*) from scores group by 1")} == {
        (first.version.name, 4),
        (second.version.name, 4),
    }
    archives = [facility.models.archive(model) for model in (first, second)]
    assert [len(archive.outcomes(noon(1).date())) for archive in archives] == [4, 4]
    shown = metadata(result, "db_scores")
    assert shown["scorer version"] == first.version.name
    assert shown["second: rows written"] == shown["rows written"] == 4
    assert facility.resources["staging"].size() == 0
    again = facility.score()
    assert metadata(again, "raw_inspection_images")["pending images"] == 0


def test_the_model_made_current_is_the_one_that_is_shown_first(facility: Facility) -> None:
    facility.models.read()
    add_second_model(facility)
    assert facility.models.current.name == "marco"
    change_model(facility.database, "second", current=True)
    assert [model.name for model in facility.models.read()] == ["second", "marco"]
    change_model(facility.database, "marco", active=False)
    assert [model.name for model in facility.models.read()] == ["second"]


def test_a_gpu_node_that_does_not_reach_the_database_knows_the_active_models(facility: Facility) -> None:
    with pytest.raises(ConfigurationError, match="materialise raw_inspection_images first"):
        facility.models.published()
    facility.models.read()
    add_second_model(facility)
    names = [model.version.name for model in facility.models.publish()]
    assert len(names) == 2
    assert [model.version.name for model in facility.models.published()] == names


def test_old_variables_describe_the_one_model_that_scores_on_every_machine(
    make_facility: Callable[..., Facility],
) -> None:
    first = make_facility()
    add_second_model(first)
    described = {"C4_HOME": str(first.settings.home), "C4_CRYSTAL_THRESHOLD": "0.1"}
    second = make_facility(settings=Settings.from_environment(described))
    (model,) = second.models.publish()
    assert model.version.crystal_threshold == 0.1
    assert [each.version.name for each in first.models.published()] == [model.version.name]


def test_old_variables_keep_the_preprocessing_that_scored_before(make_facility: Callable[..., Facility]) -> None:
    first = make_facility()
    described = {"C4_HOME": str(first.settings.home), "C4_CRYSTAL_THRESHOLD": "0.1"}
    second = make_facility(settings=Settings.from_environment(described))
    (new,) = second.models.peek()
    before = replace(new.version, preprocessing="central-square-599-legacy-bilinear", crystal_threshold=0.3)
    assert new.version.preprocessing != before.preprocessing
    with first.database.writing() as connection:
        insert_absent(connection, c4_scorer_versions, [before.as_row()])
    (model,) = second.models.read()
    assert model.version == replace(before, crystal_threshold=0.1)


def reuse_the_numbers(facility: Facility, files: dict[str, bytes]) -> None:
    """The LIMS goes back to a backup and gives the numbers to another plate; C4's tables, elsewhere, do not go back."""
    with facility.database.writing() as connection:
        connection.execute(text("update images set path = 'P2/' || substr(path, 4)"))
        connection.execute(text("update plates set barcode = 'P2'"))
    (facility.images / "P2").mkdir()
    for name, data in files.items():
        (facility.images / "P2" / name).write_bytes(data)


def test_the_old_score_of_a_number_does_not_stand_for_a_file_that_fails(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    reuse_the_numbers(facility, {"0.jpg": photograph(30), "1.jpg": b"no image"})
    attempts = facility.settings.runs.max_attempts
    waiting = pending_by_day(facility.database, facility.scorer_version, attempts, compare_places=True)
    assert waiting == {noon(1).date(): 4}, "`c4 run` counts no score of another place"
    facility.score()
    assert [row.image_id for row in facility.rows("select image_id from scores")] == [1]
    progress = facility.progress()
    assert (progress.scored, progress.retrying) == (1, 3)
    assert len(facility.rows("select * from c4_superseded_scores")) == 4
    facility.score()
    assert len(facility.rows("select * from c4_superseded_scores")) == 4


def test_a_replaced_file_that_cannot_be_decoded_has_no_score_any_more(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    (facility.images / "P1" / "2.jpg").write_bytes(b"cut off")
    add_second_model(facility)
    facility.score()
    rows = facility.rows(f"select image_id from scores where scorer_version = '{facility.scorer_version}' order by 1")
    assert [row.image_id for row in rows] == [1, 2, 4]
    assert facility.progress().retrying == 1
    assert len(facility.rows("select * from c4_superseded_scores")) == 1


def test_a_listing_that_goes_back_to_the_first_file_gets_the_first_score_back(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    before = [score_of(facility, f"P1/{name}") for name in FOUR]
    reuse_the_numbers(facility, {name: photograph(30 + number) for number, name in enumerate(FOUR)})
    facility.score()
    with facility.database.writing() as connection:
        connection.execute(text("update images set path = 'P1/' || substr(path, 4)"))
        connection.execute(text("update plates set barcode = 'P1'"))
    facility.score()
    assert [score_of(facility, f"P1/{name}") for name in FOUR] == before
    assert facility.progress().pending == 0


def test_files_are_compared_on_demand_and_those_that_differ_are_scored_anew(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()

    def ask(*arguments: str) -> tuple[int, str]:
        console.width = 200
        command = ["checks", "files", "--date", noon(1).date().isoformat(), *arguments]
        done = CliRunner().invoke(app, command, env={"C4_HOME": str(facility.settings.home)})
        return done.exit_code, done.stdout

    assert ask() == (0, f"Every scored image of {noon(1).date()} has the file that was scored.\n")
    (facility.images / "P1" / "2.jpg").write_bytes(photograph(77))
    status, said = ask()
    assert status == 1
    assert "P1 A03.1 (P1/2.jpg): another file than the one that was scored" in said
    assert facility.progress().pending == 0, "asking changes nothing"
    assert ask("--rescore")[0] == 0
    assert facility.progress().pending == 1
    result = facility.score()
    assert score_of(facility, "P1/2.jpg") == pytest.approx(written_score(facility, photograph(77)), abs=1e-6)
    assert ask()[0] == 0
    warned = next(e for e in result.get_asset_check_evaluations() if e.check_name == "files_not_replaced")
    assert not warned.passed
    assert not warned.blocking


def test_the_model_of_an_earlier_release_that_scored_last_is_taken_over(facility: Facility) -> None:
    facility.add_plate("P1", FOUR, noon(2))
    facility.score(noon(2))
    first = facility.models.current
    change_model(facility.database, "marco", scorer_version=first.with_threshold(0.1).as_row())
    facility.score(noon(2))
    change_model(facility.database, "marco", scorer_version=first.version.as_row())
    facility.add_plate("P2", FOUR, noon(1))
    facility.score(noon(1))
    with facility.database.writing() as connection:
        connection.execute(text("delete from c4_models"))
    assert facility.scorer_version == first.version.name


def test_the_embedded_database_gives_no_number_twice(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    with facility.database.writing() as connection:
        for table in ("images", "inspections", "plates"):
            connection.execute(text(f"delete from {table}"))
    facility.add_plate("P2", FOUR)
    for table, first in (("images", 5), ("inspections", 2), ("plates", 2)):
        assert facility.rows(f"select min(id) from {table}")[0][0] == first, table


def test_what_is_staged_of_a_number_is_not_classified_for_the_image_that_has_it_now(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    resources = facility.resources
    archives = [facility.models.archive(model) for model in facility.models.publish()]
    day, staging = noon(1).date(), resources["staging"]
    stage_day(day, facility.database, resources["image_store"], staging, archives, 3, 10**12)
    assert staging.size() > 0
    reuse_the_numbers(facility, {f"{number}.jpg": photograph(30 + number) for number in range(4)})
    facility.score()
    for number in range(4):
        expected = written_score(facility, photograph(30 + number))
        assert score_of(facility, f"P2/{number}.jpg") == pytest.approx(expected, abs=1e-6)


def test_what_was_said_of_a_number_is_no_label_of_the_image_that_has_it_now(facility: Facility) -> None:
    facility.add_plate("P1", FOUR)
    facility.score()
    since, until = noon(2), noon(-2)

    def labels() -> list[tuple[str, str | None]]:
        found = human_labels(facility.database, facility.scorer_version, since, until)
        pairs = newest_human_scores(facility.database, facility.scorer_version, since, until)
        said = [(label.path, label.machine_category) for label in found]
        assert said == [(pair.path, pair.machine_category) for pair in pairs]
        return said

    record_human_scores(facility.database, 1, "ana", noon(0), {"P1/0.jpg": "needles"})
    ((path, machine),) = labels()
    assert (path, machine is None) == ("P1/0.jpg", False)
    reuse_the_numbers(facility, {f"{number}.jpg": photograph(30 + number) for number in range(4)})
    assert labels() == []
    with facility.database.writing() as connection:  # as a LIMS enters it, and what it says of the image is so by now
        connection.execute(text("update scores set image_path = null where scorer = 'ana'"))
    assert labels() == [("P2/0.jpg", None)], "the machine has not seen this image"
    assert facility.archive.fingerprints(noon(1).date()).keys() == {(n + 1, f"P1/{n}.jpg") for n in range(4)}
