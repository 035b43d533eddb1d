"""One backup as a folder: made under another name, renamed when it is whole, and described by a manifest.

A backup holds every file. One that has not changed since the backup before is a hard link to it, so the tenth backup
of an archive takes the room of what is new. It is never a link to the deployment's own file: what damages that one in
its place would damage its backup.
"""

import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from resources.atomic_write import TEMPORARY_NAME, atomic_write, full_disk_named, remove_abandoned, sync
from resources.errors import ConfigurationError
from resources.file_lock import locked

MANIFEST = "manifest.json"
FORMAT = 1
UNFINISHED = ".unfinished"
"""The folder of a backup that is being made, or was interrupted: the next one takes what is in it."""

NAME = "%Y-%m-%dT%H%M%S.%fZ"
LOCK = ".c4-backup.lock"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """A file of a backup.

    Attributes:
        source: size and time of change of what it was made from, where that is a database, whose copy has others.
    """

    sha256: str
    size: int
    source: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What stands in ``manifest.json``: what was saved, of what, when and by which release.

    Attributes:
        parts: where each part of the deployment came from, without passwords; those that could not be saved by C4 say
            why.
    """

    made_at: str
    release: str
    parts: dict[str, str]
    files: dict[str, FileEntry]
    format: int = FORMAT


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        ConfigurationError: the folder is no backup, or one of a later release.
    """
    try:
        read: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if read["format"] > FORMAT:  # before the rest is looked at, which may be another
            raise ConfigurationError(
                f"{folder} was made by a later release of C4 ({read.get('release')}): use that one."
            )
        files = {
            _name_within(name): FileEntry(entry["sha256"], entry["size"], tuple(entry["source"]))
            for name, entry in read.pop("files").items()
        }
        return Manifest(files=files, **read)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"{folder} is no backup: its {MANIFEST} cannot be read ({error}).") from error


def _name_within(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} names no file of it")
    return name


def backups(folder: Path) -> list[Path]:
    """The whole backups in a folder, the oldest first. What somebody has copied under another name is none of them."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if _is_dated(each.name) and (each / MANIFEST).is_file())


def _is_dated(name: str) -> bool:
    try:
        datetime.strptime(name, NAME)
    except ValueError:
        return False
    return True


def backup_of(folder: Path) -> Path:
    """The backup that a folder is, or the newest one in it.

    Raises:
        ConfigurationError: there is none.
    """
    if (folder / MANIFEST).is_file():
        return folder
    if found := backups(folder):
        return found[-1]
    raise ConfigurationError(f"There is no backup in {folder}: `c4 backup {folder}` makes one.")


class Snapshot:
    """A backup that is being made. Every file comes into it whole, and the order does not matter."""

    def __init__(self, root: Path, place: Path, before: Path | None, known: dict[str, FileEntry]) -> None:
        self.root = root
        self.place = place
        """Where it is when it is whole."""
        self._before = before
        self._known = known
        self.files: dict[str, FileEntry] = {}
        self.new = 0
        self.new_bytes = 0

    def add(self, name: str, file: Path) -> None:
        """Copies a file that is only ever replaced as a whole; one that has gone meanwhile is left out.

        A second time, under the same name, it does nothing.

        Raises:
            NoRoom: the disk of the backup is full.
        """
        if name in self.files:
            return
        try:
            opened = file.open("rb")
        except FileNotFoundError:
            return
        with opened:
            found, target = os.fstat(opened.fileno()), self.root / name
            stamp = found.st_size, found.st_mtime_ns
            if self._taken_over(name, stamp):
                return
            if not (target.is_file() and _stamp(target) == stamp):  # an interrupted backup may have had it
                with writing(target) as temporary, temporary.open("wb") as copy:
                    os.fchmod(copy.fileno(), found.st_mode & 0o777)
                    shutil.copyfileobj(opened, copy, CHUNK_BYTES)
                    copy.flush()
                    os.utime(temporary, ns=(found.st_atime_ns, found.st_mtime_ns))
        self._enter(name, target)

    def add_tree(self, name: str, folder: Path) -> None:
        """Copies the files below a folder, but for locks and what is being written."""
        for file in sorted(files_below(folder)):
            self.add(f"{name}/{file.relative_to(folder).as_posix()}", file)

    def unchanged(self, name: str, source: tuple[int, ...]) -> bool:
        """Takes a file over from the backup before if it was made of the same."""
        entry = self._known.get(name)
        if self._before is None or entry is None or not entry.source or entry.source != source:
            return False
        return self._link(name, entry)

    def made(self, name: str, source: tuple[int, ...] = ()) -> None:
        """Says that a file of this name has been put into the backup's folder."""
        self._enter(name, self.root / name, source)

    def _taken_over(self, name: str, stamp: tuple[int, int]) -> bool:
        entry = self._known.get(name)
        if self._before is None or entry is None:
            return False
        try:
            same = _stamp(self._before / name) == stamp
        except OSError:
            return False
        return same and self._link(name, entry)

    def _link(self, name: str, entry: FileEntry) -> bool:
        assert self._before is not None  # noqa: S101 (who asks has looked)
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(self._before / name, target)
        except OSError:  # a file system without hard links, or too many of them: it is copied
            return False
        self.files[name] = entry
        return True

    def _enter(self, name: str, file: Path, source: tuple[int, ...] = ()) -> None:
        self.files[name] = FileEntry(sha256_of(file), file.stat().st_size, source)
        self.new += 1
        self.new_bytes += self.files[name].size


