"""``c4 status``: it only reads, it fits a terminal, and neither odd rows nor many failures slow it down."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from c4_assets.command import app
from c4_assets.command.console import console
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import count_failures, failures
from resources.imaging_database.write_back import FailedAttempt, MachineScore, write_back
from tests.conftest import Facility, noon, photograph


def status(facility: Facility, *arguments: str, width: int = 200) -> Result:
    """What the command says over a facility, in this process."""
    console.width = width
    return CliRunner().invoke(app, ["status", *arguments], env={"C4_HOME": str(facility.settings.home)})


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file; SQLite's own files beside a database come and go with its readers."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(("-wal", "-shm")))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_it_writes_nothing_into_a_new_deployment_or_one_without_a_model_or_classes(
    facility: Facility, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    with facility.database.writing() as connection:
        connection.execute(text("delete from score_classes where name = 'skin'"))
    facility.database.engine.dispose()
    before = contents(facility.settings.home)
    told = status(facility)
    assert told.exit_code == 0, told.output
    assert "pending" in told.stdout
    facility.database.engine.dispose()
    assert contents(facility.settings.home) == before
    assert facility.rows("select * from c4_models") == []
    nowhere = CliRunner().invoke(app, ["status"], env={"C4_HOME": str(tmp_path / "nowhere")})
    assert nowhere.exit_code == 0, "a new deployment is nothing wrong"
    assert "There is no imaging database" in capsys.readouterr().err + nowhere.output
    assert not (tmp_path / "nowhere").exists()


def test_every_heading_and_number_is_whole_at_80_columns(facility: Facility) -> None:
    files = {f"{n}.jpg": photograph(n) for n in range(4)}
    facility.add_plate("P1", {**files, "missing.jpg": None})
    facility.add_plate("P2", files, noon(2))
    facility.score()
    lines = status(facility, "--failures", width=80).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    (heading,) = (line.split() for line in lines if "inspections" in line)
    assert heading == ["day", "inspections", "images", "scored", "failed", "withheld", "pending", "retrying"]
    (counted,) = (line.split() for line in lines if line.strip().startswith(str(noon(1).date())))
    assert counted[1:] == ["1", "5", "4", "0", "0", "1", "1"]
    assert "…" not in "".join(lines)


def test_a_scorer_version_that_no_active_model_has_is_one_line_and_pending_for_nobody(facility: Facility) -> None:
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(4)})
    facility.score()
    abandoned = {**facility.models.current.version.as_row(), "name": "abandoned"}
    score = MachineScore(1, "clear", False, (0.7, 0.1, 0.1, 0.1), noon(0))
    write_back(facility.database, abandoned, [score], [FailedAttempt(2, "gone", noon(0))], "run")
    told = status(facility).stdout
    assert "abandoned: 1 images scored on these days. No active model is of this scorer version." in told
    report = json.loads(status(facility, "--json").stdout)["scorer_versions"]
    assert {name: each["active"] for name, each in report.items()} == {
        facility.scorer_version: True,
        "abandoned": False,
    }
    assert (report["abandoned"]["total"]["scored"], report["abandoned"]["total"]["pending"]) == (1, 0)
    assert report["abandoned"]["failures"] == []


def test_100_000_old_failures_are_counted_and_the_newest_listed(facility: Facility) -> None:
    facility.add_plate("P1", {"a.jpg": b"no image"})
    facility.score()
    _fill_with_failures(facility.database, facility.scorer_version, 100_000)
    assert count_failures(facility.database, facility.scorer_version) == 100_001
    told = status(facility).stdout
    assert "100,001 images are failed or retrying" in told
    listed = status(facility, "--failures", "--most", "5").stdout
    assert "These are the newest 5 of 100,001" in listed
    report: dict[str, Any] = json.loads(status(facility, "--json").stdout)["scorer_versions"][facility.scorer_version]
    assert (report["failures_in_all"], len(report["failures"])) == (100_001, 100)
    newest = failures(facility.database, facility.scorer_version, most=3)
    assert [failure.failed_at for failure in newest] == sorted((f.failed_at for f in newest), reverse=True)


def _fill_with_failures(database: ImagingDatabase, version: str, count: int) -> None:
    """As many images of years ago as that, all given up."""
    numbers = f"with recursive n(n) as (select 1 union all select n + 1 from n where n < {count})"
    long_ago = "'2019-03-01 12:00:00.000000'"
    with database.writing() as connection:
        connection.execute(text("insert into plates (id, barcode) values (1000, 'OLD')"))
        connection.execute(text(f"insert into inspections (id, plate_id, imaged_at) values (1000, 1000, {long_ago})"))
        images = "insert into images (id, inspection_id, well, drop_number, path)"
        connection.execute(text(f"{images} {numbers} select 1000 + n, 1000, 'A01', n, 'old/' || n from n"))
        columns = "(image_id, scorer_version, reason, attempts, failed_at, image_path)"
        rows = f"{numbers} select 1000 + n, '{version}', 'gone', 3, {long_ago}, 'old/' || n from n"
        connection.execute(text(f"insert into c4_image_failures {columns} {rows}"))


@pytest.mark.parametrize(
    "at", ["9999-12-31 23:59:59.000000", "0001-01-01 00:00:00.000000", "1899-12-30 00:00:00.000000"]
)
def test_an_undated_image_is_named_once_and_hides_no_other(facility: Facility, at: str) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.add_plate("ODD", {"b.jpg": photograph(2), "c.jpg": photograph(3)}, noon(5))
    with facility.database.writing() as connection:
        connection.execute(text("update inspections set imaged_at = :at where id = 2"), {"at": at})
    facility.score()
    for arguments in ((), ("--all",), ("--days", "30")):
        told = " ".join(status(facility, *arguments).stdout.split())
        assert (
            f"Undated, and so on no day: 2 images of 1 inspections (inspection 2 of plate ODD, dated {at[:19]}" in told
        )
        assert told.count("Undated") == 1
    report = json.loads(status(facility, "--json").stdout)
    assert (report["undated"]["inspections"], report["undated"]["images"]) == (1, 2)
    assert report["scorer_versions"][facility.scorer_version]["total"]["scored"] == 1


def test_what_stands_in_the_database_is_no_markup(facility: Facility) -> None:
    facility.add_plate("[/red]", {"[bold]a.jpg": b""})
    facility.score()
    told = status(facility, "--failures").stdout
    assert "[/red]" in told
    assert "[bold]" in told
