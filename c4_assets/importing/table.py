"""Reads plate, well and drop of files from a CSV file, as spreadsheets and LIMS write them."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from c4_assets.importing.names import NamedImage, NamesRead, aware, drop_numbers, smallest_format, well_of_number
from c4_assets.importing.names import well_name as named_well
from c4_assets.scoring.image_files import ImageFiles, readable
from resources.errors import ConfigurationError

COLUMNS = {
    "file": "file filename filepath path image imagefile imagename imagepath name",
    "plate": "plate barcode platebarcode plateid platename platecode platenumber",
    "well": "well wellname wellid wellposition wellnumber wellnum position",
    "drop": "drop dropnumber dropnum dropno dropid subwell subwellnumber subposition",
    "imaged_at": "imagedat imaged imagingtime imagingdate inspectiondate inspectiontime dateimaged date datetime time "
    "timestamp takenat taken",
    "inspection": "inspection inspectionnumber inspectionno inspectionid imaging imagingnumber imagingid batch batchid",
    "light": "light lighttype profile imagingprofile profilename",
}
"""The columns, and their spellings without case, spaces and signs."""

REQUIRED = ("file", "plate", "well", "drop")
DELIMITERS = (",", ";", "\t", "|")

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_WELL = re.compile(r"(A[A-F]|[A-Z])[ -]?0*(\d{1,3})", re.IGNORECASE)


@dataclass(frozen=True)
class _Line:
    number: int
    text: Mapping[str, str]


def from_csv(table: Path, plate_format: int | None = None) -> NamesRead:
    """Reads a CSV file with the columns file, plate, well, drop and, where they are known, imaged_at (ISO 8601) and
    inspection, delimited by commas, semicolons or tabs.

    A line that cannot be used is left out, by its number, and does not stop the others.

    Args:
        plate_format: wells of a plate, where the column well counts them.

    Raises:
        ConfigurationError: the file cannot be read, is no text in UTF-8 or UTF-16, or lacks a column.
    """
    lines = list(_lines(table))
    images: list[NamedImage] = []
    left_out: dict[str, str] = {}
    numbers = _drop_numbers(lines)
    highest = max((int(line.text["well"]) for line in lines if _is_number(line.text["well"])), default=1)
    wells = plate_format or smallest_format(highest)
    listed: dict[PurePosixPath, int] = {}
    for line in lines:
        try:
            image = _image(line.text, numbers, wells)
            if image.file in listed:
                raise ValueError(f"its file is that of line {listed[image.file]}")
            listed[image.file] = line.number
            images.append(image)
        except ValueError as error:
            left_out[f"line {line.number} of {readable(table.name)}"] = str(error)
    notes = (f"The wells of {readable(table.name)} are counted, and taken for those of plates of {wells}.",)
    return NamesRead(images, left_out, notes if highest > 1 and not plate_format else ())


def _lines(table: Path) -> Iterator[_Line]:
    text = _text(table)
    first, _, rest = text.partition("\n")
    skipped = 0
    if declared := _SEPARATOR_LINE.fullmatch(first):
        text, skipped = rest, 1
    delimiter = declared[1] if declared else _delimiter(text)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        header = next((cells for cells in reader if _is_filled(cells)), list[str]())
        columns = _columns(header)
        if missing := [name for name in REQUIRED if name not in columns]:
            raise ConfigurationError(
                f"{readable(table)} lacks the columns {', '.join(missing)}; its first line has "
                f"{', '.join(cell.strip() for cell in header if cell.strip()) or 'nothing'}."
            )
        for cells in reader:
            if _is_filled(cells):
                named = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name}
                surplus = _is_filled(cells[len(columns) :])
                yield _Line(skipped + reader.line_num, {**dict.fromkeys(COLUMNS, ""), **named, "": "x" * surplus})
    except csv.Error as error:
        raise ConfigurationError(f"{readable(table)}, line {skipped + reader.line_num}: {error}.") from error


def _is_filled(cells: Iterable[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _text(table: Path) -> str:
    """The text of a table, whose lines end in a line feed, whatever they end in there."""
    try:
        data = table.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{readable(table)} cannot be read: {error.strerror}.") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{readable(table)} is not UTF-8 (line {line}): save it as «CSV UTF-8», or convert it with "
            "`iconv -f WINDOWS-1252 -t UTF-8`."
        ) from error
    if "\0" in text:
        raise ConfigurationError(f"{readable(table)} is no text file in UTF-8: save it as «CSV UTF-8».")
    return re.sub(r"\r\n?", "\n", text)


def _delimiter(text: str) -> str:
    """What divides the first line that is not empty into the most columns that are known."""
    header = next((line for line in text.split("\n") if line.strip(f"{''.join(DELIMITERS)} ")), "")

    def known(delimiter: str) -> int:
        return sum(bool(_column(cell)) for cell in header.split(delimiter))

    return max(DELIMITERS, key=known)


def _column(cell: str) -> str:
    spelling = re.sub(r"[\W_]", "", cell).lower()
    return next((name for name, spellings in COLUMNS.items() if spelling in spellings.split()), "")


def _columns(header: Sequence[str]) -> list[str]:
    """What each cell of the first line names, each column once: by its own name, or by the first other spelling."""
    named = [_column(cell) for cell in header]
    own = [cell.strip().lower() for cell in header]
    place = {name: own.index(name) if name in own else named.index(name) for name in named if name}
    return [name if place.get(name) == index else "" for index, name in enumerate(named)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _drop_numbers(lines: Sequence[_Line]) -> Mapping[str, Mapping[str, int]]:
    """By plate, the number of each sub-well letter."""
    letters: dict[str, set[str]] = {}
    for line in lines:
        if len(line.text["drop"]) == 1 and line.text["drop"].isalpha():
            letters.setdefault(line.text["plate"], set()).add(line.text["drop"])
    return {plate: drop_numbers(used) for plate, used in letters.items()}


def _image(text: Mapping[str, str], numbers: Mapping[str, Mapping[str, int]], wells: int) -> NamedImage:
    """An image of one line.

    Raises:
        ValueError: a value cannot be used.
    """
    if text[""]:
        raise ValueError("it has more fields than the first line")
    if not (text["file"] and text["plate"] and text["well"]):
        raise ValueError("file, plate and well must not be empty")
    drop = _drop(text["drop"], numbers.get(text["plate"], {}))
    imaged_at, day_only = _time(text["imaged_at"])
    file = PurePosixPath(text["file"].replace("\\", "/"))
    number = text["inspection"]
    imaging = f"inspection-{int(number) if _is_number(number) else number}" if number else None
    light = text["light"] or None
    return NamedImage(file, text["plate"], _well(text["well"], wells), drop, imaged_at, day_only, imaging, light)


def _well(text: str, wells: int) -> str:
    if _is_number(text):
        well = well_of_number(int(text), wells)
        if well is None:
            raise ValueError(f"well {text} is none of a plate of {wells}; see --plate-format")
        return well
    found = _WELL.fullmatch(text)
    return (named_well(found[1], found[2]) if found else None) or text


def _drop(text: str, numbers: Mapping[str, int]) -> int:
    if text.lower() in numbers:
        return numbers[text.lower()]
    if not (whole := re.fullmatch(r"(\d{1,19})(?:[.,]0*)?", text, re.ASCII)):
        raise ValueError(f"drop {text!r} is no number of 64 bits, and no letter of a sub-well")
    return int(whole[1])


def _time(text: str) -> tuple[datetime | None, bool]:
    if not text:
        return None, False
    try:
        return aware(datetime.fromisoformat(text)), len(text) <= len("2026-03-31")
    except (ValueError, OverflowError):
        raise ValueError(f"imaged_at {text!r} is not a time like 2026-03-31T14:05+11:00") from None


def in_the_files(images: Sequence[NamedImage], files: ImageFiles, left_out: dict[str, str]) -> Iterator[NamedImage]:
    """Those images of a table whose files are there, with the files' paths.

    A path that a table has from another machine, with its drive and folders, is found by its end, if that
    is one file's alone.
    """
    by_name: dict[str, list[PurePosixPath]] = {}
    for file in files.images:
        by_name.setdefault(file.name, []).append(file)
    for image in images:
        ends = [file for file in by_name.get(image.file.name, []) if _same_end(file, image.file)]
        if ".." not in image.file.parts and files.has(image.file):
            yield image
        elif len(ends) == 1 and ".." not in image.file.parts:
            yield replace(image, file=ends[0])
        else:
            name = readable(image.file)
            left_out[name] = files.left_out.get(name, "the file is not in the folder")


def _same_end(file: PurePosixPath, told: PurePosixPath) -> bool:
    """Whether the shorter of two paths is the end of the other."""
    length = min(len(file.parts), len(told.parts))
    return file.parts[-length:] == told.parts[-length:]