@contextmanager
def writing(target: Path) -> Generator[Path]:
    """A path beside a file of a backup, which is renamed to it when the block has ended without an error.

    Raises:
        NoRoom: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_named(target):
        temporary = target.with_name(TEMPORARY_NAME.format(unique=uuid.uuid4().hex))
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_snapshot(folder: Path, now: datetime, full: bool = False) -> Generator[Snapshot]:
    """A backup that is in the folder, under its time, when the block has ended without an error.

    Args:
        full: copy everything anew, and link nothing to the backup before: for one in which a file was damaged.

    Raises:
        ConfigurationError: another backup into this folder is being made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK, timeout=0):
            root = folder / UNFINISHED
            if full:
                shutil.rmtree(root, ignore_errors=True)
            root.mkdir(mode=0o700, exist_ok=True)
            before = next(reversed(backups(folder)), None)
            known = read_manifest(before).files if before and not full else {}
            place = folder / _moment_after(before, now).strftime(NAME)
            snapshot = Snapshot(root, place, before if not full else None, known)
            yield snapshot
            _drop_others(snapshot)
            with full_disk_named(root):
                sync_folders(root)
            os.replace(root, place)
            sync(folder)
    except TimeoutError as error:
        raise ConfigurationError(f"Another backup into {folder} is being made.") from error


def _moment_after(before: Path | None, now: datetime) -> datetime:
    """What a backup is named by: the newest is the last by its name, also where the clock was put back."""
    if before is None:
        return now
    return max(now, datetime.strptime(before.name, NAME).replace(tzinfo=UTC) + timedelta(microseconds=1))


def write_manifest(snapshot: Snapshot, manifest: Manifest) -> None:
    """Puts the manifest down, the last file of a backup."""
    with atomic_write(snapshot.root / MANIFEST) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")


def remove_old(folder: Path, keep: int) -> int:
    """Removes all but the newest backups of a folder; each goes under another name first. Returns how many went."""
    old = backups(folder)[:-keep]
    for each in old:
        gone = each.with_name(f".removing-{each.name}")
        os.replace(each, gone)
    for gone in folder.glob(".removing-*"):
        shutil.rmtree(gone, ignore_errors=True)
    return len(old)


def damaged_files(folder: Path, manifest: Manifest) -> list[str]:
    """What of a backup is not as it was made, a sentence each. Every file is read."""
    found: list[str] = []
    for name, entry in manifest.files.items():
        file = folder / name
        try:
            # What is no file may have no end, and restoring leaves links out.
            if not stat.S_ISREG(file.lstat().st_mode):
                found.append(f"{name} is not as it was saved, but a link or no file")
            elif file.stat().st_size != entry.size or sha256_of(file) != entry.sha256:
                found.append(f"{name} is not as it was saved")
        except OSError as error:
            found.append(f"{name} cannot be read: {error.strerror}")
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, links aside, but for locks and what is being written."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each != "locks")
        for name in names:
            file = Path(at) / name
            if not (name.startswith(".c4-") or name.endswith(".lock") or file.is_symlink()):
                yield file


def sha256_of(file: Path) -> str:
    """The digest of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync_folders(root: Path) -> None:
    """Puts the names of all that is in a folder on the disk."""
    for at, _, _ in os.walk(root):
        sync(Path(at))


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _drop_others(snapshot: Snapshot) -> None:
    """Removes what an interrupted backup had put down and this one did not want."""
    for file in list(files_below(snapshot.root)):
        name = file.relative_to(snapshot.root).as_posix()
        if name not in snapshot.files and name != MANIFEST:
            file.unlink()
    for at, _, _ in os.walk(snapshot.root):
        remove_abandoned(Path(at))
