"""A deployment comes back: every score is found again, and none is made twice."""

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.command.backup import places_of
from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.backup.restoring import NOTE, restore
from c4_assets.operations.backup.saving import Part, save, verify
from c4_assets.operations.backup.snapshot import MANIFEST, backup_of, backups, files_below
from c4_assets.runs.observed import BACKFILL_DAEMONS
from resources.errors import ConfigurationError
from tests.backup.deployment import ALL, NOW, MakeFacility, destroyed, expected, files, put_back, saved, scores
from tests.conftest import Facility, noon

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def test_every_score_is_found_again_in_a_backup_and_after_it_was_restored(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    (facility.settings.data / "people.json").write_text('{"Ada": 1}')
    subscriptions = facility.settings.data / "subscriptions" / "subscriptions.json"
    subscriptions.parent.mkdir()
    subscriptions.write_text("[]")
    backup = saved(facility, folder).folder
    found = verify(backup).scores
    assert found is not None
    assert (found.written, found.kept, found.found, found.well) == (3, 3, 3, True)
    before = scores(facility)
    destroyed(facility)
    assert put_back(facility, backup).moved == ()
    assert scores(facility) == before == expected(("P1", files(0)))
    assert json.loads((facility.settings.data / "people.json").read_text()) == {"Ada": 1}
    assert subscriptions.read_text() == "[]"
    seen = len(facility.seen)
    facility.score()
    assert len(facility.seen) == seen, "nothing is classified again"


def test_images_scored_between_backup_and_crash_are_pending_again_and_scored_once(
    facility: Facility, folder: Path
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    backup = saved(facility, folder).folder
    facility.add_plate("P2", files(10))
    facility.score()
    destroyed(facility)
    put_back(facility, backup)
    facility.add_plate("P2", files(10))
    assert facility.progress().scored == 3
    facility.score()
    facility.score()
    assert scores(facility) == expected(("P1", files(0)), ("P2", files(10)))


def test_an_archive_that_is_newer_than_the_restored_database_gives_no_image_anothers_score(
    facility: Facility, folder: Path
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    backup = saved(facility, folder).folder
    facility.add_plate("P2", files(10))
    facility.add_plate("P3", files(20))
    facility.score()
    put_back(facility, backup, frozenset({Part.DATABASE}), force=True)
    facility.add_plate("P3", files(20))  # the numbers that P2 had
    facility.add_plate("P2", files(10))
    facility.score()
    facility.score()
    assert scores(facility) == expected(("P1", files(0)), ("P2", files(10)), ("P3", files(20)))


def test_a_database_that_is_newer_than_the_restored_archive_keeps_its_scores_and_those_are_named(
    facility: Facility, folder: Path
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    backup = saved(facility, folder).folder
    facility.add_plate("P2", files(10), noon(2))
    facility.score(noon(2))
    put_back(facility, backup, frozenset({Part.ARCHIVE}), force=True)
    facility.score(noon(2))
    assert scores(facility) == expected(("P1", files(0)), ("P2", files(10)))
    later = verify(saved(facility, folder, hours=1).folder)
    assert later.scores is not None
    assert (later.scores.written, later.scores.found, later.scores.lost_count) == (6, 3, 3)
    assert any(
        "P2/10.jpg" in sentence and "the archive has no such score" in sentence for sentence in later.scores.lost
    )
    assert not later.well


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("database/imaging.db", "is not as it was saved"),
        ("archive/probabilities", "is not as it was saved"),
        (MANIFEST, "its manifest.json cannot be read"),
    ],
)
def test_a_damaged_backup_is_not_restored(facility: Facility, folder: Path, name: str, says: str) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    backup = saved(facility, folder).folder
    damaged = backup / name if (backup / name).is_file() else next((backup / name).rglob("*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content if name != MANIFEST else content[:100])
    done = CliRunner().invoke(app, ["restore", str(backup)], env={"C4_HOME": str(facility.settings.home)})
    told = done.output + str(done.exception)
    assert done.exit_code == 1
    assert says in told
    assert scores(facility) == expected(("P1", files(0)))


def test_a_deployment_that_has_something_is_not_overwritten_but_moved_aside_when_asked(
    facility: Facility, folder: Path
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    backup = saved(facility, folder).folder
    facility.add_plate("P2", files(10))
    facility.score()
    with pytest.raises(ConfigurationError, match=r"imaging\.db has rows.*Nothing has been changed"):
        put_back(facility, backup)
    assert len(scores(facility)) == 6
    moved = put_back(facility, backup, force=True).moved
    assert len(scores(facility)) == 3
    aside = facility.settings.home / "imaging.db.before-restore-20260331T040000Z"
    assert any(str(aside) in each for each in moved)
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("select count(*) from scores").fetchone()[0] == 6


def test_a_restore_that_is_killed_goes_on_where_it_was(
    facility: Facility, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    backup = saved(facility, folder).folder
    destroyed(facility)
    replace_file = os.replace

    def dies(source: Path, target: Path) -> None:
        if Path(target).name == "imaging.db":
            raise KeyboardInterrupt
        replace_file(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            put_back(facility, backup)
    assert (facility.settings.home / NOTE).is_file()
    put_back(facility, backup)
    assert not (facility.settings.home / NOTE).exists()
    assert scores(facility) == expected(("P1", files(0)))


def test_what_a_restore_of_another_backup_has_left_is_no_part_of_this_one(
    facility: Facility, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    first = saved(facility, folder).folder
    facility.add_plate("P2", files(10), noon(2))
    facility.score(noon(2))
    second = saved(facility, folder, hours=1).folder
    destroyed(facility)

    replace_file = os.replace

    def dies(source: Path, target: Path) -> None:
        if Path(target) == facility.settings.archive:
            raise KeyboardInterrupt
        replace_file(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            put_back(facility, second, frozenset({Part.ARCHIVE}))
    put_back(facility, first)
    archive = facility.settings.archive
    assert {file.relative_to(archive) for file in files_below(archive)} == {
        file.relative_to(first / "archive") for file in files_below(first / "archive")
    }


def test_a_database_of_another_kind_than_the_backups_is_refused(
    make_facility: MakeFacility, facility: Facility, folder: Path, tmp_path: Path
) -> None:
    facility.add_plate("P1", files(0))
    backup = saved(facility, folder).folder
    places = replace(places_of(facility.settings), database=None, database_address="oracle+oracledb://lims/")
    with pytest.raises(ConfigurationError, match=r"imaging database of SQLite.*oracle"):
        restore(backup, places, facility.settings.home, NOW, ALL, force=True)


@pytest.mark.parametrize("dagster_home", [".", ".."])
def test_a_folder_that_holds_other_parts_is_not_put_back_as_a_whole(
    facility: Facility, folder: Path, dagster_home: str
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    facility.settings.dagster_home.mkdir(exist_ok=True)
    (facility.settings.dagster_home / "dagster.yaml").touch()
    backup = saved(facility, folder).folder
    home = facility.settings.home
    places = replace(places_of(facility.settings), dagster_home=(home / dagster_home).resolve())
    with pytest.raises(ConfigurationError, match="is within it"):
        restore(backup, places, home, NOW, ALL, force=True)
    assert scores(facility) == expected(("P1", files(0)))
    restore(backup, places, home, NOW, ALL - {Part.DAGSTER}, force=True)
    assert scores(facility) == expected(("P1", files(0)))


def test_what_dagster_knows_of_its_runs_comes_back(facility: Facility, folder: Path) -> None:
    nothing: dg.JobDefinition = cast("Any", dg.GraphDefinition("nothing")).to_job()  # a run of no steps
    settings = facility.settings
    with dagster_instance(settings) as instance:
        run_id = nothing.execute_in_process(instance=instance).run_id
    backup = saved(facility, folder).folder
    again = saved(facility, folder, hours=1)
    shard = Path("dagster") / "history" / "runs" / f"{run_id}.db"
    assert (backup / shard).samefile(again.folder / shard)
    assert verify(again.folder).faults == ()
    with pytest.raises(ConfigurationError, match="has runs"):
        put_back(facility, again.folder, frozenset({Part.DAGSTER}))
    destroyed(facility)
    put_back(facility, again.folder)
    with dagster_instance(settings) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_SUCCESS)


def test_a_restore_beside_a_living_daemon_is_refused(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    saved(facility, folder)
    with dagster_instance(facility.settings) as instance:
        for daemon in BACKFILL_DAEMONS:
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), daemon, "one", []))
    done = CliRunner().invoke(app, ["restore", "--force", str(folder)], env={"C4_HOME": str(facility.settings.home)})
    assert "stop the services" in str(done.exception)
    assert len(facility.rows("select * from images")) == 3


def test_the_commands_save_verify_and_restore(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    environment = {"C4_HOME": str(facility.settings.home), "COLUMNS": "200"}

    def c4(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), env=environment, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    c4("backup", str(folder))
    assert "files, of which" in c4("backup", str(folder), "--keep", "1")
    assert len(backups(folder)) == 1
    assert "3 of 3 scores are in the archive" in c4("restore", "--verify", str(folder))
    destroyed(facility)
    with dagster_instance(facility.settings):  # a part that the backup is without
        pass
    told = c4("restore", str(folder), "--only", "database", "--only", "archive")
    assert told.count("3 of 3 scores are in the archive") == 2
    home = facility.settings.home
    for part, place in (("database", home / "imaging.db"), ("archive", facility.settings.archive)):
        assert f"Put back, of the part {part}: {place}.\n" in told
    assert "Not put back, because --only does not name it: dagster.\n" in told
    assert scores(facility) == expected(("P1", files(0)))


def test_what_is_not_in_a_backup_is_told_and_settings_stay_as_they_are(facility: Facility, folder: Path) -> None:
    """A backup beside a LIMS, whose administrator saves the database."""
    facility.add_plate("P1", files(0))
    facility.score()
    site_file = facility.settings.home / "c4.toml"
    site_file.write_text("scratch_gigabytes = 3\n")
    places = replace(places_of(facility.settings), database=None, database_address="lims", site_file=site_file)
    save(folder, places, "0.2.0", NOW)
    site_file.write_text("scratch_gigabytes = 4\n")
    environment = {"C4_HOME": str(facility.settings.home), "COLUMNS": "200"}
    told = CliRunner().invoke(app, ["restore", "--force", str(folder)], env=environment).output
    assert "Not put back, because the backup does not have it: database (lims is saved by its administrator" in told
    assert f"Never put back: {backup_of(folder) / 'c4.toml'}" in told
    assert site_file.read_text() == "scratch_gigabytes = 4\n"
    assert len(scores(facility)) == 3
