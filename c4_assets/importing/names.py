"""Reads plate, well and drop from file names or, for names that C4 does not know, from CSV files."""

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from string import ascii_uppercase

from resources.errors import ConfigurationError


@dataclass(frozen=True)
class NamedImage:
    """What is known about an image file: ``file`` is relative to the folder, ``imaged_at`` may be unknown."""

    file: PurePosixPath
    plate: str
    well: str
    drop_number: int
    imaged_at: datetime | None = None


# 90j8_01A_1.jpg: plate, column and row, drop.
_FORMULATRIX = re.compile(r"(?P<plate>[\w-]+)_(?P<column>\d{1,2})(?P<row>[A-P])_(?P<drop>\d{1,2})")

# …_0000CI022987_003_121121_01_02_01_HF_…: barcode padded with zeros, inspection, date (yymmdd), column, row, drop.
_MINSTREL = re.compile(
    r".*_0*(?P<plate>[A-Z]{2}\d+)_\d{3}_(?P<date>\d{6})_(?P<column>\d\d)_(?P<row>\d\d)_(?P<drop>\d\d)_.*"
)

# A01_1.jpg in a folder named after the plate.
_WELL = re.compile(r"(?P<row>[A-P])(?P<column>\d{1,2})_(?P<drop>\d{1,2})")


def _formulatrix(file: PurePosixPath, _folder: str) -> NamedImage | None:
    found = _FORMULATRIX.fullmatch(file.stem)
    return found and NamedImage(file, found["plate"], _well(found["row"], found["column"]), int(found["drop"]))


def _minstrel(file: PurePosixPath, _folder: str) -> NamedImage | None:
    found = _MINSTREL.fullmatch(file.stem)
    if not found or not 1 <= int(found["row"]) <= len(ascii_uppercase):
        return None
    try:
        imaged_at = datetime.strptime(found["date"], "%y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    row = ascii_uppercase[int(found["row"]) - 1]
    return NamedImage(file, found["plate"], _well(row, found["column"]), int(found["drop"]), imaged_at)


def _well_only(file: PurePosixPath, folder: str) -> NamedImage | None:
    found = _WELL.fullmatch(file.stem)
    plate = file.parent.name or folder
    return found and NamedImage(file, plate, _well(found["row"], found["column"]), int(found["drop"]))


NAME_STYLES: tuple[Callable[[PurePosixPath, str], NamedImage | None], ...] = (_minstrel, _formulatrix, _well_only)


def _well(row: str, column: str) -> str:
    return f"{row}{int(column):02d}"


def from_names(files: Iterable[PurePosixPath], folder: str) -> tuple[list[NamedImage], list[PurePosixPath]]:
    """Reads plates, wells and drops from file names.

    Args:
        files: paths relative to the folder.
        folder: the folder's own name: the plate of file names without one.

    Returns:
        The images whose names are understood, and the files whose names are not.
    """
    known: list[NamedImage] = []
    unknown: list[PurePosixPath] = []
    for file in files:
        image = next(filter(None, (style(file, folder) for style in NAME_STYLES)), None)
        if image:
            known.append(image)
        else:
            unknown.append(file)
    return known, unknown


def from_csv(table: Path) -> list[NamedImage]:
    """Reads a CSV file with the columns file, plate, well, drop and, where it is known, imaged_at (ISO 8601).

    Raises:
        ConfigurationError: a column is missing or a line cannot be read; the message names the line.
    """
    with table.open(newline="", encoding="utf-8-sig") as opened:
        lines = csv.DictReader(opened)
        if missing := {"file", "plate", "well", "drop"} - set(lines.fieldnames or ()):
            raise ConfigurationError(f"{table} lacks the columns {', '.join(sorted(missing))}.")
        return [_from_line(table, number, line) for number, line in enumerate(lines, start=2)]


def _from_line(table: Path, number: int, line: dict[str, str | None]) -> NamedImage:
    text = {name: (value or "").strip() for name, value in line.items() if isinstance(name, str)}  # pyright: ignore[reportUnnecessaryIsInstance]
    try:
        if not (text["file"] and text["plate"] and text["well"]):
            raise ValueError("file, plate and well must not be empty")
        imaged_at = aware(datetime.fromisoformat(text["imaged_at"])) if text.get("imaged_at") else None
        return NamedImage(PurePosixPath(text["file"]), text["plate"], text["well"], int(text["drop"]), imaged_at)
    except ValueError as error:
        raise ConfigurationError(f"{table}, line {number}: {error}.") from error


def aware(time: datetime) -> datetime:
    """Converts a time to UTC; one without a time zone is taken for UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
