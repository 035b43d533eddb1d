"""Which images were taken together, and when: one inspection for each imaging of each plate."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from statistics import median_low
from typing import TypeVar

from c4_assets.importing.names import NamedImage
from c4_assets.scoring.image_files import IMAGE_SUFFIXES, readable

K = TypeVar("K")

PAUSE = timedelta(hours=1)
"""Images that were taken with a longer pause between them are of different imagings of a plate."""

SHORTEST_RETURN = timedelta(minutes=5)
"""A drop that is photographed again after so long is of the next imaging; before, the imager repeated a picture."""

OUTLIER = timedelta(hours=26)
"""How far an image's time may be from its inspection's, as the check ``images_of_their_inspection`` has it."""

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Before it there was no imager with a camera of this kind: a clock that says so was never set."""


@dataclass(frozen=True)
class Imaging:
    """The images of one imaging of one plate.

    ``number`` is the imager's own (``batch-7001``), where names tell it; ``told`` are the times that names or a table
    tell, which are ``day_only`` or exact.
    """

    plate: str
    number: str | None
    images: tuple[NamedImage, ...]

    @property
    def told(self) -> list[datetime]:
        """The times that names, folders or a table tell."""
        return [image.imaged_at for image in self.images if image.imaged_at]

    @property
    def day_only(self) -> bool:
        """Whether those are days and no times."""
        return any(image.day_only for image in self.images)


@dataclass(frozen=True)
class Timed:
    """When an imaging was, where that is known from, and what an operator should look at."""

    imaged_at: datetime
    source: str
    warnings: tuple[str, ...] = ()


def imagings_of(images: Iterable[NamedImage]) -> tuple[list[Imaging], dict[str, str]]:
    """Puts images together that were taken together, one picture a drop and format.

    What tells an imaging is, in this order: the imager's number of it; the time in a table, a name or a dated folder;
    the folder, where drops of a plate would else be there twice.

    Returns:
        The imagings, and the files that were left out with the reason.
    """
    left_out: dict[str, str] = {}
    found: list[Imaging] = []
    for plate, of_plate in _by(images, lambda image: image.plate).items():
        for number, group in _by(of_plate, lambda image: image.imaging).items():
            timed = [image for image in group if image.imaged_at]
            untimed = [image for image in group if image.imaged_at is None]
            parts = [group] if number else [*_by_time(timed), *_by_folder(untimed)]
            found += [Imaging(plate, number, tuple(_one_a_drop(part, left_out))) for part in parts]
    return found, left_out


