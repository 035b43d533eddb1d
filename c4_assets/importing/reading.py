"""Reads what is to be imported: the files of a folder or archive, and the imagings that they are of."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from pathlib import Path, PurePosixPath

from c4_assets.importing.imagings import Imaging, imagings_of
from c4_assets.importing.names import NamedImage, NamesRead, from_names, imaging_told
from c4_assets.importing.patterns import PATTERNS, NamePattern
from c4_assets.importing.table import from_csv, in_the_files
from c4_assets.scoring.image_archives import open_files
from c4_assets.scoring.image_files import (
    ARCHIVE_SUFFIXES,
    IMAGE_SUFFIXES,
    NOT_UTF8,
    FolderFiles,
    ImageFiles,
    is_utf8,
    readable,
    summary,
)
from resources.errors import ConfigurationError
from resources.imaging_database.listed import is_time_of_imaging
from resources.records import LARGEST_NUMBER

MAX_PLATE, MAX_WELL = 64, 8
"""Characters that the columns of the database hold."""


@dataclass(frozen=True)
class Import:
    """What is imported, and how it is read.

    Args:
        place: a folder, or a zip or tar archive.
        csv: a file with plate, well and drop of every file; by default they are read from the names.
        timezone: of EXIF times that tell none, as most.
        plate_format: wells of a plate (96, 384, 1536) where names or the table count them.
        patterns: names that are understood.
        other_light: names of lights and profiles that are not visible light, besides those that are known.
    """

    place: Path
    csv: Path | None = None
    timezone: tzinfo = UTC
    plate_format: int | None = None
    patterns: Sequence[NamePattern] = PATTERNS
    other_light: Collection[str] = ()
    left_out: dict[str, str] = field(default_factory=dict[str, str], init=False)

    def __post_init__(self) -> None:
        # Not resolved: a link's own name may be the plate's.
        object.__setattr__(self, "place", Path(os.path.abspath(self.place.expanduser())))  # noqa: PTH100

    def read(self) -> tuple[ImageFiles, list[Imaging], tuple[str, ...]]:
        """Finds the files, and the imagings that they are of.

        Raises:
            ConfigurationError: the place does not exist, or nothing in it can be imported.
        """
        files = open_files(self.place, self.timezone)
        read = self._names(files)
        self.left_out.update({**files.left_out, **read.left_out})
        imagings, doubles = imagings_of(self._usable(read.images))
        self.left_out.update(doubles)
        if not imagings:
            known = f"there is no file that ends in {', '.join(IMAGE_SUFFIXES)}."
            said = " ".join(summary(self.left_out)) or known
            raise ConfigurationError(f"No image in {readable(self.place)} could be imported: {said}")
        return files, imagings, read.notes

    def _names(self, files: ImageFiles) -> NamesRead:
        if self.csv is not None:
            read = from_csv(self.csv, self.plate_format)
            images = list(in_the_files(read.images, files, read.left_out))
            return NamesRead([self._filled_in(image) for image in images], read.left_out, read.notes)
        name = str(self.place)
        if not isinstance(files, FolderFiles):
            name = name.removesuffix(next(end for end in ARCHIVE_SUFFIXES if name.lower().endswith(end)))
        utf8 = [file for file in files.images if is_utf8(file)]
        read = from_names(utf8, name, self.patterns, self.plate_format, self.other_light)
        return NamesRead(read.images, {**read.left_out, **_not_utf8(files.images)}, read.notes)

    def _filled_in(self, image: NamedImage) -> NamedImage:
        """An image of a table, with the number of the imaging and its time from the name where the table lacks both."""
        if image.imaging or image.imaged_at:
            return image
        number, time, day_only = imaging_told(PurePosixPath(str(self.place)) / image.file, self.patterns)
        return replace(image, imaging=number, imaged_at=time, day_only=day_only)

    def _usable(self, images: Iterable[NamedImage]) -> Iterator[NamedImage]:
        for image in images:
            if reason := _unusable(image):
                self.left_out[readable(image.file)] = reason
            else:
                yield image


def _not_utf8(files: Iterable[PurePosixPath]) -> dict[str, str]:
    return {readable(file): NOT_UTF8 for file in files if not is_utf8(file)}


def _unusable(image: NamedImage) -> str | None:
    if not (is_utf8(image.file) and is_utf8(image.plate) and is_utf8(image.well)):
        return NOT_UTF8
    if not (image.plate.isprintable() and image.well.isprintable()):
        return "its plate or well has characters that cannot be printed"
    if len(image.plate) > MAX_PLATE or len(image.well) > MAX_WELL:
        return f"a plate has at most {MAX_PLATE} characters in the database, and a well {MAX_WELL}"
    if image.drop_number > LARGEST_NUMBER:
        return f"its drop number is larger than the database holds ({LARGEST_NUMBER})"
    if image.imaged_at and not is_time_of_imaging(image.imaged_at):
        return f"it is dated {image.imaged_at.date()}, which stands for no time of imaging; correct it, or leave it out"
    return None
