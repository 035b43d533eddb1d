"""An inspection that is withheld: seen everywhere, asked for by nobody, released or scored anew, judged as it grows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from c4_assets.command import app
from c4_assets.command.console import console
from c4_assets.runs.jobs import settle_yesterday
from resources.errors import ConfigurationError
from resources.imaging_database.withheld import FailedCheck, release, withheld_inspections, withhold
from resources.imaging_database.work import pending_by_day, pending_images
from tests.check_results import OTHER, PLATE, failed, scored_plates
from tests.conftest import Facility, noon, photograph

FRAME = dict.fromkeys(PLATE, photograph(1))
CHECK = "inspection_is_not_one_frame"


@pytest.fixture
def stuck(facility: Facility) -> Facility:
    """A facility whose second plate is one frame, 24 times; both have been through a run."""
    facility.add_plate("GOOD", PLATE)
    facility.add_plate("STUCK", FRAME)
    facility.score()
    return facility


def replace_files(facility: Facility, plate: str, files: Mapping[str, bytes | None]) -> None:
    for name, data in files.items():
        (facility.images / plate / name).write_bytes(data or b"")


def c4(facility: Facility, *arguments: str) -> Result:
    """What the command says over a facility, in this process."""
    environment = {"C4_HOME": str(facility.settings.home)}
    console.width = 200  # it may have been made by a test that wanted another one
    return CliRunner().invoke(app, arguments, env=environment)


def test_its_images_are_a_state_of_their_own_and_are_not_asked_for_again(stuck: Facility) -> None:
    progress = stuck.progress()
    assert (progress.listed, progress.scored, progress.failed, progress.withheld) == (48, 24, 0, 24)
    assert (progress.pending, progress.retrying) == (0, 0)
    day = noon(1).date()
    assert pending_by_day(stuck.database, stuck.scorer_version, 3, noon(30)) == {}
    assert pending_images(stuck.database, stuck.scorer_version, 3, day) == []
    assert pending_by_day(stuck.database, "another-scorer", 3, noon(30)) == {day: 48}
    stuck.score()
    assert len(withheld_inspections(stuck.database, stuck.scorer_version)) == 1
    assert scored_plates(stuck) == {"GOOD": 24}


def test_released_it_is_written_by_the_next_run_without_being_classified_again(stuck: Facility) -> None:
    seen = len(stuck.seen)
    assert release(stuck.database, stuck.scorer_version, 2, "ana", "a test pattern") == [CHECK]
    assert pending_by_day(stuck.database, stuck.scorer_version, 3, noon(30)) == {noon(1).date(): 24}
    result = stuck.score()
    assert scored_plates(stuck) == {"GOOD": 24, "STUCK": 24}
    assert len(stuck.seen) == seen
    assert CHECK in failed(result), "a release changes nothing of what is so"
    (held,) = withheld_inspections(stuck.database, stuck.scorer_version, released=True)
    assert (held.released_by, held.release_reason) == ("ana", "a test pattern")
    assert withheld_inspections(stuck.database, stuck.scorer_version) == []
    assert stuck.progress().pending == 0


def test_more_images_make_it_pending_and_are_judged_with_the_others(stuck: Facility) -> None:
    stuck.add_plate("STUCK", {**FRAME, **{f"late {name}": data for name, data in OTHER.items()}})
    assert pending_by_day(stuck.database, stuck.scorer_version, 3, noon(30)) == {noon(1).date(): 48}
    result = stuck.score()
    assert CHECK not in failed(result), "half of the images are others now"
    assert withheld_inspections(stuck.database, stuck.scorer_version) == []
    assert scored_plates(stuck) == {"GOOD": 24, "STUCK": 48}


def test_more_of_the_same_stays_withheld_and_is_not_asked_for_for_ever(stuck: Facility) -> None:
    stuck.add_plate("STUCK", {**FRAME, **{f"late {name}": data for name, data in FRAME.items()}})
    stuck.score()
    (held,) = withheld_inspections(stuck.database, stuck.scorer_version)
    assert held.images == 48
    assert pending_by_day(stuck.database, stuck.scorer_version, 3, noon(30)) == {}


def test_images_that_were_scored_before_the_imager_got_stuck_keep_their_scores(facility: Facility) -> None:
    facility.add_plate("P1", dict(list(PLATE.items())[:10]))
    facility.score()
    facility.add_plate("P1", {**dict(list(PLATE.items())[:10]), **{f"x{n}.jpg": photograph(7) for n in range(38)}})
    facility.score()
    assert scored_plates(facility) == {"P1": 10}
    assert facility.progress().withheld == 38


def test_scored_anew_it_is_fetched_and_classified_again(stuck: Facility) -> None:
    replace_files(stuck, "STUCK", OTHER)
    told = c4(stuck, "checks", "rescore", "2").stdout
    assert "scores 24 images anew" in told
    stuck.score()
    assert scored_plates(stuck) == {"GOOD": 24, "STUCK": 24}
    assert withheld_inspections(stuck.database, stuck.scorer_version, released=True) == []


def test_scoring_a_day_anew_leaves_what_is_in_the_database_alone(stuck: Facility) -> None:
    before = stuck.archive.outcomes(noon(1).date())
    day = noon(1).date().isoformat()
    assert "scores 24 images anew" in c4(stuck, "checks", "rescore", "--date", day).stdout
    kept = stuck.archive.outcomes(noon(1).date())
    assert kept == [outcome for outcome in before if outcome.image.plate == "GOOD"]


def test_a_run_that_knew_fewer_images_does_not_undo_what_another_found(stuck: Facility) -> None:
    version = stuck.models.current.version.as_row()
    assert withhold(stuck.database, version, {2: 10}, []) == set()
    assert len(withheld_inspections(stuck.database, stuck.scorer_version)) == 1
    assert withhold(stuck.database, version, {2: 24}, []) == set()
    assert withheld_inspections(stuck.database, stuck.scorer_version) == []
    finding = FailedCheck(2, "another", "x" * 5000, 24)
    assert withhold(stuck.database, version, {2: 24}, [finding]) == {2}
    assert withhold(stuck.database, version, {2: 24}, [finding]) == {2}


def test_what_cannot_be_released_is_said(stuck: Facility) -> None:
    with pytest.raises(ConfigurationError, match="Say why"):
        release(stuck.database, stuck.scorer_version, 2, "ana", " ")
    with pytest.raises(ConfigurationError, match="Inspection 1 is not withheld"):
        release(stuck.database, stuck.scorer_version, 1, "ana", "because")


def test_the_command_lists_judges_and_releases(stuck: Facility) -> None:
    day = noon(1).date().isoformat()
    assert "24 images belong to inspections that are withheld" in c4(stuck, "status").stdout
    told = c4(stuck, "checks", "list").stdout
    assert "STUCK" in told
    assert "probabilities_sound" in told
    report = json.loads(c4(stuck, "checks", "list", "--json").stdout)
    assert [(held["inspection_id"], held["check"]) for held in report["withheld"]] == [(2, CHECK)]
    judged = c4(stuck, "checks", "run", "--date", day)
    assert judged.exit_code == 1, judged.output
    assert "FAILED" in judged.stdout
    assert "Great Expectations" not in judged.output
    (page,) = [line for line in judged.stdout.splitlines() if "inspections.html" in line]
    assert Path(page.removeprefix("Written: ")).is_file()
    done = c4(stuck, "checks", "release", "2", "--reason", "a test pattern", "--by", "ana")
    assert f"c4 run --date {day}" in done.stdout
    assert "No inspection is withheld" in c4(stuck, "checks", "list").stdout
    assert "a test pattern" in c4(stuck, "checks", "list", "--released").stdout
    assert c4(stuck, "checks", "run").exit_code == 1


def test_the_command_judges_labels_and_writes_their_report(facility: Facility) -> None:
    told = c4(facility, "checks", "run", "--labels").stdout
    assert "label_after_imaging" in told
    (page,) = [line for line in told.splitlines() if "labels report.html" in line]
    assert "0 labels of 0 images" in Path(page.removeprefix("Written: ")).read_text()
    wrong = c4(facility, "checks", "run", "--labels", "--week", "Monday")
    assert "is not a day like" in str(wrong.exception)


def test_each_morning_the_day_before_is_judged_once_more() -> None:
    morning = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    request = settle_yesterday(dg.build_schedule_context(scheduled_execution_time=morning))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-01"


def as_listed(facility: Facility, change: str) -> None:
    """The LIMS changes what it lists."""
    with facility.database.writing() as connection:
        connection.execute(text(change))


def test_an_inspection_that_is_dated_anew_is_judged_anew_before_anything_of_it_is_written(stuck: Facility) -> None:
    held = noon(2).strftime("%Y-%m-%d %H:%M:%S.%f")
    as_listed(stuck, f"update inspections set imaged_at = '{held}' where id = 2")
    assert withheld_inspections(stuck.database, stuck.scorer_version) == [], "what was judged was of another time"
    assert pending_by_day(stuck.database, stuck.scorer_version, 3, noon(30)) == {noon(2).date(): 24}
    for day in (noon(1), noon(2), noon(1)):
        stuck.score(day)
        assert scored_plates(stuck) == {"GOOD": 24}
    (now,) = withheld_inspections(stuck.database, stuck.scorer_version)
    assert (now.plate, now.day) == ("STUCK", noon(2).date())
    assert stuck.progress().withheld == 24


def test_a_release_is_not_handed_on_with_the_number_of_the_inspection(stuck: Facility) -> None:
    release(stuck.database, stuck.scorer_version, 2, "ana", "a test pattern")
    as_listed(stuck, "update plates set barcode = 'OTHER' where barcode = 'STUCK'")
    stuck.score()
    assert scored_plates(stuck) == {"GOOD": 24}
    (held,) = withheld_inspections(stuck.database, stuck.scorer_version)
    assert (held.plate, held.released_by) == ("OTHER", None)


def test_another_inspection_with_the_number_of_a_withheld_one_is_not_withheld(stuck: Facility) -> None:
    as_listed(stuck, "update plates set barcode = 'OTHER' where barcode = 'STUCK'")
    replace_files(stuck, "STUCK", OTHER)
    assert pending_by_day(stuck.database, stuck.scorer_version, 3, noon(30)) == {noon(1).date(): 24}
    with pytest.raises(ConfigurationError, match="Inspection 2 is not withheld"):
        release(stuck.database, stuck.scorer_version, 2, "ana", "because")
    stuck.score()
    assert scored_plates(stuck) == {"GOOD": 24, "OTHER": 24}
    assert stuck.rows("select * from c4_withheld_inspections") == []


def test_what_an_earlier_release_withheld_stays_withheld(stuck: Facility) -> None:
    as_listed(stuck, "update c4_withheld_inspections set plate = null, imaged_at = null")
    assert stuck.progress().withheld == 24
    stuck.add_plate("STUCK", {**FRAME, "late.jpg": photograph(1)})
    stuck.score()
    (held,) = withheld_inspections(stuck.database, stuck.scorer_version)
    assert held.images == 25
    assert stuck.rows("select plate from c4_withheld_inspections") == [("STUCK",)]
