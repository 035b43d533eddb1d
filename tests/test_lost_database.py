"""An embedded database whose file is lost or exchanged: nobody puts an empty one in its place, or keeps reading it."""

import math
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.command.doctor import look_around
from c4_assets.command.metrics import all_sources
from c4_assets.operations.metrics.sources import Sources
from resources.errors import ConfigurationError, Unavailable
from resources.findings import Verdict
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.contract import check
from tests.conftest import Facility, photograph

ANSWER = ["db", "check"], ["db", "seed-classes"], ["backlog"], ["status"]
WORK = ["db", "upgrade"], ["run", "--pending"], ["import", "."]


def said(home: Path, *arguments: str, **variables: str) -> str:
    """The error with which a command ends."""
    result = CliRunner().invoke(app, [*arguments], env={"C4_HOME": str(home), **variables})
    assert result.exit_code, result.output
    assert isinstance(result.exception, ConfigurationError), repr(result.exception)
    return str(result.exception)


@pytest.fixture
def scored(facility: Facility) -> Facility:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.score()
    facility.database.engine.dispose()
    return facility


def file_of(facility: Facility) -> Path:
    return facility.settings.home / "imaging.db"


def move_away(file: Path) -> None:
    shutil.move(file, f"{file}.moved")


def empty(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("lose", [move_away, empty])
@pytest.mark.parametrize("command", [*ANSWER, *WORK], ids=" ".join)
def test_no_command_makes_a_database_where_one_is_lost(
    scored: Facility, command: list[str], lose: Callable[[Path], None]
) -> None:
    file = file_of(scored)
    lose(file)
    if lose is empty and command == ["db", "seed-classes"]:
        assert "lacks C4's tables" in said(scored.settings.home, *command)
    else:
        assert "c4 restore" in said(scored.settings.home, *command)
    if lose is move_away:
        assert not file.exists()
    else:
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("select name from sqlite_master").fetchall() == []


def test_the_doctor_says_that_a_database_is_lost_and_does_not_make_another(
    scored: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_away(file_of(scored))
    monkeypatch.setenv("C4_HOME", str(scored.settings.home))
    (found,) = (each.findings for each in look_around(patience=30) if each.check.id == "database.answers")
    assert [(each.verdict, each.safe) for each in found] == [(Verdict.FAILED, False)]
    assert "c4 restore" in found[0].fix


def test_what_is_left_of_a_file_that_was_moved_is_not_lost_to_a_new_one(facility: Facility) -> None:
    with facility.database.engine.connect() as reader:  # keeps the last writer from putting its rows into the file
        reader.execute(text("select 1 from plates"))
        facility.add_plate("P1", {"a.jpg": photograph(1)})
        file = file_of(facility)
        log = file.with_name("imaging.db-wal")
        rows = log.read_bytes()
        move_away(file)
        assert rows
        assert "imaging.db-wal" in said(facility.settings.home, "db", "upgrade")
    log.write_bytes(rows)
    shutil.move(f"{file}.moved", file)
    assert facility.rows("select barcode from plates") == [("P1",)]


@pytest.mark.parametrize("command", [["db", "check"], ["db", "seed-classes"]], ids=" ".join)
def test_a_question_makes_no_new_deployment(command: list[str], tmp_path: Path) -> None:
    assert "There is no imaging database" in said(tmp_path / "nowhere", *command)
    assert not (tmp_path / "nowhere").exists()


def test_the_backlog_of_a_deployment_without_dagster_is_shown_and_nothing_is_made(scored: Facility) -> None:
    shutil.rmtree(scored.settings.dagster_home, ignore_errors=True)
    before = {file for file in scored.settings.home.rglob("*") if not file.name.endswith(("-wal", "-shm"))}
    shown = CliRunner().invoke(app, ["backlog"], env={"C4_HOME": str(scored.settings.home)})
    assert shown.exit_code == 0, shown.output
    after = {file for file in scored.settings.home.rglob("*") if not file.name.endswith(("-wal", "-shm"))}
    assert after == before


def test_what_lives_sees_that_the_file_is_gone_and_reads_the_one_that_takes_its_place(scored: Facility) -> None:
    file = file_of(scored)
    kept = shutil.copy2(file, file.with_name("backup"))
    sources = [source for source in all_sources(scored.settings) if source.name == "database"]

    def up() -> object:
        samples = Sources(sources).samples(math.inf)
        return next(each.value for each in samples if each.name == "c4_database_up")

    assert up() == 1
    move_away(file)
    assert up() == 0
    os.replace(kept, file)
    assert up() == 1
    with scored.database.reading() as connection:
        assert connection.scalar(text("select count(*) from scores")) == 1
    move_away(file)
    with pytest.raises(ConfigurationError, match="is lost"), scored.database.reading():
        pass


def test_a_password_beside_a_file_is_named_and_no_traceback(facility: Facility) -> None:
    told = said(facility.settings.home, "status", C4_DATABASE_PASSWORD="pl4nted-secret")
    assert "C4_DATABASE_PASSWORD" in told
    assert "pl4nted-secret" not in told


@pytest.mark.parametrize("address", ["sqlite://c4@/imaging.db", "sqlite://host/imaging.db", "sqlite://:pw@/imaging.db"])
def test_an_address_of_a_file_with_parts_of_a_servers_is_refused_in_words(address: str) -> None:
    with pytest.raises(ConfigurationError, match="an SQLite database is a file"):
        ImagingDatabase(address)


def test_a_disk_that_refuses_is_an_outage_in_words(facility: Facility) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with (
            pytest.raises(Unavailable, match=r"cannot be read or written \(disk I/O error\)"),
            facility.database.writing() as connection,
        ):
            connection.execute(text("insert into plates (barcode) values (:name)"), {"name": "P" * 100_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_damaged_file_is_told_with_how_to_put_a_backup_back(scored: Facility) -> None:
    file = file_of(scored)
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(file.stat().st_size - 4096))
    with pytest.raises(ConfigurationError, match=r"is damaged .*c4 restore"):
        check(scored.database)
