"""A deployment is saved while it works and comes back: every score is found again, and none is made twice."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import text
from typer.testing import CliRunner

from c4_assets.command import app
from c4_assets.command.backup import places_of
from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.backup import databases
from c4_assets.operations.backup import snapshot as snapshots
from c4_assets.operations.backup.databases import rows_of_dump
from c4_assets.operations.backup.restoring import NOTE, restore
from c4_assets.operations.backup.saving import Part, Saved, save, verify
from c4_assets.operations.backup.snapshot import MANIFEST, UNFINISHED, backup_of, backups, new_snapshot, remove_old
from c4_assets.runs.observed import BACKFILL_DAEMONS
from resources.errors import ConfigurationError, Unavailable
from resources.settings import Settings
from testing.postgresql import PASSWORD, Server
from tests.conftest import Facility, noon, photograph

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")

NOW = datetime(2026, 3, 31, 4, 0, tzinfo=UTC)
ALL = frozenset(Part)

MakeFacility = Callable[..., Facility]


def files(first: int) -> dict[str, bytes]:
    return {f"{number}.jpg": photograph(number) for number in range(first, first + 3)}


def saved(facility: Facility, folder: Path, hours: int = 0, full: bool = False) -> Saved:
    return save(folder, places_of(facility.settings), "0.2.0", NOW + timedelta(hours=hours), full)


def put_back(facility: Facility, backup: Path, parts: frozenset[Part] = ALL, force: bool = False) -> list[str]:
    facility.database.engine.dispose()
    return restore(backup, places_of(facility.settings), facility.settings.home, NOW, parts, force)


def destroyed(facility: Facility) -> None:
    """The disk with everything but the images is gone."""
    facility.database.engine.dispose()
    for each in facility.settings.home.iterdir():
        if each != facility.images:
            subprocess.run(["rm", "-r", str(each)], check=True)


def scores(facility: Facility) -> list[tuple[str, str]]:
    """Path and digest of every machine score, each as often as it is there."""
    query = "select path, image_sha256 from scores join images on images.id = image_id order by path"
    return [(path, sha256) for path, sha256 in facility.rows(query)]


def expected(*plates: tuple[str, Mapping[str, bytes]]) -> list[tuple[str, str]]:
    return sorted(
        (f"{plate}/{name}", hashlib.sha256(data).hexdigest()) for plate, of in plates for name, data in of.items()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


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
    assert put_back(facility, backup) == []
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


def test_a_backup_takes_over_what_has_not_changed_and_is_whole_without_the_one_before(
    facility: Facility, folder: Path
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    first = saved(facility, folder)
    facility.add_plate("P2", files(10), noon(2))
    facility.score(noon(2))
    second = saved(facility, folder, hours=1)
    day = next((first.folder / "archive" / "probabilities").rglob("*.parquet")).relative_to(first.folder)
    assert (first.folder / day).samefile(second.folder / day)
    assert not (second.folder / day).samefile(facility.settings.home / day), "never the deployment's own file"
    assert second.new < second.files
    assert saved(facility, folder, hours=2).new == 0
    assert remove_old(folder, 1) == 2
    assert backups(folder) == [backup_of(folder)]
    assert verify(backup_of(folder)).well


def test_a_backup_that_is_killed_at_any_file_leaves_earlier_ones_whole_and_the_next_one_succeeds(
    facility: Facility, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    saved(facility, folder)
    facility.add_plate("P2", files(10), noon(2))
    facility.score(noon(2))
    original, at = snapshots.sha256_of, 0

    def dies(file: Path) -> str:
        nonlocal at
        at -= 1
        if at < 0:
            raise KeyboardInterrupt
        return original(file)

    monkeypatch.setattr(snapshots, "sha256_of", dies)
    killed_at = 0
    for killed_at in range(100):
        at = killed_at
        try:
            saved(facility, folder, hours=1)
            break
        except KeyboardInterrupt:
            assert len(backups(folder)) == 1
    assert killed_at > 3
    monkeypatch.setattr(snapshots, "sha256_of", original)
    assert [verify(each).well for each in backups(folder)] == [True, True]
    assert not (folder / UNFINISHED).exists()


def test_a_backup_is_of_one_moment_while_others_write(facility: Facility, folder: Path) -> None:
    facility.add_plate("P0", files(0))
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            time.sleep(0.005)
            with facility.database.writing() as connection:
                for table in ("one", "other"):
                    connection.execute(text(f"insert into {table} values ({number})"))

    with facility.database.writing() as connection:
        for table in ("one", "other"):
            connection.execute(text(f"create table {table} (number integer)"))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [saved(facility, folder, hours=number).folder for number in range(3)]
    finally:
        over.set()
        writer.join()
    for backup in made:
        with closing(sqlite3.connect(backup / "database" / "imaging.db")) as connection:
            counts = [connection.execute(f"select count(*) from {table}").fetchone()[0] for table in ("one", "other")]
        assert counts[0] == counts[1]


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


def test_the_next_full_backup_does_not_take_over_a_damaged_file(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    damaged = next((saved(facility, folder).folder / "archive" / "probabilities").rglob("*.parquet"))
    found = damaged.stat()
    damaged.write_bytes(bytes(found.st_size))
    os.utime(damaged, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert not verify(saved(facility, folder, hours=1).folder).well
    assert verify(saved(facility, folder, hours=2, full=True).folder).well


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
    moved = put_back(facility, backup, force=True)
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


def test_only_one_backup_into_a_folder_is_made_at_a_time(folder: Path) -> None:
    with (
        new_snapshot(folder, NOW),
        pytest.raises(ConfigurationError, match="Another backup"),
        new_snapshot(folder, NOW),
    ):
        pass


def test_a_backup_that_cannot_be_written_is_told_in_words_and_is_none(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        "from c4_assets.command import main; sys.argv = ['c4', 'backup', sys.argv[1]]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, str(folder)],
        env={**os.environ, "C4_HOME": str(facility.settings.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert backups(folder) == []


def test_postgresql_is_saved_by_its_own_program_and_every_score_is_found_in_dump_and_restored_database(
    make_facility: MakeFacility,
    postgresql_server: Server,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgresql_server.address("backed_up")
    facility = make_facility(database={"url": url})
    facility.add_plate("P1", {**files(0), "a\tb\u00e4.jpg": photograph(7)})
    facility.score()
    names = {"HOST": "127.0.0.1", "PORT": str(postgresql_server.port), "USER": "c4", "PASSWORD": PASSWORD}
    for name, value in {**names, "DB": "dagsters"}.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    postgresql_server.address("dagsters")
    postgresql_server.execute("create table runs (id serial primary key, run_id text)", "dagsters")
    postgresql_server.execute("insert into runs (run_id) values ('one')", "dagsters")
    places = replace(places_of(facility.settings), dagster_database=access_of_dagster())
    backup = save(folder, places, "0.2.0", NOW).folder
    found = verify(backup).scores
    assert found is not None
    assert (found.written, found.found, found.well) == (4, 4, True)
    assert PASSWORD not in (backup / MANIFEST).read_text()
    assert [row["run_id"] for row in rows_of_dump(backup / "dagster-database" / "dagster.dump", "runs")] == ["one"]
    before = scores(facility)

    with pytest.raises(ConfigurationError, match="has rows"):
        restore(backup, places, facility.settings.home, NOW, {Part.DATABASE, Part.DAGSTER}, force=False)
    facility.add_plate("P2", files(10))
    facility.score()
    facility.database.engine.dispose()
    moved = restore(backup, places, facility.settings.home, NOW, {Part.DATABASE, Part.DAGSTER}, force=True)
    assert len(moved) == 2
    assert scores(facility) == before
    aside = "select count(*) from before_restore_20260331t040000z.scores"
    assert postgresql_server.execute(aside, "backed_up")[0][0] == 7
    facility.add_plate("P2", files(10))
    facility.score()
    assert len(scores(facility)) == 7, "numbers are given again after a restore"


def access_of_dagster() -> Any:
    settings = Settings(runs={"dagster_storage": "postgres"})  # type: ignore[arg-type]
    return places_of(settings).dagster_database


def test_a_database_of_another_kind_than_the_backups_is_refused(
    make_facility: MakeFacility, facility: Facility, folder: Path, tmp_path: Path
) -> None:
    facility.add_plate("P1", files(0))
    backup = saved(facility, folder).folder
    places = replace(places_of(facility.settings), database=None, database_address="oracle+oracledb://lims/")
    with pytest.raises(ConfigurationError, match=r"imaging database of SQLite.*oracle"):
        restore(backup, places, facility.settings.home, NOW, ALL, force=True)


def test_what_a_dba_saves_is_told_with_how(facility: Facility, folder: Path) -> None:
    places = replace(places_of(facility.settings), database=None, database_address="oracle+oracledb://lims/")
    made = save(folder, places, "0.2.0", NOW)
    assert "expdp" in made.unsaved[0]
    assert verify(made.folder).scores is None
    assert verify(made.folder).well


def test_a_database_that_does_not_answer_leaves_no_backup(facility: Facility, folder: Path) -> None:
    database = facility.settings.home / "imaging.db"
    facility.database.engine.dispose()
    database.write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match="cannot be copied"):
        saved(facility, folder)
    assert backups(folder) == []


def test_a_database_that_stays_locked_ends_the_backup_in_words(
    facility: Facility, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.database.engine.dispose()
    monkeypatch.setattr(databases, "SQLITE_WAIT_S", 0.5)
    with closing(sqlite3.connect(facility.settings.home / "imaging.db", isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = delete")
        connection.execute("begin exclusive")
        with pytest.raises(Unavailable, match="locked"):
            saved(facility, folder)
    assert backups(folder) == []


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
    assert c4("restore", str(folder)).count("3 of 3 scores are in the archive") == 2
    assert scores(facility) == expected(("P1", files(0)))
