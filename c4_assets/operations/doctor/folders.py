"""Checks of the folders: whether they are there, have room, can be written to, hold locks, and keep the time."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from c4_assets.operations.alerts.records import Severity
from c4_assets.operations.disks import GB, WARNING_INODES, room_of, severity_of
from c4_assets.operations.doctor.examine import Check
from resources.clock_skew import skew
from resources.errors import ConfigurationError
from resources.file_lock import refuse_folder_without_locks
from resources.findings import Finding, Verdict
from resources.settings import Settings

SECTION = "Folders"


def folders_of(settings: Settings) -> dict[str, Path]:
    """The folders of a deployment that must be there, by what they are for."""
    archive = settings.data if settings.archive.is_relative_to(settings.data) else settings.archive
    staging = settings.scratch if settings.staging.is_relative_to(settings.scratch) else settings.staging
    folders = {"home": settings.home, "data": archive, "scratch": staging, "dagster_home": settings.dagster_home}
    # Where they lie in those folders, they are made when they are needed.
    inner = {"thumbnails": (settings.thumbnails, settings.data), "logs": (settings.logs.folder, settings.home)}
    return folders | {name: folder for name, (folder, above) in inner.items() if not folder.is_relative_to(above)}


def folder_checks(settings: Settings) -> list[Check]:
    """The checks of this section: one a folder, however many things it is for."""
    uses: dict[Path, list[str]] = {}
    for name, folder in folders_of(settings).items():
        uses.setdefault(folder, []).append(name)
    return [_check(", ".join(names), f"folders.{names[0]}", folder, settings) for folder, names in uses.items()]


def _check(name: str, id_: str, folder: Path, settings: Settings) -> Check:
    def make() -> Iterator[str]:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            yield f"made the folder {folder}"

    return Check(
        id_,
        SECTION,
        f"{name} {folder}",
        lambda: look_at(name, id_, folder, round(settings.scratch_gigabytes * 1e9)),
        silence=f"Its file system hangs: see whether its server is up (`ls {folder}`), and mount it again.",
        mend=make,
    )


def look_at(name: str, id_: str, folder: Path, staging_bytes: int) -> Iterator[Finding]:
    """What there is to say of one folder. Nothing stays in it.

    Args:
        staging_bytes: room that fetching may take in ``scratch``.
    """
    if not folder.is_dir():
        what = f"{name} {folder} is not there"
        fix = f"Mount what belongs there, or make it: mkdir -p {folder}"
        yield Finding(id_, what, Verdict.FAILED, fix, safe=not folder.exists())
        return
    try:
        refuse_folder_without_locks(folder)
        behind = _file_systems_clock(folder)
    except (ConfigurationError, OSError) as error:
        # Also of a disk without any room: what is said of the room then says why.
        yield Finding(id_, f"{name} {folder}", Verdict.FAILED, str(error))
        yield from _room(name, id_, folder, 0, only_trouble=True)
        return
    yield from _room(name, id_, folder, staging_bytes if "scratch" in name else 0)
    late = skew(f"{id_}.clock", f"the file system of {folder}", behind)
    if late.verdict is not Verdict.PASSED:
        yield late


def _room(name: str, id_: str, folder: Path, wanted: int, *, only_trouble: bool = False) -> Iterator[Finding]:
    room = room_of(folder)
    told = f"{name} {folder}: {room.bytes_free / GB:,.1f} GB free ({room.share:.0%}), {room.inodes_share:.0%} of inodes"
    where = f"See what fills it: du -xh --max-depth=2 {folder} | sort -h | tail"
    severity = severity_of(room)
    if severity and room.inodes_share < WARNING_INODES:
        verdict = Verdict.FAILED if severity is Severity.ERROR else Verdict.WARNED
        fix = f"It has no place for more files: du --inodes -x --max-depth=2 {folder} | sort -n | tail"
        yield Finding(f"{id_}.inodes", told, verdict, fix)
    elif severity is Severity.ERROR:
        yield Finding(f"{id_}.space", told, Verdict.FAILED, f"Make room, or enlarge it. {where}")
    elif severity:
        yield Finding(f"{id_}.space", f"{told}: it is filling up", Verdict.WARNED, where)
    elif room.bytes_free < wanted:
        fix = "Lower scratch_gigabytes, or give it a disk of its own: fetching stops when the disk is full."
        yield Finding(f"{id_}.space", f"{told}, and scratch_gigabytes is {wanted / GB:,.0f}", Verdict.WARNED, fix)
    elif not only_trouble:
        yield Finding(id_, f"{told}, can be written to and locked")


def _file_systems_clock(folder: Path) -> float:
    """Seconds by which the clock of a folder's server is ahead of this machine's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        before = time.time()
        file.write(b"c4")
        file.flush()
        os.fsync(file.fileno())
        written = os.fstat(file.fileno()).st_mtime
        after = time.time()
    return written - min(max(written, before), after)
