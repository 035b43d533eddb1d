"""Reads plate, well, drop and imaging from the names of files and of the folders in which they lie."""

import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from string import ascii_uppercase

from c4_assets.importing.patterns import (
    DERIVATIVE_FOLDER,
    DERIVATIVES,
    OTHER_LIGHT,
    PATTERNS,
    NamePattern,
)
from c4_assets.scoring.image_files import readable

ROWS = (*ascii_uppercase, *(f"A{letter}" for letter in "ABCDEF"))
"""Rows of a plate of 1,536 wells, the largest: A to Z, then AA to AF."""

COLUMNS_OF_FORMAT = {96: 12, 384: 24, 1536: 48}
"""Columns of a plate, by the number of its wells."""

SUBWELLS, SUBWELLS_OF_THREE = "abcdefgh", "acd"
"""Letters of drops 1, 2, …; plates of three drops a well call them a, c and d: b is the reservoir."""

_YMD = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)(?:[T_ -]+(\d\d)[-:._h]?(\d\d)(?:[-:._m]?(\d\d))?)?(?!\d)"
)
_DMY = re.compile(r"(?<!\d)(\d\d)[-.](\d\d)[-.]((?:19|20)\d\d)(?!\d)")
_NUMBERED = re.compile(r"(inspection|imaging|batch)(?:id|number)?[ _-]?0*(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class NamedImage:
    """What is known about an image file; ``file`` is relative to the folder.

    ``imaging`` is the imager's number of the inspection, like ``batch-7001``. ``imaged_at`` may be unknown, or known
    to the day only. Of several pictures of a drop, one ``light`` and the highest ``revision`` are taken.
    """

    file: PurePosixPath
    plate: str
    well: str
    drop_number: int
    imaged_at: datetime | None = None
    day_only: bool = False
    imaging: str | None = None
    light: str | None = None
    revision: int = 0


@dataclass(frozen=True)
class NamesRead:
    """The images whose names are understood, the files left out with the reason, and what an operator should know."""

    images: list[NamedImage]
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Told:
    """What one name tells, before it is seen beside the others of its plate."""

    file: PurePosixPath
    plate: str
    groups: Mapping[str, str]
    pattern: NamePattern
    imaging: str | None
    imaged_at: datetime | None
    day_only: bool


def from_names(
    files: Iterable[PurePosixPath],
    folder: str,
    patterns: Sequence[NamePattern] = PATTERNS,
    plate_format: int | None = None,
    other_light: Collection[str] = (),
) -> NamesRead:
    """Reads plates, wells, drops and imagings from names.

    Args:
        files: paths relative to the folder.
        folder: the folder's own path: its name is the plate of files whose names have none.
        plate_format: wells of a plate (96, 384 or 1536), for names that count the wells; by default the smallest
            that has the highest number.
        other_light: names of lights and imaging profiles that are not visible light, besides those that are known.
    """
    plates: dict[str, list[_Told]] = defaultdict(list)
    left_out: dict[str, str] = {}
    for file in files:
        if reason := _derivative(file):
            left_out[readable(file)] = reason
        elif (told := _told(file, folder, patterns)) is None:
            left_out[readable(file)] = _not_understood(file, patterns)
        elif light := _other_light(told, other_light):
            left_out[readable(file)] = f"taken in other light ({light}); C4 scores what visible light shows"
        else:
            plates[told.plate].append(told)
    images: list[NamedImage] = []
    notes: list[str] = []
    for plate, all_told in plates.items():
        images += _of_one_plate(all_told, plate_format, left_out)
        if plate_format is None and any("well_number" in told.groups for told in all_told):
            wells = _format_of(all_told)
            if wells != all_told[0].pattern.plate_format:
                notes.append(f"Plate {plate}: its wells are counted, and taken for those of a plate of {wells}.")
    return NamesRead(images, left_out, tuple(notes))


def imaging_told(
    path: PurePosixPath, patterns: Sequence[NamePattern] = PATTERNS
) -> tuple[str | None, datetime | None, bool]:
    """The imager's number and the time of an imaging, as the path of one of its images tells them.

    Returns:
        The number, the time, and whether the time is a day only.
    """
    if told := _told(path, "", patterns):
        return told.imaging, told.imaged_at, told.day_only
    return _number_of_folders(path.parent.parts), *_time_of_folders(path.parent.parts)


def _derivative(file: PurePosixPath) -> str | None:
    if any(DERIVATIVE_FOLDER.fullmatch(part) for part in file.parent.parts):
        return "it lies in a folder of thumbnails or slices"
    return next((what for pattern, what in DERIVATIVES if pattern.fullmatch(file.stem)), None)


def _told(file: PurePosixPath, folder: str, patterns: Sequence[NamePattern]) -> _Told | None:
    path = (PurePosixPath(folder) / file).with_suffix("").as_posix()
    folders = (PurePosixPath(folder).name, *file.parent.parts)
    for pattern in patterns:
        found = pattern.compiled.fullmatch(path)
        if found is None:
            continue
        groups = {name: value for name, value in found.groupdict().items() if value}
        plate = groups.get("plate") or _plate_of(folders)
        try:
            imaged_at, day_only = _time_told(groups)
        except ValueError:
            continue  # 99 is no month: the name means something else
        if not plate or not _has_possible_well(groups):
            continue
        if imaged_at is None:
            imaged_at, day_only = _time_of_folders(folders)
        number = groups.get("inspection")
        imaging = f"{pattern.inspection_word}-{int(number)}" if number else _number_of_folders(folders)
        return _Told(file, plate, groups, pattern, imaging, imaged_at, day_only)
    return None


def _has_possible_well(groups: Mapping[str, str]) -> bool:
    if "well_number" in groups:
        return 1 <= int(groups["well_number"]) <= max(COLUMNS_OF_FORMAT)
    return well_name(_row(groups), groups.get("column", "")) is not None


def _row(groups: Mapping[str, str]) -> str:
    number = int(groups.get("row_number", 0))
    return ROWS[number - 1] if 1 <= number <= len(ROWS) else groups.get("row", "")


def well_name(row: str, column: str) -> str | None:
    """A well as C4 names it, like ``A01``; ``None`` if no plate has it."""
    if row.upper() not in ROWS or not column.isdecimal() or not 1 <= int(column) <= max(COLUMNS_OF_FORMAT.values()):
        return None
    return f"{row.upper()}{int(column):02d}"


def well_of_number(number: int, wells: int) -> str | None:
    """The well of a number that counts along the rows of a plate of 96, 384 or 1536; ``None`` if it has fewer."""
    row, column = divmod(number - 1, COLUMNS_OF_FORMAT[wells])
    return well_name(ROWS[row], str(column + 1)) if 1 <= number <= wells else None


def smallest_format(highest: int) -> int:
    """The smallest usual plate that has so many wells."""
    return next((wells for wells in COLUMNS_OF_FORMAT if highest <= wells), max(COLUMNS_OF_FORMAT))


def _format_of(plate: Sequence[_Told]) -> int:
    known = next((told.pattern.plate_format for told in plate if told.pattern.plate_format), None)
    return known or smallest_format(max(int(told.groups.get("well_number", 1)) for told in plate))


def drop_numbers(letters: Collection[str]) -> dict[str, int]:
    """The number of each sub-well letter of a plate, of which these letters are in use."""
    used = {letter.lower() for letter in letters}
    names = SUBWELLS_OF_THREE if used <= set(SUBWELLS_OF_THREE) else SUBWELLS
    return {letter: number for number, letter in enumerate(names, start=1)}


def _of_one_plate(plate: Sequence[_Told], wells: int | None, left_out: dict[str, str]) -> Iterator[NamedImage]:
    wells = wells or _format_of(plate)
    numbers = drop_numbers({told.groups["subwell"] for told in plate if "subwell" in told.groups})
    for told in plate:
        groups = told.groups
        if "well_number" in groups:
            well = well_of_number(int(groups["well_number"]), wells)
        else:
            well = well_name(_row(groups), groups["column"])
        if well is None:
            left_out[readable(told.file)] = f"a plate of {wells} has no well of this number; see --plate-format"
            continue
        drop = numbers[groups["subwell"].lower()] if "subwell" in groups else int(groups.get("drop", 1))
        yield NamedImage(
            told.file,
            told.plate,
            well,
            drop,
            told.imaged_at,
            told.day_only,
            told.imaging,
            groups.get("light"),
            int(groups.get("revision", 0)),
        )


def _other_light(told: _Told, more: Collection[str]) -> str | None:
    light = told.groups.get("light", "")
    if OTHER_LIGHT.search(light) or light.lower() in {each.lower() for each in more}:
        return light
    return next((part for part in told.file.parent.parts if OTHER_LIGHT.fullmatch(part)), None)


def _time_told(groups: Mapping[str, str]) -> tuple[datetime | None, bool]:
    """The time in a name, and whether it is a day only."""
    for group, form in (("ymdhm", "%Y%m%d%H%M"), ("ymd", "%Y%m%d"), ("yymmdd", "%y%m%d"), ("dmy", "%d%m%Y")):
        if group in groups:
            digits = re.sub(r"\D", "", groups[group])
            return datetime.strptime(digits, form).replace(tzinfo=UTC), group != "ymdhm"
    return None, False


def _time_of_folders(folders: Sequence[str]) -> tuple[datetime | None, bool]:
    """The day, or day and time, of the innermost dated folder, and whether it is a day only."""
    for folder in reversed(folders):
        try:
            if found := _YMD.search(folder):
                year, _, month, day, *clock = found.groups()
                time = datetime(int(year), int(month), int(day), *(int(part or 0) for part in clock), tzinfo=UTC)
                return time, clock[0] is None
            if found := _DMY.search(folder):
                day, month, year = map(int, found.groups())
                return datetime(year, month, day, tzinfo=UTC), True
        except ValueError:
            continue  # these digits are no date
    return None, False


def _number_of_folders(folders: Sequence[str]) -> str | None:
    found = next(filter(None, (_NUMBERED.fullmatch(folder) for folder in reversed(folders))), None)
    return f"{found[1].lower()}-{int(found[2])}" if found else None


def _plate_of(folders: Sequence[str]) -> str:
    """The innermost folder that can be named after a plate, without the date in its name."""
    for folder in reversed(folders):
        if _NUMBERED.fullmatch(folder) or OTHER_LIGHT.fullmatch(folder) or DERIVATIVE_FOLDER.fullmatch(folder):
            continue
        dated = _YMD.search(folder) or _DMY.search(folder)
        if dated is None:
            return folder
        if rest := folder[: dated.start()].strip(" _.-") or folder[dated.end() :].strip(" _.-"):
            return rest
    return ""


def _not_understood(file: PurePosixPath, patterns: Sequence[NamePattern]) -> str:
    nearest = nearest_pattern(file.name, patterns)
    return (
        f"its name does not tell plate, well and drop (the nearest that C4 knows is {nearest.name}, like "
        f"{nearest.example}); list it in a CSV file (--csv), or give C4 a pattern ([importing] in c4.toml)"
    )


def nearest_pattern(name: str, patterns: Sequence[NamePattern] = PATTERNS) -> NamePattern:
    """The pattern whose example looks most like a file's name, digits and letters being equal among themselves."""

    def likeness(pattern: NamePattern) -> float:
        return difflib.SequenceMatcher(None, _shape(name), _shape(PurePosixPath(pattern.example).name)).ratio()

    return max(patterns, key=likeness)


def _shape(path: str) -> str:
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "0", path))


def aware(time: datetime) -> datetime:
    """Converts a time to UTC; one without a time zone is taken for UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