def _by(images: Iterable[NamedImage], key: Callable[[NamedImage], K]) -> dict[K, list[NamedImage]]:
    groups: dict[K, list[NamedImage]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return groups


def _drop(image: NamedImage) -> tuple[str, int]:
    return image.well, image.drop_number


def _by_time(images: Sequence[NamedImage]) -> list[list[NamedImage]]:
    """Cuts where there is a pause, or where drops come round again."""
    parts: list[list[NamedImage]] = []
    drops: set[tuple[str, int]] = set()
    last = EARLIEST
    for time, group in sorted(_by(images, lambda image: image.imaged_at or EARLIEST).items()):
        again = time - last >= SHORTEST_RETURN and not drops.isdisjoint(map(_drop, group))
        if not parts or time - last > PAUSE or again:
            parts.append([])
            drops = set()
        parts[-1] += group
        drops.update(map(_drop, group))
        last = time
    return parts


def _by_folder(images: Sequence[NamedImage]) -> list[list[NamedImage]]:
    """All together, or by folder if a drop would be there twice."""
    folders = _by(images, lambda image: image.file.parent)
    drops = [drop for group in folders.values() for drop in {_drop(image) for image in group}]
    return [list(images)] if images and len(drops) == len(set(drops)) else list(folders.values())


def _one_a_drop(images: Sequence[NamedImage], left_out: dict[str, str]) -> list[NamedImage]:
    """Of each drop the newest picture by the plate's main imaging profile, in its likeliest original format."""
    profiles = Counter(image.light for image in images)
    kept: list[NamedImage] = []
    names: set[tuple[str, int, str]] = set()
    for group in _by(images, _drop).values():
        main = max((image.light for image in group), key=lambda light: (profiles[light], _low_first(light)))
        newest = max(image.revision for image in group if image.light == main)
        for image in sorted(group, key=_format_rank):
            stem = (*_drop(image), image.file.stem.lower())
            if image.light != main:
                reason = f"the same drop by another imaging profile ({image.light}); the plate's main one is {main}"
            elif image.revision < newest:
                reason = "an earlier picture of the drop, of which there is a newer one"
            elif stem in names:
                reason = "the same picture a second time, in another format or folder"
            else:
                names.add(stem)
                kept.append(image)
                continue
            left_out[readable(image.file)] = reason
    return kept


def _low_first(light: str | None) -> tuple[int, ...]:
    """Orders profiles that have equally many pictures: the lowest number, or what comes first in the alphabet."""
    return (-int(light),) if light and light.isdecimal() else tuple(-ord(character) for character in light or "")


def _format_rank(image: NamedImage) -> tuple[int, PurePosixPath]:
    suffix = image.file.suffix.lower()
    return (IMAGE_SUFFIXES.index(suffix) if suffix in IMAGE_SUFFIXES else len(IMAGE_SUFFIXES)), image.file


def time_of(
    imaging: Imaging,
    taken: Mapping[PurePosixPath, datetime],
    changed: Mapping[PurePosixPath, datetime],
    now: datetime,
    told_by: str = "names",
) -> Timed:
    """When an imaging was: by what a table or the names tell, by the cameras' clocks (EXIF), or by the files' times.

    A clock is believed as the others are: the day on which most images were taken, and the median of that day.

    Args:
        taken: EXIF times, of the files that have them.
        changed: times of change of all files.
        told_by: what tells the times that the images have by now.
    """
    told = imaging.told
    if told and not imaging.day_only:
        return Timed(_seconds(median_low(told)), told_by)
    possible = {file: time for file, time in taken.items() if EARLIEST <= time <= now + OUTLIER}
    if told:
        day = Counter(told).most_common(1)[0][0]
        near = {file: time for file, time in possible.items() if -OUTLIER / 2 <= time - day <= OUTLIER * 1.5}
        imaged_at = _seconds(_typical(near.values())) if near else day
        return Timed(imaged_at, "EXIF" if near else told_by, _outliers(taken, imaged_at, "EXIF"))
    if possible:
        imaged_at = _seconds(_typical(possible.values()))
        return Timed(imaged_at, "EXIF", _outliers(taken, imaged_at, "EXIF"))
    imaged_at = _seconds(_typical(changed.values() or [now]))
    return Timed(imaged_at, "files", (*_outliers(taken, imaged_at, "EXIF"), *_outliers(changed, imaged_at, "file")))


def _typical(times: Iterable[datetime]) -> datetime:
    all_times = list(times)
    days = Counter(time.date() for time in all_times)
    most = max(days, key=lambda day: (days[day], day))
    return median_low(time for time in all_times if time.date() == most)


def _outliers(times: Mapping[PurePosixPath, datetime], imaged_at: datetime, what: str) -> tuple[str, ...]:
    away = {file: time for file, time in times.items() if abs(time - imaged_at) > OUTLIER}
    if not away:
        return ()
    file, time = min(away.items(), key=lambda item: item[1])
    more = f" and {len(away) - 1} more" if len(away) > 1 else ""
    return (
        f"the {what} time of {readable(file)}{more} is another day's ({time:%Y-%m-%d %H:%M} UTC) and was passed over: "
        "look at the clock, or whether the file is of another inspection",
    )


def _seconds(time: datetime) -> datetime:
    return time.replace(microsecond=0)
