"""Every check through a real run of the graph: data that violates it, the rows it names, what its severity does."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import text

from c4_assets.checks.catalogue import CHECKS
from c4_assets.importing.folder import import_folder
from c4_assets.importing.reading import Import
from c4_assets.models.appearance import appearance_of
from c4_assets.models.engine import Classification
from c4_assets.models.marco.preprocessing import pixels
from c4_assets.pictures.contact_sheet import Tile, contact_sheet
from c4_assets.scoring import predict, write
from resources.image_store import LocalStore
from resources.imaging_database.withheld import withheld_inspections
from resources.imaging_database.write_back import MachineScore, write_back
from resources.records import CATEGORIES, ImageOutcome, Probabilities, likeliest
from testing.always import always
from testing.parquet import rewrite_parquet
from tests.check_results import OTHER, PLATE, evaluations, failed, named, scored_plates
from tests.conftest import Facility, noon, photograph


def flat(seed: int, low: int, high: int) -> bytes:
    """A photograph whose levels all lie in a narrow range, with noise as a camera's."""
    pixels = np.random.default_rng(seed).integers(low, high, (72, 96, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def taken(seed: int, at: datetime) -> bytes:
    """A photograph with a time in its EXIF data."""
    exif = Picture.Exif()
    exif.get_ifd(0x8769)[0x9003] = at.strftime("%Y:%m:%d %H:%M:%S")
    buffer = io.BytesIO()
    Picture.open(io.BytesIO(photograph(seed))).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def answers(facility: Facility, change: Callable[[int, Classification], Classification]) -> None:
    """Changes what the model says of the n-th image."""
    original = facility.engine.classify
    number = count()
    facility.engine.classify = lambda images: (change(next(number), each) for each in original(images))


def test_a_sound_plate_passes_every_check_and_every_check_was_made(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    result = facility.score()
    assert failed(result) == {}
    asked = {check.name for check in CHECKS if check.asset not in ("human_labels", "ashes_disagreements")}
    assert set(evaluations(result)) == asked
    partition = noon(1).date().isoformat()
    assert {evaluation.partition for evaluation in evaluations(result).values()} == {partition}
    assert evaluations(result)["probabilities_sound"].metadata["judged"].value == 24
    assert not list(facility.settings.data_docs.rglob("*.html"))


def test_a_run_of_a_day_without_images_judges_nothing(facility: Facility) -> None:
    assert failed(facility.score()) == {}


@pytest.mark.parametrize(
    ("name", "plate", "offending"),
    [
        ("images_as_promised", {**dict(list(PLATE.items())[:23])}, "| P1 | 1 | 23 | 24 |"),
        ("images_in_the_store", {**PLATE, "07.jpg": None}, "A08"),
        ("images_of_plausible_size", {**PLATE, "07.jpg": photograph(7, (8, 8))}, "A08"),
        ("no_image_twice", {**PLATE, "07.jpg": PLATE["03.jpg"]}, "A08"),
        ("images_of_their_inspection", {**PLATE, "07.jpg": taken(7, noon(4))}, "A08"),
        ("images_decodable", {**PLATE, "07.jpg": b"this is no image" * 500}, "the file is not an image"),
        ("images_exposed", {**PLATE, "07.jpg": flat(7, 0, 12)}, "A08"),
        ("images_exposed", {**PLATE, "07.jpg": flat(7, 251, 255)}, "A08"),
    ],
)
def test_a_warning_names_the_rows_and_keeps_nothing_back(
    facility: Facility, name: str, plate: Mapping[str, bytes | None], offending: str
) -> None:
    facility.add_plate("P1", plate)
    result = facility.score()
    assert set(failed(result)) == {name}
    evaluation = failed(result)[name]
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert not evaluation.blocking
    assert offending in named(evaluation)
    listed = 23 if name == "images_as_promised" else 24
    unscored = 1 if name in ("images_in_the_store", "images_decodable") else 0
    assert scored_plates(facility) == {"P1": listed - unscored}
    assert Path(str(evaluation.metadata["data docs"].value)).is_file()


def test_two_images_of_one_drop_are_named(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    with facility.database.writing() as connection:
        connection.execute(text("update images set well = 'A01' where well = 'A02'"))
    result = facility.score()
    assert set(failed(result)) == {"one_image_a_drop"}
    assert named(failed(result)["one_image_a_drop"]).count("A01") == 2


def test_an_inspection_that_is_still_being_uploaded_is_not_called_incomplete(facility: Facility) -> None:
    now = datetime.now(UTC)
    facility.add_plate("P1", dict(list(PLATE.items())[:10]), now)
    assert failed(facility.score(now)) == {}


def test_an_inspection_is_held_against_earlier_ones_of_its_plate(facility: Facility) -> None:
    facility.add_plate("P1", {**PLATE, **{f"x{name}": data for name, data in OTHER.items()}}, noon(3))
    assert failed(facility.score(noon(3))) == {}
    facility.add_plate("P1", PLATE, noon(1))
    result = facility.score()
    assert set(failed(result)) == {"images_as_promised"}
    assert "| P1 | 2 | 24 | 48 |" in named(failed(result)["images_as_promised"])


BLACK = {f"{n:02d}.png": flat(n, 0, 12) for n in range(24)}


def same(index: int, classification: Classification) -> Classification:
    """A model that gives the images of the second inspection one vector."""
    return replace(classification, probabilities=(0.7, 0.1, 0.1, 0.1)) if index >= 24 else classification


def too_much(index: int, classification: Classification) -> Classification:
    """A model whose probabilities of one image of the second inspection sum to 1.1."""
    return replace(classification, probabilities=(0.8, 0.1, 0.1, 0.1)) if index == 30 else classification


@pytest.mark.parametrize(
    ("name", "plate", "change", "also"),
    [
        ("inspection_is_not_one_frame", dict.fromkeys(PLATE, photograph(1)), None, {"no_image_twice"}),
        ("inspection_exposed", BLACK, None, {"images_exposed"}),
        ("inspection_probabilities_differ", OTHER, same, set[str]()),
        ("probabilities_sound", OTHER, too_much, set[str]()),
    ],
)
def test_an_inspection_that_fails_a_blocking_check_is_withheld_and_the_others_go_on(
    facility: Facility,
    name: str,
    plate: Mapping[str, bytes | None],
    change: Callable[[int, Classification], Classification] | None,
    also: set[str],
) -> None:
    if change:
        answers(facility, change)
    facility.add_plate("GOOD", PLATE)
    facility.add_plate("BAD", plate)
    result = facility.score()
    assert result.success, "the run goes on"
    assert set(failed(result)) == {name, *also}
    evaluation = failed(result)[name]
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert not evaluation.blocking, "Dagster would stop the whole day"
    assert "BAD" in named(evaluation)
    assert "GOOD" not in named(evaluation)
    assert scored_plates(facility) == {"GOOD": 24}
    (held,) = withheld_inspections(facility.database, facility.scorer_version)
    assert (held.plate, held.check, held.images) == ("BAD", name, 24)
    assert "BAD" in held.reason


def test_a_row_that_stands_twice_in_the_archive_withholds_its_inspection(facility: Facility) -> None:
    facility.add_plate("GOOD", PLATE)
    facility.add_plate("BAD", OTHER)
    facility.score()
    with facility.database.writing() as connection:
        connection.execute(text("delete from scores"))
    (file,) = (facility.settings.archive / "probabilities").rglob("*.parquet")
    rewrite_parquet(file, lambda table: table.take([*range(48), 47]))
    result = facility.score()
    assert set(failed(result)) == {"one_row_an_image"}
    assert scored_plates(facility) == {"GOOD": 24}


def test_a_category_that_nobody_knows_never_reaches_the_database(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("GOOD", PLATE)
    facility.score()
    facility.add_plate("BAD", OTHER)
    known = {outcome.probabilities for outcome in facility.archive.outcomes(noon(1).date())}

    def misspelt(probabilities: Probabilities) -> str:
        return likeliest(probabilities) if probabilities in known else "cristals"

    monkeypatch.setattr(predict, "likeliest", misspelt)
    result = facility.score()
    assert set(failed(result)) == {"categories_known"}
    assert "cristals" in named(failed(result)["categories_known"])
    assert scored_plates(facility) == {"GOOD": 24}


def test_wrong_weights_classify_nothing_and_stop_the_step(facility: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    facility.add_plate("P1", PLATE)
    monkeypatch.setattr(type(facility.models.current), "weights_on_disk", always("another digest"))
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert set(failed(result)) == {"weights_of_the_scorer_version"}
    assert failed(result)["weights_of_the_scorer_version"].blocking
    assert "another digest" in named(failed(result)["weights_of_the_scorer_version"])
    assert facility.seen == []
    assert scored_plates(facility) == {}
    monkeypatch.undo()
    assert facility.score().success
    assert scored_plates(facility) == {"P1": 24}


def test_a_model_that_says_the_same_of_a_whole_day_stops_the_step(facility: Facility) -> None:
    answers(facility, lambda _, each: replace(each, probabilities=(0.7, 0.1, 0.1, 0.1)))
    facility.add_plate("P1", PLATE)
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert set(failed(result)) == {"day_probabilities_differ", "inspection_probabilities_differ"}
    assert failed(result)["day_probabilities_differ"].blocking
    assert scored_plates(facility) == {}


def test_a_day_unlike_the_days_before_is_a_warning(make_facility: Callable[..., Facility], tmp_path: Path) -> None:
    facility = make_facility(checks={"predictions": {"least_images": 20}})
    facility.add_plate("P1", PLATE, noon(2))
    assert failed(facility.score(noon(2))) == {}, "there is no day before"
    earlier = facility.archive.predictions(noon(2).date())
    clear = [replace(prediction, category="clear") for prediction in earlier]
    facility.archive.write_predictions(noon(2).date(), clear)
    facility.add_plate("P2", OTHER, noon(1))
    result = facility.score()
    assert set(failed(result)) == {"class_mix_steady"}
    assert failed(result)["class_mix_steady"].severity == dg.AssetCheckSeverity.WARN
    assert scored_plates(facility)["P2"] == 24


def test_a_day_full_of_crystals_is_a_warning(make_facility: Callable[..., Facility], tmp_path: Path) -> None:
    facility = make_facility(checks={"predictions": {"least_images": 20}})
    answers(facility, lambda n, each: replace(each, probabilities=(0.1, 0.7 + n / 1000, 0.1, 0.1 - n / 1000)))
    facility.add_plate("P1", PLATE)
    result = facility.score()
    assert set(failed(result)) == {"share_of_crystals_plausible"}


def test_a_prediction_that_did_not_arrive_stops_the_step(facility: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(database: Any, version: Any, scores: list[MachineScore], *rest: Any) -> Any:
        return write_back(database, version, scores[:-1], *rest)

    monkeypatch.setattr(write, "write_back", forgetful)
    facility.add_plate("P1", PLATE)
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert set(failed(result)) == {"rows_written_once"}
    assert failed(result)["rows_written_once"].metadata["offending"].value == 1


def test_scores_that_stand_twice_because_the_site_has_no_unique_constraint_stop_the_step(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    facility.score()
    with facility.database.writing() as connection:
        connection.execute(text("create table lims as select * from scores"))
        connection.execute(text("insert into lims select * from scores where image_id = 3"))
        connection.execute(text("drop table scores"))
        connection.execute(text("alter table lims rename to scores"))
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert set(failed(result)) == {"rows_written_once"}
    assert "A03" in named(failed(result)["rows_written_once"])
    assert failed(result)["rows_written_once"].metadata["offending"].value == 1


def test_a_row_that_somebody_changes_stops_the_step(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    with facility.database.writing() as connection:
        connection.execute(
            text(
                "create trigger meddling after insert on scores when new.image_id = 3 "
                "begin update scores set p_other = p_other + 0.01 where id = new.id; end"
            )
        )
    result = facility.score(raise_on_error=False)
    assert not result.success
    assert set(failed(result)) == {"rows_as_predicted"}
    assert "A03" in named(failed(result)["rows_as_predicted"])


def test_a_score_of_an_image_that_is_no_longer_listed_is_a_warning(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    facility.score()
    with facility.database.engine.connect() as connection:
        connection.execute(text("PRAGMA foreign_keys=OFF"))
        connection.execute(text("update images set id = 1000 where id = 3"))
        connection.execute(
            text(
                "insert into scores select 99, 1000, score_class_id, scorer, scored_at, "
                "scorer_version, crystal, p_clear, p_crystals, p_other, p_precipitate, run_id, "
                "image_sha256, image_path, null from scores where image_id = 3"
            )
        )
        connection.commit()
    result = facility.score()
    assert set(failed(result)) == {"no_rows_orphaned"}
    assert "A03" in named(failed(result)["no_rows_orphaned"])


def test_a_failed_check_shows_pictures_and_what_to_do_and_takes_no_name_for_markup(facility: Facility) -> None:
    facility.add_plate("<b>P|1", {**PLATE, "07.jpg": PLATE["03.jpg"]})
    evaluation = failed(facility.score())["no_image_twice"]
    assert str(evaluation.metadata["pictures"].value).startswith("![contact sheet](data:image/jpeg;base64,")
    assert r"\<b\>P\|1" in named(evaluation)
    assert "find out" in str(evaluation.metadata["what to do"].value)


def test_pages_that_cannot_be_written_and_pictures_that_cannot_be_read_stop_no_score(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    facility.settings.data_docs.parent.mkdir(parents=True, exist_ok=True)
    facility.settings.data_docs.write_text("a file in its place: nothing can be written, as on a full disk")
    facility.add_plate("P1", {"a.jpg": photograph(1), "b.jpg": photograph(1)})
    assert facility.score().success
    assert "the scores do not depend on it" in caplog.text
    tiles = [Tile(b"no picture", "clear", ("P1", "A01.1")), Tile(photograph(2), "clear", ("P1", "A02.1"))]
    with Picture.open(io.BytesIO(contact_sheet(tiles))) as sheet:
        assert sheet.width > sheet.height


def test_data_docs_hold_no_html_of_the_database_and_go_when_the_fault_is_mended(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    with facility.database.writing() as connection:
        connection.execute(text("update images set well = '<script>' where id < 3"))
    facility.score()
    (page,) = facility.settings.data_docs.rglob("*.html")
    assert "&lt;script&gt;" in page.read_text()
    assert "><script></" not in page.read_text()
    with facility.database.writing() as connection:
        connection.execute(text("update images set well = 'A' || id where id < 3"))
    facility.score()
    assert not page.exists()


def test_archives_of_earlier_releases_are_read(facility: Facility) -> None:
    facility.add_plate("P1", PLATE)
    facility.score()
    new = ["size", "taken_at", "brightness", "black", "saturated", "sharpness", "perceptual_hash"]
    for file in facility.settings.archive.rglob("*.parquet"):
        rewrite_parquet(file, lambda table: table.drop_columns([name for name in new if name in table.column_names]))
    outcomes: list[ImageOutcome] = facility.archive.outcomes(noon(1).date())
    assert len(outcomes) == 24
    assert {outcome.appearance for outcome in outcomes} == {None}
    assert failed(facility.score()) == {}
    assert facility.archive.fingerprints(noon(1).date()) == {}


class Published:
    """An engine that gives real images the published model's own answers, and sees what MARCO sees of them."""

    def __init__(self, real_images: Path) -> None:
        with (real_images / "marco_reference.csv").open(newline="") as table:
            self._answers = {
                line["sha256"]: tuple(float(line[category]) for category in CATEGORIES)
                for line in csv.DictReader(table)
            }

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        for data in images:
            clear, crystals, other, precipitate = self._answers[hashlib.sha256(data).hexdigest()]
            yield Classification((clear, crystals, other, precipitate), appearance=appearance_of(pixels(data)))


@pytest.mark.parametrize(("plate", "images"), [("xchem_90j8", 192), ("ci022987_subwell_01", 96)])
def test_a_real_plate_passes_every_check(facility: Facility, real_images: Path, plate: str, images: int) -> None:
    facility.engine = Published(real_images)
    store = LocalStore.at(facility.settings.store.url)
    (imported,) = import_folder(Import(real_images / "plates" / plate), facility.database, store).inspections
    result = facility.score(imported.imaged_at)
    assert failed(result) == {}
    assert list(scored_plates(facility).values()) == [images]
    judged = evaluations(result)["images_exposed"].metadata["judged"].value
    assert judged == images
