"""Scoring files without a database: what is kept, what is warned of, and how it ends."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image as Picture
from typer.testing import CliRunner, Result

from c4_assets.command import app
from c4_assets.command import score as command
from c4_assets.command.console import reporting_errors
from c4_assets.models.engine import Classification
from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.scoring.kept_scores import keeping_scores
from c4_assets.scoring.score_files import files_of, score_files
from resources.errors import ConfigurationError
from resources.settings.checks import ExposureThresholds
from testing.always import always
from tests.conftest import photograph
from tests.stand_in_engine import StandIn
from tests.test_image_files import NOT_UTF8, packed

VERSION = ScorerVersion("stand-in", "0" * 64, "none", "stand-in", "fp32", 0.25)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """What scores in place of MARCO."""
    engine = StandIn()
    classifier = SimpleNamespace(engine=engine, version=VERSION)
    monkeypatch.setattr(command, "model_without_database", always(classifier))
    monkeypatch.setattr(command, "models_at_hand", always(None))
    monkeypatch.setenv("C4_HOME", str(tmp_path / "home"))
    return engine


def c4_score(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    folder = tmp_path / "90z8"
    folder.mkdir()
    for number in range(1, 7):
        (folder / f"90z8_0{number}A_1.jpg").write_bytes(photograph(number, (200, 150)))
    return folder


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {Path(row["path"]).name: row for row in json.loads(out.read_text())}


def even(level: int) -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (640, 480), (level, level, level)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(("level", "what"), [(0, "black"), (255, "saturated"), (120, "blank")])
def test_a_picture_that_shows_nothing_is_named_and_ranked_after_those_that_do(
    engine: StandIn, plate: Path, tmp_path: Path, level: int, what: str
) -> None:
    (plate / "90z8_07A_1.jpg").write_bytes(even(level))
    out = tmp_path / "s.json"
    done = c4_score(plate, "--out", out, "--html")
    assert f"1 image: the picture is {what}, and its score means nothing." in done.stderr
    found = rows(out)
    assert [name for name, row in found.items() if row["warning"]] == ["90z8_07A_1.jpg"]
    assert list(found)[-1] == "90z8_07A_1.jpg"
    page = out.with_suffix(".html").read_text()
    assert f"the picture is {what}" in page
    assert "1 shows nothing" in page
    last = page.rpartition('<figure class="drop"')[2]
    assert 'data-crystal="false"' in last, "it is not among the flagged ones"


def test_drops_are_named_and_probabilities_have_the_digits_that_they_have(
    engine: StandIn, plate: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.json"
    done = c4_score(plate, "--out", out)
    row = rows(out)["90z8_03A_1.jpg"]
    assert (row["plate"], row["well"], row["drop"]) == ("90z8", "A03", 1)
    assert all(len(f"{row[name]}".replace("0.", "")) <= 8 for name in ("p_clear", "p_crystals"))
    for number in range(1, 7):
        assert f"90z8_0{number}A_1.jpg" in done.stdout, "paths are told apart in a narrow terminal"
        assert f"A0{number}.1" in done.stdout


def test_a_folder_with_a_name_that_is_not_utf8_is_scored_with_its_bytes_escaped(
    engine: StandIn, tmp_path: Path
) -> None:
    for folder in ("good", NOT_UTF8):
        (tmp_path / "names" / folder).mkdir(parents=True)
        (tmp_path / "names" / folder / "A01_1.jpg").write_bytes(photograph(len(folder), (200, 150)))
    for ending in ("csv", "json", "parquet"):
        out = tmp_path / f"s.{ending}"
        assert c4_score(tmp_path / "names", "--out", out, "--html").exit_code == 0
        assert out.exists()
        assert "bad\\xff/A01_1.jpg" in out.with_suffix(".html").read_text()
    assert any("bad\\xff" in row["path"] for row in json.loads((tmp_path / "s.json").read_text()))


@pytest.mark.parametrize("kind", ["e.zip", "e.tar.gz"])
def test_an_archive_is_scored_where_it_lies(engine: StandIn, tmp_path: Path, kind: str) -> None:
    place = packed(tmp_path / kind, {f"90z8/A0{number}_1.jpg": photograph(number, (200, 150)) for number in (1, 2)})
    assert c4_score(place, "--out", tmp_path / "s.json", "--html").exit_code == 0
    found = rows(tmp_path / "s.json")
    assert {(row["plate"], row["well"]) for row in found.values()} == {("90z8", "A01"), ("90z8", "A02")}
    assert "data:image/jpeg;base64," in (tmp_path / "s.html").read_text()


def test_when_nothing_could_be_scored_the_status_is_1(engine: StandIn, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    done = c4_score(tmp_path / "a.jpg", "--out", tmp_path / "s.csv")
    assert done.exit_code == 1
    assert "Not scored" in done.stderr
    assert "not an image" in (tmp_path / "s.csv").read_text()


def test_what_is_left_out_is_counted(engine: StandIn, plate: Path, tmp_path: Path) -> None:
    (plate / "90z8_01A_2.heic").touch()
    done = c4_score(plate, "--out", tmp_path / "s.csv")
    assert "90z8_01A_2.heic: a .heic file, which C4 does not decode" in done.stderr
    assert "1 left out" in done.stdout


@pytest.mark.parametrize("options", [["--out", "file/s.csv"], ["--out", "s.csv", "--html"]])
def test_results_that_cannot_be_written_are_an_error_in_words(
    engine: StandIn, plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "s.html").mkdir()
    with pytest.raises(SystemExit) as ended, reporting_errors():
        raised = c4_score(plate, *options).exception
        assert raised is not None
        raise raised
    assert ended.value.code == 1
    assert (tmp_path / "s.csv").exists() == ("--html" in options), "the page is an aid: the scores are there"


class Failing(StandIn):
    """A computer that goes down after some images, once."""

    def __init__(self, after: int, error: BaseException) -> None:
        super().__init__()
        self.after, self.error = after, error

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        for number, each in enumerate(super().classify(images)):
            if number == self.after and self.error:
                raise self.error
            yield each


def test_what_was_scored_before_an_end_is_kept_and_not_scored_again(
    engine: StandIn, plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s.json"
    c4_score(plate, "--out", tmp_path / "whole.json")
    for error in (KeyboardInterrupt(), MemoryError()):
        failing = SimpleNamespace(engine=Failing(2, error), version=VERSION)
        monkeypatch.setattr(command, "model_without_database", always(failing))
        assert c4_score(plate, "--out", out).exit_code != 0
        assert not out.exists()
    kept = tmp_path / "s.json.partial"
    with kept.open("a") as opened:
        opened.write('["cut off at a power c')
    os.utime(plate / "90z8_01A_1.jpg", (1, 1))  # changed since: scored anew
    last = StandIn()
    monkeypatch.setattr(command, "model_without_database", always(SimpleNamespace(engine=last, version=VERSION)))
    done = c4_score(plate, "--out", out)
    assert "4 of 6 images were scored before" in done.stderr or "3 of 6 images were scored before" in done.stderr
    assert len(last.seen) == 6 - int(done.stderr.split(" of 6 images were scored before")[0].split()[-1])
    assert json.loads(out.read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert not kept.exists()


def test_scores_of_another_scorer_are_not_taken_over(plate: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    found = files_of([plate])
    with pytest.raises(MemoryError), keeping_scores(out, "one") as kept:
        score_files(found.files, StandIn(), VERSION, ExposureThresholds(), kept.keep)
        raise MemoryError
    with pytest.raises(MemoryError), keeping_scores(out, "one") as kept:
        assert all(kept.row_of(file) for file in found.files)
        raise MemoryError
    with keeping_scores(out, "another") as kept:
        assert not any(kept.row_of(file) for file in found.files)


def test_a_foreign_file_in_the_place_of_kept_scores_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s.csv.partial").write_text("mine\n")
    with pytest.raises(ConfigurationError, match="no file of `c4 score`"), keeping_scores(tmp_path / "s.csv", "one"):
        pass
    assert (tmp_path / "s.csv.partial").read_text() == "mine\n"


def test_two_commands_do_not_write_one_result(tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    said = pytest.raises(ConfigurationError, match="Another `c4 score`")
    with keeping_scores(out, "one"), said, keeping_scores(out, "one"):
        pass
