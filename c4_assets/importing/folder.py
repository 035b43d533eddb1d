"""Imports a folder or archive: finds its imagings and their times, puts images into the store and registers them."""

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from c4_assets.importing.imagings import OUTLIER, Imaging, Timed, time_of
from c4_assets.importing.names import NamedImage
from c4_assets.importing.reading import Import
from c4_assets.importing.registered import Registered, file_name, name_key, paths_by_name
from c4_assets.scoring.exif import taken_at
from c4_assets.scoring.image_files import FolderFiles, ImageFiles, readable, summary
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError, ImageError
from resources.image_store import LocalStore
from resources.image_store.base import safe_path
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import (
    NewImage,
    RegisteredInspection,
    inspections_of_plate,
    register_inspection,
)
from resources.wording import counted

MAX_PATH = 1024
"""Characters that the column of the path holds."""


@dataclass(frozen=True)
class Imported:
    """One registered inspection. ``time_source`` says where its time of imaging comes from."""

    plate: str
    imaged_at: datetime
    time_source: str
    inspection_id: int
    new_images: int
    known_images: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportResult:
    """The inspections of a folder, the files that were left out with the reason, and what else is worth knowing."""

    inspections: tuple[Imported, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()


def import_folder(
    what: Import, database: ImagingDatabase, store: LocalStore, imaged_at: datetime | None = None
) -> ImportResult:
    """Registers every imaging of every plate as one inspection. Repeating it adds only what is new.

    Files below the store's root are registered where they lie; others are copied into the store first.

    Args:
        imaged_at: time of imaging, where it is known better than names and clocks do.

    Raises:
        ConfigurationError: there is nothing to import, or the store cannot be written to.
    """
    files, imagings, notes = what.read()
    if imaged_at:
        _refuse_one_time_for_several(imagings)
    done: list[Imported] = []
    for imaging in imagings:
        others = {one.inspection_id for one in done}
        if imported := _OneImaging(what, files, imaging, database, store, others).imported(imaged_at):
            done.append(imported)
    if not done:
        raise ConfigurationError(f"No image in {readable(what.place)} could be imported: {summary(what.left_out)[0]}")
    return ImportResult(tuple(done), what.left_out, notes)


def inspections_of(what: Import, database: ImagingDatabase, store: LocalStore) -> dict[int, str]:
    """The inspections that were registered when this was imported, with their plates."""
    files, imagings, _ = what.read()
    found: dict[int, str] = {}
    for imaging in imagings:
        one = _OneImaging(what, files, imaging, database, store, found)
        if known := one.registered.find(imaging, one.timed().imaged_at):
            found[known.inspection_id] = imaging.plate
    return found


def _refuse_one_time_for_several(imagings: Iterable[Imaging]) -> None:
    plate, count = Counter(imaging.plate for imaging in imagings).most_common(1)[0]
    if count > 1:
        raise ConfigurationError(
            f"There are {count} imagings of plate {plate}, which cannot all have the time that was given: import each "
            "by itself, or list their times in a CSV file (--csv)."
        )


@dataclass
class _OneImaging:
    """One imaging on its way into the store and the database."""

    what: Import
    files: ImageFiles
    imaging: Imaging
    database: ImagingDatabase
    store: LocalStore
    others: Collection[int]

    def __post_init__(self) -> None:
        listed = inspections_of_plate(self.database, self.imaging.plate)
        self.registered = Registered(listed, self.what.patterns, self._path_in_store, self._same, self.others)

    def imported(self, imaged_at: datetime | None) -> Imported | None:
        """Puts the images into the store and registers them; ``None`` if none of them could be read."""
        timed = Timed(imaged_at.replace(microsecond=0), "given") if imaged_at else self.timed()
        known = self.registered.find(self.imaging, timed.imaged_at)
        time = known.imaged_at if known else self._free(timed.imaged_at)
        source = timed.source if known is None or known.imaged_at == timed.imaged_at else "the database"
        warnings = [*timed.warnings, *self._other_time(known, timed)]
        new: list[NewImage] = []
        for image, path in self._placed(known, time, warnings):
            new.append(NewImage(image.well, image.drop_number, path))
        if not new:
            return None
        new.sort(key=lambda image: (image.well, image.drop_number, image.path))
        plate = self.imaging.plate
        put = register_inspection(self.database, plate, time, None, new)
        return Imported(plate, time, source, put.inspection_id, put.new_images, put.known_images, tuple(warnings))

    def timed(self) -> Timed:
        """When it was, by what is known best."""
        taken: dict[PurePosixPath, datetime] = {}
        changed: dict[PurePosixPath, datetime] = {}
        if not self.imaging.told or self.imaging.day_only:
            for image in self.imaging.images:
                try:
                    _, changed[image.file] = self.files.size_and_time(image.file)
                except OSError:
                    continue  # it was moved meanwhile
                if time := self._taken(image.file):
                    taken[image.file] = time
        told_by = "the CSV file" if self.what.csv else "names"
        return time_of(self.imaging, taken, changed, datetime.now(UTC), told_by)

    def _taken(self, file: PurePosixPath) -> datetime | None:
        if isinstance(self.files, FolderFiles):
            return taken_at(self.files.root / file, self.what.timezone)
        try:
            return taken_at(io.BytesIO(self.files.read(file)), self.what.timezone)
        except ImageError:
            return None  # said when it is copied

    def _free(self, time: datetime) -> datetime:
        """The time, or the next second that no other inspection of the plate has."""
        taken = {one.imaged_at for one in self.registered.inspections}
        while time in taken:
            time += timedelta(seconds=1)
        return time

    def _other_time(self, known: RegisteredInspection | None, timed: Timed) -> Iterator[str]:
        if known is None:
            return
        if timed.source == "given" and known.imaged_at != timed.imaged_at:
            away = timedelta.max
        elif timed.source in ("names", "the CSV file"):
            away = abs(known.imaged_at - timed.imaged_at)
        else:
            return
        if away > OUTLIER:
            yield (
                f"it was registered before, imaged {known.imaged_at:%Y-%m-%d %H:%M} UTC, and keeps that time: to "
                f"correct it, `c4 import --withdraw {known.inspection_id}` first"
            )

    def _placed(
        self, known: RegisteredInspection | None, time: datetime, warnings: list[str]
    ) -> Iterator[tuple[NamedImage, str]]:
        """The images that could be read, with their paths in the store, where they are by then."""
        there = paths_by_name(known) if known else {}
        wells = {image.path: (image.well, image.drop_number) for image in known.images} if known else {}
        below = PurePosixPath(file_name(self.imaging.plate) or "plate", file_name(self._label(time)))
        taken = set(wells)
        replaced: list[str] = []
        for image in self.imaging.images:
            path = self._path_in_store(image.file)
            if path is None:
                path = there.get(name_key(image)) or _free_path(below, image, taken)
                if not self._copied(image.file, path, replaced):
                    continue
            if reason := _bad_path(path):
                self.what.left_out[readable(image.file)] = reason
                continue
            taken.add(path)
            if wells.get(path, (image.well, image.drop_number)) != (image.well, image.drop_number):
                warnings.append(
                    f"{readable(image.file)} is registered as drop {'.'.join(map(str, wells[path]))}, and reads as "
                    f"{image.well}.{image.drop_number} now: withdraw the inspection and import it again"
                )
            yield image, path
        if replaced:
            warnings.append(
                f"{counted(len(replaced), 'file differs', 'files differ')} from what was imported before and took its "
                f"place ({replaced[0]} …): `c4 checks rescore` scores them anew"
            )

    def _label(self, time: datetime) -> str:
        """The imaging's folder in the store: what tells it apart from the plate's others, whenever it is imported."""
        if self.imaging.number:
            return self.imaging.number
        return f"{min(self.imaging.told):%Y%m%d}" if self.imaging.day_only else f"{time:%Y%m%dT%H%M%SZ}"

    def _path_in_store(self, file: PurePosixPath) -> str | None:
        """The path of a file that lies in the store and does not lead out of it."""
        if not isinstance(self.files, FolderFiles):
            return None
        source, root = self.files.root.resolve() / file, self.store.root
        inside = source.is_relative_to(root) and source.resolve().is_relative_to(root)
        return source.relative_to(root).as_posix() if inside else None

    def _same(self, file: PurePosixPath, path: str) -> bool:
        try:
            return self.files.read(file) == (self.store.root / path).read_bytes()
        except (ImageError, OSError):
            return False

    def _copied(self, file: PurePosixPath, path: str, replaced: list[str]) -> bool:
        try:
            data = self.files.read(file)
        except ImageError as error:
            self.what.left_out[readable(file)] = str(error)
            return False
        target = self.store.root / path
        try:
            if target.exists():
                if target.read_bytes() == data:
                    return True
                replaced.append(readable(file))
            with atomic_write(target) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be written into the image store {self.store.root}: {error.strerror}. What is "
                "registered stays; when there is room, the same command goes on."
            ) from error
        return True


def _free_path(below: PurePosixPath, image: NamedImage, taken: Collection[str]) -> str:
    """A path in the store that no other image has: by the file's name, and else by drop and name."""
    name = file_name(image.file.name)
    path = (below / name).as_posix()
    return path if path not in taken else (below / f"{image.well}_{image.drop_number}_{name}").as_posix()


def _bad_path(path: str) -> str | None:
    try:
        safe_path(path)
    except ImageError:
        return "its path has characters that the image store does not take; rename it"
    return f"its path has more than {MAX_PATH} characters" if len(path) > MAX_PATH else None
