"""The ``c4`` command as an operator types it, with the real model on real images."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from c4_assets.scoring.score_files import FileScore, write_scores
from resources.errors import ConfigurationError
from resources.records import CATEGORIES
from tests.conftest import c4, photograph


def test_scoring_all_real_images_gives_the_published_models_probabilities_ranked(
    scored_files: Path, real_images: Path
) -> None:
    with (real_images / "marco_reference.csv").open(newline="") as table:
        expected = {line["path"]: [float(line[c]) for c in CATEGORIES] for line in csv.DictReader(table)}
    with scored_files.open(newline="") as table:
        rows = list(csv.DictReader(table))
    columns = "path,category,crystal,p_clear,p_crystals,p_other,p_precipitate,scorer,error,warning,plate,well,drop"
    assert ",".join(rows[0]) == columns
    assert len(rows) == len(expected) == 310
    for row in rows:
        name = Path(row["path"]).relative_to(real_images).as_posix()
        assert [float(row[f"p_{c}"]) for c in CATEGORIES] == pytest.approx(expected[name], abs=1e-4), name
        assert row["category"] == CATEGORIES[expected[name].index(max(expected[name]))]
        assert row["crystal"] == str(float(row["p_crystals"]) >= 0.25)
    crystals = [float(row["p_crystals"]) for row in rows]
    assert crystals == sorted(crystals, reverse=True)


def test_two_real_plates_are_imported_scored_through_dagster_and_not_scored_again(
    real_images: Path, models: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for plate, images in (("xchem_90j8", 192), ("ci022987_subwell_01", 96)):
        told = c4(home, "import", real_images / "plates" / plate, models=models).stdout
        assert f"{images} images registered" in told
    c4(home, "run", "--pending", models=models)
    report = json.loads(c4(home, "status", "--json", models=models).stdout)
    (version,) = report["scorer_versions"].values()
    total = {"inspections": 2, "listed": 288, "scored": 288, "failed": 0, "withheld": 0, "retrying": 0, "pending": 0}
    assert version["total"] == total
    assert "2012-11-21" in version["days"], "the day of imaging is in the Minstrel's file names"
    again = c4(home, "run", "--pending", models=models)
    assert "Nothing to score" in again.stdout


def test_bad_files_are_rows_with_an_error_and_the_page_names_them(models: Path, tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(photograph(1, (200, 150)))
    (tmp_path / "<b>bad.jpg").write_bytes(b"no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "good.png").write_bytes(photograph(1, (200, 150), "PNG"))
    out = tmp_path / "s.json"
    said = c4(tmp_path / "home", "score", tmp_path, "--out", out, "--html", models=models).stderr.lower()
    assert "cuda" not in said, "what TensorFlow, which decodes the PNG, has not found is no news for an operator"
    assert "tensorflow" not in said
    rows = {Path(row["path"]).name: row for row in json.loads(out.read_text())}
    assert rows["good.jpg"]["error"] is None
    assert rows["good.png"]["error"] is None
    assert "not an image" in rows["<b>bad.jpg"]["error"]
    assert "empty" in rows["empty.png"]["error"]
    page = (tmp_path / "s.html").read_text()
    assert "&lt;b&gt;bad.jpg" in page
    assert "<b>bad" not in page, "file names are not HTML"


def test_errors_are_one_message_and_status_1(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "file").touch()
    for arguments, words in (
        (["score", "[/nowhere].jpg"], "[/nowhere].jpg is not there"),
        (["score", ".", "--out", "s.xlsx"], "must end in .csv"),
        (["run"], "Say which days"),
        (["run", "--date", "tomorrow"], "is not a day like"),
        (["run", "--date", "9999-12-31"], "stands for no day of imaging"),
        (["import", ".", "--imaged-at", "9999-12-31T23:59:59Z"], "stands for no time of imaging"),
        (["import", "nowhere"], "is not a folder"),
        (["model", "fetch", "unheard-of"], "--from"),
        (["import", ".", "--csv", "nope.csv"], "nope.csv"),
        (["backlog", "--html", "file/page.html"], "file cannot be read or written"),
    ):
        done = c4(home, *arguments, models=models, check=False)
        assert done.returncode == 1, arguments
        assert words in done.stderr, arguments
        assert "Traceback" not in done.stderr + done.stdout


def test_days_that_are_no_partition_are_named_and_do_not_stop_the_others(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for plate, imaged_at in (("OLD", "2001-01-01"), ("NOW", "2026-03-02"), ("NEXT", tomorrow)):
        (tmp_path / plate).mkdir()
        (tmp_path / plate / f"{plate}_01A_1.jpg").write_bytes(photograph(1, (200, 150)))
        c4(home, "import", tmp_path / plate, "--imaged-at", imaged_at, models=models)
    done = c4(home, "run", "--pending", models=models, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "2001-01-01 was left out: it lies before C4_RUNS_START_DATE (2006-01-01)" in done.stderr
    assert "was left out: it lies in the future" in done.stderr
    report = json.loads(c4(home, "status", "--json", models=models).stdout)
    (version,) = report["scorer_versions"].values()
    assert version["days"]["2026-03-02"]["scored"] == 1
    assert version["total"]["pending"] == 2


def test_failed_images_are_listed_and_can_be_retried(models: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "P1_01A_1.jpg").write_bytes(photograph(1, (200, 150)))
    (tmp_path / "P1_02A_1.jpg").write_bytes(b"no image")
    c4(home, "import", tmp_path, models=models)
    c4(home, "run", "--pending", models=models)
    status = c4(home, "status", "--failures", models=models).stdout
    assert "P1" in status
    assert "1 of 3" in status
    assert "the file is not an image" in status
    assert "Tried again by the next run: 1 image." in c4(home, "retry", models=models).stdout


def test_a_run_that_scores_nothing_says_so_in_its_status(models: Path, tmp_path: Path) -> None:
    (tmp_path / "P1_01A_1.jpg").write_bytes(b"no image")
    c4(tmp_path / "home", "import", tmp_path, models=models)
    done = c4(tmp_path / "home", "run", "--pending", models=models, check=False)
    assert done.returncode == 1
    assert "Nothing was scored: `c4 status --failures` says why." in done.stderr


def test_the_command_says_its_version(models: Path, tmp_path: Path) -> None:
    assert re.fullmatch(r"c4 \d+\.\d+\.\d+\S*\n", c4(tmp_path / "home", "--version", models=models).stdout)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x","y")']


def test_no_text_in_a_table_is_a_formula_for_a_spreadsheet_and_numbers_stay_numbers(tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    rows = [FileScore(name, "clear", False, 0.7, -0.1, 1e-9, 0.1, "marco-1", name) for name in FORMULAS]
    write_scores([*rows, ROW], out)
    with out.open(newline="", encoding="utf-8") as opened:
        *cells, plain = csv.DictReader(opened)
    assert [(row["path"], row["error"]) for row in cells] == [(f"'{name}", f"'{name}") for name in FORMULAS]
    assert {(row["p_crystals"], row["p_other"]) for row in cells} == {("-0.1", "1e-09")}
    assert (plain["path"], plain["error"]) == ("a.jpg", "")


ROW = FileScore("a.jpg", "clear", False, 0.7, 0.1, 0.1, 0.1, "marco-1", None)


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_each_format_holds_the_same_columns(tmp_path: Path, ending: str) -> None:
    import pandas as pd

    out = tmp_path / f"s.{ending}"
    write_scores([ROW], out)
    frame = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[ending](out)
    assert list(frame.columns) == list(FileScore.__dataclass_fields__)
    assert frame["p_clear"][0] == pytest.approx(0.7)


def test_scores_that_cannot_be_written_leave_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must end in"):
        write_scores([ROW], tmp_path / "s.txt")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_scores([ROW], tmp_path / "file" / "s.csv")
