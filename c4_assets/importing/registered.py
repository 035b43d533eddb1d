"""Finds out whether an imaging is registered already: importing again adds only what is new."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from c4_assets.importing.imagings import OUTLIER, SHORTEST_RETURN, Imaging
from c4_assets.importing.names import NamedImage, imaging_told
from c4_assets.importing.patterns import NamePattern
from resources.imaging_database.register import RegisteredInspection

PICTURES_COMPARED = 5
"""Pictures of an imaging that are compared with those of an inspection to find out whether it is the same."""


@dataclass(frozen=True)
class Registered:
    """The inspections of a plate that the database lists, as an imaging of that plate is compared with them.

    Args:
        patterns: names that are understood.
        path_in_store: the path in the store of a file that lies there, or ``None``.
        same: whether a file has the bytes of one in the store.
        taken: inspections that are another imaging's, of those imported together.
    """

    inspections: Sequence[RegisteredInspection]
    patterns: Sequence[NamePattern]
    path_in_store: Callable[[PurePosixPath], str | None]
    same: Callable[[PurePosixPath, str], bool]
    taken: Collection[int] = ()

    @property
    def _free(self) -> list[RegisteredInspection]:
        return [one for one in self.inspections if one.inspection_id not in self.taken]

    def find(self, imaging: Imaging, imaged_at: datetime) -> RegisteredInspection | None:
        """The inspection as which an imaging is registered, if it is.

        It is one that has these very files, or the imager's number, or the time that names tell, or the same pictures
        under the same names. An imaging that nothing tells joins the plate's inspection of its day, if that lacks its
        drops.
        """
        return (
            self._by_path(imaging)
            or self._by_number(imaging)
            or self._by_time(imaging)
            or self._by_content(imaging)
            or self._by_day(imaging, imaged_at)
        )

    def _by_path(self, imaging: Imaging) -> RegisteredInspection | None:
        mine = {path for image in imaging.images if (path := self.path_in_store(image.file))}
        return _most(self.inspections, lambda one: sum(image.path in mine for image in one.images))

    def _by_number(self, imaging: Imaging) -> RegisteredInspection | None:
        if imaging.number is None:
            return None
        return next((one for one in self._free if self._told_of(one)[0] == imaging.number), None)

    def _told_of(self, one: RegisteredInspection) -> tuple[str | None, datetime | None]:
        if not one.images:
            return None, None
        number, time, _ = imaging_told(PurePosixPath(one.images[0].path), self.patterns)
        return number, time

    def _by_time(self, imaging: Imaging) -> RegisteredInspection | None:
        told = imaging.told
        if not told or imaging.number:
            return None
        if imaging.day_only:
            return next((one for one in self._free if self._told_of(one)[1] in told), None)
        first, last = min(told) - SHORTEST_RETURN, max(told) + SHORTEST_RETURN
        return next((one for one in self._free if first < one.imaged_at < last), None)

    def _by_content(self, imaging: Imaging) -> RegisteredInspection | None:
        return next(
            (one for one in self._free if self._can_be(imaging, one) and self._same_pictures(imaging, one)), None
        )

    def _can_be(self, imaging: Imaging, one: RegisteredInspection) -> bool:
        """Whether nothing that an inspection's paths tell contradicts what an imaging's tell."""
        number, time = self._told_of(one)
        apart = time and imaging.told and all(abs(time - told) > OUTLIER for told in imaging.told)
        return number in (None, imaging.number) and not apart

    def _same_pictures(self, imaging: Imaging, one: RegisteredInspection) -> bool:
        known = paths_by_name(one)
        both = [(image, known[key]) for image in imaging.images if (key := name_key(image)) in known]
        sample = both[:: max(1, len(both) // PICTURES_COMPARED)]
        return sum(self.same(image.file, path) for image, path in sample) * 2 > len(sample)

    def _by_day(self, imaging: Imaging, imaged_at: datetime) -> RegisteredInspection | None:
        if imaging.number or imaging.told:
            return None
        mine = {(image.well, image.drop_number) for image in imaging.images}
        for one in self._free:
            theirs = {(image.well, image.drop_number) for image in one.images}
            if one.imaged_at.date() == imaged_at.date() and mine.isdisjoint(theirs):
                return one
        return None


def _most(
    registered: Iterable[RegisteredInspection], count: Callable[[RegisteredInspection], int]
) -> RegisteredInspection | None:
    counted = [(count(one), one) for one in registered]
    most = max(counted, key=lambda each: each[0], default=None)
    return most[1] if most and most[0] else None


def name_key(image: NamedImage) -> tuple[str, int, str]:
    """What a picture is called within its imaging, whatever folder it comes from."""
    return image.well, image.drop_number, file_name(image.file.name)


def paths_by_name(one: RegisteredInspection) -> dict[tuple[str, int, str], str]:
    """The paths of an inspection by well, drop and the file's own name."""
    found: dict[tuple[str, int, str], str] = {}
    for image in one.images:
        name = PurePosixPath(image.path).name
        own = name.removeprefix(f"{image.well}_{image.drop_number}_")
        found.setdefault((image.well, image.drop_number, name), image.path)
        found.setdefault((image.well, image.drop_number, own), image.path)
    return found


def file_name(text: str) -> str:
    """A text as the name of a file or folder."""
    return re.sub(r"[^\w.-]", "_", text)[-150:].lstrip(".")
