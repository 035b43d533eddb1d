"""A deployment is saved while it works, and earlier backups stay whole whatever happens."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from c4_assets.command.backup import places_of
from c4_assets.operations.backup import databases
from c4_assets.operations.backup import snapshot as snapshots
from c4_assets.operations.backup.saving import save, verify
from c4_assets.operations.backup.snapshot import UNFINISHED, backup_of, backups, new_snapshot, remove_old
from resources.atomic_write import NoRoom
from resources.errors import ConfigurationError, Unavailable
from tests.backup.deployment import NOW, files, saved
from tests.conftest import Facility, noon
from tests.small_disks import small_file_system

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


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


def test_the_next_full_backup_does_not_take_over_a_damaged_file(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    damaged = next((saved(facility, folder).folder / "archive" / "probabilities").rglob("*.parquet"))
    found = damaged.stat()
    damaged.write_bytes(bytes(found.st_size))
    os.utime(damaged, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert not verify(saved(facility, folder, hours=1).folder).well
    assert verify(saved(facility, folder, hours=2, full=True).folder).well


def test_the_newest_backup_is_the_one_that_was_made_last_whatever_the_clock_did_and_others_are_named(
    facility: Facility, folder: Path
) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    first = saved(facility, folder, hours=24).folder
    shutil.copytree(first, folder / "before the upgrade")
    second = saved(facility, folder)
    assert backups(folder) == [first, second.folder]
    assert second.new == 0
    assert backup_of(folder) == second.folder
    assert remove_old(folder, 1) == 1
    assert verify(second.folder).well
    assert (folder / "before the upgrade").is_dir()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"format": 2, "files": {"a": {}}, "release": "9.9"}, "later release of C4 (9.9)"),
        ({"format": "2"}, "cannot be read"),
        ({"format": None}, "cannot be read"),
        ({"files": []}, "cannot be read"),
        ({"files": {"../other": {"sha256": "", "size": 0, "source": []}}}, "names no file of it"),
        ({"files": {"/dev/zero": {"sha256": "", "size": 0, "source": []}}}, "names no file of it"),
        ({"files": {"a\0b": {"sha256": "", "size": 0, "source": []}}}, "names no file of it"),
    ],
)
def test_a_manifest_of_another_release_or_of_nobodys_is_told_in_words(
    folder: Path, changed: dict[str, object], says: str
) -> None:
    folder.mkdir()
    written: dict[str, object] = {"made_at": "", "release": "1", "parts": {}, "files": {}, "format": 1}
    (folder / "manifest.json").write_text(json.dumps({**written, **changed}))
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        verify(folder)


def test_a_backup_whose_files_have_become_links_is_not_taken_for_whole(facility: Facility, folder: Path) -> None:
    facility.add_plate("P1", files(0))
    facility.score()
    file = next((saved(facility, folder).folder / "archive" / "probabilities").rglob("*.parquet"))
    file.rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")
    assert [fault for fault in verify(backup_of(folder)).faults if "but a link" in fault]


@pytest.mark.parametrize("place", ["archive", "dagster"])
def test_a_backup_within_what_is_saved_is_refused(facility: Facility, place: str) -> None:
    facility.add_plate("P1", files(0))
    within = facility.settings.home / place / "backups"
    with pytest.raises(ConfigurationError, match="keep backups in a folder elsewhere"):
        saved(facility, within)
    assert not within.exists()


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


def test_a_full_disk_of_backups_is_named_and_not_the_database_that_is_copied(
    facility: Facility, tmp_path: Path
) -> None:
    facility.add_plate("P1", files(0))
    with small_file_system(tmp_path / "small", "32k") as small:
        with pytest.raises(NoRoom, match=f"The disk of {small}"):
            saved(facility, small / "backups")
        assert backups(small / "backups") == []


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


def test_a_file_that_was_there_before_the_rest_of_its_folder_is_in_a_backup_once(
    facility: Facility, folder: Path
) -> None:
    checkpoints = facility.settings.archive / "checkpoints" / "model" / "2026-03-31"
    checkpoints.mkdir(parents=True)
    (checkpoints / "1.parquet").write_bytes(b"an inspection's scores")
    made = saved(facility, folder)
    assert (made.folder / "archive" / "checkpoints" / "model" / "2026-03-31" / "1.parquet").is_file()
    assert made.new == made.files
