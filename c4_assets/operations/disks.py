"""Folders whose disk is filling: bytes, and inodes, of which a disk may run out first. And staging, which has a limit.

What is little is said here, for the watch and for ``c4 doctor``; deploy/prometheus/rules.yaml says the same of bytes.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from c4_assets.operations.alerts.records import Condition, Event, Severity, Subject
from resources.settings import Settings

GB = 10**9

WARNING_SHARE, WARNING_BYTES = 0.1, 50 * GB
"""Less than this share *and* fewer bytes free is a warning: of a large disk, a tenth is years of scores."""

ERROR_SHARE, ERROR_BYTES = 0.03, 2 * GB
"""Less than this share and fewer than ``WARNING_BYTES``, or fewer bytes whatever their share, is an error. A day of
plates stages about 1 GB, and SQLite needs room for a copy of its file."""

WARNING_INODES, ERROR_INODES = 0.1, 0.02
"""Shares of free inodes. Some file systems have none to count."""

STAGING_STILL_FOR = timedelta(minutes=30)
"""Time without any change in a full staging area from which on it is told. During a backfill it is full for days, by
design, and an inspection leaves it every few minutes."""


@dataclass(frozen=True)
class Room:
    """What a disk has: bytes, and inodes (0 where it does not count them). ``device`` tells one disk from another."""

    bytes: int
    bytes_free: int
    inodes: int = 0
    inodes_free: int = 0
    device: int = 0

    @property
    def share(self) -> float:
        """Of its bytes, the free ones."""
        return self.bytes_free / self.bytes if self.bytes else 1.0

    @property
    def inodes_share(self) -> float:
        """Of its inodes, the free ones."""
        return self.inodes_free / self.inodes if self.inodes else 1.0


def places(settings: Settings) -> Mapping[str, Path]:
    """The folders whose disks may fill, by the names that alerts and metrics give them."""
    return {
        "home": settings.home,
        "archive": settings.archive,
        "staging": settings.staging,
        "thumbnails": settings.thumbnails,
        "dagster_home": settings.dagster_home,
        "logs": settings.logs.folder,
    }


def room_of(folder: Path) -> Room:
    """The room on the disk of a folder, or of the nearest folder above it that is there.

    Raises:
        OSError: it cannot be looked at.
    """
    there = next(each for each in (folder, *folder.parents) if each.exists())
    found = os.statvfs(there)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return Room(size, free, found.f_files, found.f_favail, there.stat().st_dev)


def severity_of(room: Room) -> Severity | None:
    """How bad it is; ``None`` where there is room."""
    share, inodes = room.share, room.inodes_share
    little = room.bytes_free < WARNING_BYTES
    if (little and share < ERROR_SHARE) or (room.bytes_free < ERROR_BYTES and share < 0.5) or inodes < ERROR_INODES:
        return Severity.ERROR
    return Severity.WARNING if (little and share < WARNING_SHARE) or inodes < WARNING_INODES else None


def filling(rooms: Mapping[str, tuple[Path, Room]]) -> Iterable[Condition]:
    """What is to be told of disks, one condition for each folder whose disk is filling.

    Args:
        rooms: by the folder's name in the settings.
    """
    for name, (folder, room) in rooms.items():
        severity = severity_of(room)
        if severity is None:
            continue
        what = f"{room.bytes_free / GB:.1f} GB ({room.share:.0%})"
        if room.inodes_share < WARNING_INODES:
            what = f"{room.inodes_free:,} inodes ({room.inodes_share:.0%})"
        yield Condition(
            key=f"{Event.DISK_FILLING}:{name}",
            event=Event.DISK_FILLING,
            severity=severity,
            summary=f"The disk of {folder} ({name}) has {what} left.",
            advice="Make room there: `c4 prune` for Dagster's runs, days in staging that nobody classifies any more. "
            "The archive is kept for ever and needs a larger disk; thumbnails can be made again (C4_THUMBNAILS_DAYS).",
            subjects=(Subject(str(folder)),),
        )


def staging_full(folder: Path, size: int, limit: int, changed: datetime | None, now: datetime) -> Iterable[Condition]:
    """What is to be told of staging: that it is full and stands still, so that runs with nothing staged wait.

    Args:
        size: bytes that are staged.
        limit: bytes that may be.
        changed: when an inspection came or left last; ``None`` if none ever did.
    """
    if changed is None or size < limit or now - changed < STAGING_STILL_FOR:
        return
    minutes = (now - changed) // timedelta(minutes=1)
    yield Condition(
        key=str(Event.STAGING_FULL),
        event=Event.STAGING_FULL,
        severity=Severity.WARNING,
        summary=f"Staging is full, and nothing has left it for {minutes} minutes: {size / GB:.1f} GB are staged, and "
        f"scratch_gigabytes allows {limit / GB:.1f}.",
        advice="Runs that have nothing staged wait. See why classification stands still, or remove the folders of days "
        "that nobody classifies any more.",
        subjects=(Subject(str(folder)),),
        since=changed,
    )
