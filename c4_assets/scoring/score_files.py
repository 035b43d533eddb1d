"""Score image files without a database: what ``c4 score`` does."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from c4_assets.models.engine import Engine
from c4_assets.models.scorer_version import ScorerVersion
from resources.archive.tables import Columns, write_parquet
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError, ImageError
from resources.image_store.base import checked_size
from resources.records import CRYSTALS, Probabilities, likeliest
from resources.spreadsheets import harmless

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif"}
"""Endings of image files. MARCO reads JPEG and PNG; the others are listed as failed and not passed over in silence."""

OUTPUT_FORMATS = (".csv", ".parquet", ".json")


@dataclass(frozen=True)
class FileScore:
    """One row of the result: a score or an error. ``p_*`` are probabilities, ``scorer`` the version's name."""

    path: str
    category: str | None
    crystal: bool | None
    p_clear: float | None
    p_crystals: float | None
    p_other: float | None
    p_precipitate: float | None
    scorer: str
    error: str | None


COLUMNS: Columns = {
    "path": "string",
    "category": "string",
    "crystal": "bool",
    "p_clear": "float64",
    "p_crystals": "float64",
    "p_other": "float64",
    "p_precipitate": "float64",
    "scorer": "string",
    "error": "string",
}
"""The result's columns in Parquet."""


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The image files that the paths name: files as they are, folders with all images below them.

    Raises:
        ConfigurationError: a path is not there, or there is no image at all.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(path / file for file in image_files(path))
        elif path.exists():
            files.append(path)
        else:
            raise ConfigurationError(f"{path} is not there.")
    if not files:
        raise ConfigurationError("There is no image file in what was given.")
    return list(dict.fromkeys(files))


def score_files(
    files: Sequence[Path], engine: Engine, version: ScorerVersion, advance: Callable[[], None] = lambda: None
) -> list[FileScore]:
    """Scores files; what is wrong with one of them becomes its error.

    Args:
        advance: called once a file, when it is done.

    Returns:
        A row a file, the likeliest crystals first and the errors last.
    """
    rows: list[FileScore] = []
    reading: deque[Path] = deque()

    def contents() -> Iterator[bytes]:
        for file in files:
            try:
                data = _read(file)
            except ImageError as error:
                rows.append(_failed(file, version, str(error)))
                advance()
                continue
            reading.append(file)
            yield data

    for classification in engine.classify(contents()):
        file = reading.popleft()
        if classification.probabilities is None:
            rows.append(_failed(file, version, str(classification.error)))
        else:
            rows.append(_scored(file, version, classification.probabilities))
        advance()
    return sorted(rows, key=lambda row: (row.error is not None, -(row.p_crystals or 0), row.path))


def _read(file: Path) -> bytes:
    try:
        if not file.is_file():
            raise ImageError("it is not a file")
        checked_size(file.name, file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror}") from error


def _scored(file: Path, version: ScorerVersion, probabilities: Probabilities) -> FileScore:
    crystal = probabilities[CRYSTALS] >= version.crystal_threshold
    return FileScore(str(file), likeliest(probabilities), crystal, *probabilities, version.name, None)


def _failed(file: Path, version: ScorerVersion, reason: str) -> FileScore:
    return FileScore(str(file), None, None, None, None, None, None, version.name, reason)


def write_scores(rows: Sequence[FileScore], out: Path) -> None:
    """Writes the rows as CSV, Parquet or JSON, by the file's ending, all or nothing.

    Raises:
        ConfigurationError: the ending is another one, or the file cannot be written.
    """
    if out.suffix not in OUTPUT_FORMATS:
        raise ConfigurationError(f"{out} must end in {', '.join(OUTPUT_FORMATS)}.")
    records = [asdict(row) for row in rows]
    try:
        with atomic_write(out) as temporary:
            if out.suffix == ".parquet":
                write_parquet(temporary, COLUMNS, records)
            elif out.suffix == ".json":
                temporary.write_text(json.dumps(records, indent=1), encoding="utf-8")
            else:
                with temporary.open("w", newline="", encoding="utf-8") as opened:
                    table = csv.DictWriter(opened, FileScore.__dataclass_fields__)
                    table.writeheader()
                    table.writerows(map(harmless, records))
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}.") from error


def image_files(folder: Path) -> Iterator[PurePosixPath]:
    """The image files below a folder, by ending, relative to it and in order."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not file.name.startswith("."):
            yield PurePosixPath(file.relative_to(folder).as_posix())
