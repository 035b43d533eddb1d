"""When a picture was taken, as the file itself says."""

import io
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import IO

from c4_assets.models.decoding import FORMATS

_EXIF_IFD, _TAKEN, _OFFSET = 0x8769, 0x9003, 0x9011
"""Numbers of EXIF's sub-folder, DateTimeOriginal and OffsetTimeOriginal (EXIF 2.31)."""


_MARKS = (b"Exif\0\0", b"eXIf")
"""What EXIF data begins with in a JPEG and in a PNG."""

_HEAD = 64 * 1024
"""Bytes at the start of a file among which EXIF data begins."""


def taken_at(file: Path | IO[bytes], timezone: tzinfo = UTC) -> datetime | None:
    """The time in a file's EXIF data, UTC.

    Args:
        timezone: of times that do not tell theirs, which are most.

    Returns:
        ``None`` for a file without such a time, with one that cannot be, and for one that is no image.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            exif = image.getexif().get_ifd(_EXIF_IFD)
        time = datetime.strptime(str(exif[_TAKEN]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        if offset := str(exif.get(_OFFSET, "")).strip("\0 "):
            return datetime.fromisoformat(f"{time.isoformat()}{offset}").astimezone(UTC)
        return time.replace(tzinfo=timezone).astimezone(UTC)
    except MemoryError:
        raise
    except Exception:
        # Pillow raises what it does not list, and a year of 1 has no UTC. That the image cannot be decoded is found
        # when it is scored.
        return None


def taken_at_of(data: bytes) -> datetime | None:
    """The same for a file in memory. One without EXIF data, as most imagers write them, costs next to nothing."""
    return taken_at(io.BytesIO(data)) if any(mark in data[:_HEAD] for mark in _MARKS) else None
