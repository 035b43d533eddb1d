"""Imports a folder: finds its images and their times, puts them into the image store and registers them."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from pathlib import Path, PurePosixPath

from c4_assets.importing.names import NamedImage, from_csv, from_names
from c4_assets.scoring.exif import taken_at
from c4_assets.scoring.score_files import IMAGE_SUFFIXES, image_files
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError, ImageError
from resources.image_store import LocalStore
from resources.image_store.base import safe_path
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection


@dataclass(frozen=True)
class Imported:
    """One registered inspection. ``time_source`` says where its time of imaging comes from."""

    plate: str
    imaged_at: datetime
    time_source: str
    inspection_id: int
    new_images: int
    known_images: int


@dataclass(frozen=True)
class ImportResult:
    """The inspections of a folder, and the files that could not be imported with the reason."""

    inspections: tuple[Imported, ...]
    left_out: dict[PurePosixPath, str]


def import_folder(
    folder: Path,
    database: ImagingDatabase,
    store: LocalStore,
    *,
    csv: Path | None = None,
    imaged_at: datetime | None = None,
    timezone: tzinfo = UTC,
) -> ImportResult:
    """Registers every plate of a folder as one inspection. Repeating it adds only what is new.

    A folder below the store's root is registered where it lies; another one is copied into the store first.

    Args:
        csv: a file with plate, well and drop of every file; by default they are read from the names.
        imaged_at: time of imaging; by default the earliest time in EXIF data, the CSV file, the names or, if there is
            none, the files' modification times.
        timezone: the time zone of EXIF times without one, as most are.

    Raises:
        ConfigurationError: the folder does not exist, or no file name in it is understood.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder.")
    left_out: dict[PurePosixPath, str] = {}
    if csv is None:
        images, unknown = from_names(image_files(folder), folder.name)
        left_out |= dict.fromkeys(unknown, "its name does not tell plate, well and drop; list it in a CSV file (--csv)")
    else:
        images = list(_present(folder, from_csv(csv), left_out))
    if not images:
        raise ConfigurationError(
            f"No image in {folder} could be imported"
            + (
                f": {_first(left_out)}."
                if left_out
                else f": there is no file that ends in {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        )
    images.sort(key=lambda image: (image.plate, image.well, image.drop_number, image.file))
    done: list[Imported] = []
    for plate, group in groupby(images, key=lambda image: image.plate):
        named = list(group)
        time, source = (imaged_at, "given") if imaged_at else _time_of_imaging(folder, named, timezone)
        paths = _paths_in_store(folder, named, store, plate, time)
        new = [NewImage(i.well, i.drop_number, path) for i, path in zip(named, paths, strict=True)]
        registered = register_inspection(database, plate, time, None, new)
        done.append(Imported(plate, time, source, *vars(registered).values()))
    return ImportResult(tuple(done), left_out)


def _present(folder: Path, images: Sequence[NamedImage], left_out: dict[PurePosixPath, str]) -> Iterator[NamedImage]:
    for image in images:
        try:
            safe_path(str(image.file))
        except ImageError as error:
            left_out[image.file] = str(error)
            continue
        if (folder / image.file).is_file():
            yield image
        else:
            left_out[image.file] = "the file is not in the folder"


def _first(left_out: dict[PurePosixPath, str]) -> str:
    file, reason = next(iter(left_out.items()))
    return f"{file}: {reason}" + (f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else "")


def _time_of_imaging(folder: Path, images: Sequence[NamedImage], timezone: tzinfo) -> tuple[datetime, str]:
    taken = [time for image in images if (time := taken_at(folder / image.file, timezone))]
    if taken:
        return min(taken), "EXIF"
    named = [image.imaged_at for image in images if image.imaged_at]
    if named:
        return min(named), "names"
    changed = min((folder / image.file).stat().st_mtime for image in images)
    return datetime.fromtimestamp(int(changed), UTC), "files"


def _paths_in_store(
    folder: Path, images: Sequence[NamedImage], store: LocalStore, plate: str, time: datetime
) -> list[str]:
    if folder.is_relative_to(store.root):
        return [(folder.relative_to(store.root) / image.file).as_posix() for image in images]
    below = PurePosixPath(re.sub(r"[^\w.-]", "_", plate).lstrip(".") or "plate", f"{time:%Y%m%dT%H%M%SZ}")
    for image in images:
        source, target = folder / image.file, store.root / below / image.file
        if not target.exists() or target.stat().st_size != source.stat().st_size:
            with atomic_write(target) as temporary:
                shutil.copyfile(source, temporary)
    return [(below / image.file).as_posix() for image in images]
