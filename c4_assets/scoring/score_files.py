"""Score image files without a database: what ``c4 score`` does."""

import csv
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from c4_assets.checks.exposure import exposure_fault
from c4_assets.models.engine import Classification, Engine
from c4_assets.models.scorer_version import ScorerVersion
from c4_assets.scoring.image_archives import open_files
from c4_assets.scoring.image_files import ImageFile, ImageFiles, is_archive, read_file, readable, summary
from resources.archive.tables import Columns, write_parquet
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError, ImageError
from resources.records import CRYSTALS, likeliest
from resources.settings.checks import ExposureThresholds
from resources.spreadsheets import harmless

OUTPUT_FORMATS = (".csv", ".parquet", ".json")

SIGNIFICANT_DIGITS = 7
"""Digits of a probability that are written: the network computes in float32, which has no more."""


@dataclass(frozen=True)
class FileScore:
    """One row of the result: a score or an error. ``p_*`` are probabilities, ``scorer`` the version's name.

    ``warning`` says that a picture is black, saturated or blank, so that its score means nothing. Plate, well and drop
    are known of names that :mod:`c4_assets.importing.names` understands.
    """

    path: str
    category: str | None
    crystal: bool | None
    p_clear: float | None
    p_crystals: float | None
    p_other: float | None
    p_precipitate: float | None
    scorer: str
    error: str | None
    warning: str | None = None
    plate: str | None = None
    well: str | None = None
    drop: int | None = None


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
    "warning": "string",
    "plate": "string",
    "well": "string",
    "drop": "int64",
}
"""The result's columns in Parquet."""


@dataclass(frozen=True)
class FilesToScore:
    """The images that were named, those in folders and archives with the place and their path below it.

    ``left_out`` are files that look like images, with the reason why they are not scored.
    """

    files: tuple[ImageFile, ...]
    left_out: Mapping[str, str]
    below: Mapping[str, tuple[Path, PurePosixPath]]


def files_of(paths: Iterable[Path]) -> FilesToScore:
    """The image files that the paths name: files as they are, folders and archives with all images in them.

    Raises:
        ConfigurationError: a path is not there, or there is no image at all.
    """
    files: dict[str, ImageFile] = {}
    left_out: dict[str, str] = {}
    below: dict[str, tuple[Path, PurePosixPath]] = {}
    for path in paths:
        if path.is_dir() or is_archive(path):
            found = open_files(path)
            left_out |= {f"{readable(path)}/{name}": reason for name, reason in found.left_out.items()}
            for each in found.images:
                file = _below(path, found, each)
                files[file.path] = file
                below[file.path] = (path, each)
        elif path.exists():
            files[readable(path)] = ImageFile(readable(path), _stamp_of(path), lambda path=path: read_file(path))
            below[readable(path)] = (path.parent, PurePosixPath(path.name))
        else:
            raise ConfigurationError(f"{readable(path)} is not there.")
    if not files:
        raise ConfigurationError("There is no image file in what was given." + _reasons(left_out))
    return FilesToScore(tuple(files.values()), left_out, below)


def _reasons(left_out: Mapping[str, str]) -> str:
    return "".join(f" {line}" for line in summary(left_out)[:3])


def _below(place: Path, found: ImageFiles, path: PurePosixPath) -> ImageFile:
    try:
        stamp = ":".join(map(str, found.size_and_time(path)))
    except OSError:
        stamp = ""  # it was removed meanwhile, which is said when it is read
    return ImageFile(readable(place / path), stamp, lambda: found.read(path))


def _stamp_of(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def score_files(
    files: Sequence[ImageFile],
    engine: Engine,
    version: ScorerVersion,
    thresholds: ExposureThresholds,
    done: Callable[[ImageFile, FileScore], None] = lambda file, row: None,
) -> list[FileScore]:
    """Scores files; what is wrong with one of them becomes its error.

    Args:
        done: called with each file and its row, when it is there.

    Returns:
        A row a file, as :func:`ranked`.
    """
    rows: list[FileScore] = []
    reading: deque[ImageFile] = deque()

    def add(file: ImageFile, row: FileScore) -> None:
        rows.append(row)
        done(file, row)

    def contents() -> Iterator[bytes]:
        for file in files:
            try:
                data = file.read()
            except ImageError as error:
                add(file, _failed(file, version, str(error)))
                continue
            reading.append(file)
            yield data

    for classification in engine.classify(contents()):
        file = reading.popleft()
        add(file, _row(file, version, classification, thresholds))
    return ranked(rows)


def ranked(rows: Iterable[FileScore]) -> list[FileScore]:
    """The likeliest crystals first, then pictures that show nothing, and errors last."""
    return sorted(
        rows, key=lambda row: (row.error is not None, row.warning is not None, -(row.p_crystals or 0), row.path)
    )


def _row(
    file: ImageFile, version: ScorerVersion, classification: Classification, thresholds: ExposureThresholds
) -> FileScore:
    probabilities = classification.probabilities
    if probabilities is None:
        return _failed(file, version, str(classification.error))
    crystal = probabilities[CRYSTALS] >= version.crystal_threshold
    fault = exposure_fault(classification.appearance, thresholds)
    warning = f"the picture is {fault}, and its score means nothing" if fault else None
    clear, crystals, other, precipitate = (float(f"{each:.{SIGNIFICANT_DIGITS}g}") for each in probabilities)
    category = likeliest(probabilities)
    return FileScore(file.path, category, crystal, clear, crystals, other, precipitate, version.name, None, warning)


def _failed(file: ImageFile, version: ScorerVersion, reason: str) -> FileScore:
    return FileScore(file.path, None, None, None, None, None, None, version.name, readable(reason))


def common_folder(paths: Sequence[str]) -> str:
    """The folder in which all of the paths lie, with a slash at its end; nothing if there is none."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - a prefix of the text, not a path
    common = os.path.commonpath(folders) if folders and len({path.startswith("/") for path in paths}) == 1 else ""
    return f"{common.rstrip('/')}/" if common else ""


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
        raise ConfigurationError(f"{readable(out)} cannot be written: {error.strerror}.") from error
