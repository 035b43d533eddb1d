"""Locks hold or say that they do not: never a lock that stays when its holder is gone."""

import errno
import fcntl
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from resources.archive.score_archive import ScoreArchive
from resources.errors import ConfigurationError
from resources.file_lock import locked, refuse_folder_without_locks, why_not_held

HOLD = """\
import sys, time; from pathlib import Path; from resources.file_lock import locked
with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)
"""


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK], ids=errno.errorcode.get)
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that answers flock as Lustre without the option flock does, and others."""

    def refused(_: object, __: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refused)


def test_a_lock_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    assert why_not_held(file) == ""
    with pytest.raises(TimeoutError), locked(file, timeout=0.1):
        pass
    holder.kill()
    holder.wait(10)
    holder.stdout.close()
    with locked(file, timeout=10):
        assert why_not_held(file) == ""


@pytest.mark.usefixtures("without_locks")
def test_a_file_system_without_locks_is_refused_with_what_to_do(tmp_path: Path) -> None:
    said = r"has no locks that other machines see .*mount it with them \(Lustre: the option flock"
    with pytest.raises(ConfigurationError, match=said):
        refuse_folder_without_locks(tmp_path / "archive")
    with pytest.raises(ConfigurationError, match=said), locked(tmp_path / "lock"):
        pytest.fail("Nothing may be done without the lock.")
    assert "has no locks" in why_not_held(tmp_path / "lock")


@pytest.mark.usefixtures("without_locks")
def test_a_day_is_not_merged_without_a_lock(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no locks"):
        ScoreArchive(tmp_path, "engine.v1", "scorer.v1").merge(date(2026, 3, 1))


def test_a_lock_that_is_not_seen_as_held_says_why(tmp_path: Path) -> None:
    assert "not the same folder" in why_not_held(tmp_path / "lock")
    (tmp_path / "lock").touch()
    assert "does not hold on another" in why_not_held(tmp_path / "lock")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    refuse_folder_without_locks(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file cannot be written to"):
        refuse_folder_without_locks(tmp_path / "file")
