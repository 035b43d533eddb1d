"""A deployment that is saved, destroyed and put back."""

import hashlib
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from c4_assets.command.backup import places_of
from c4_assets.operations.backup.restoring import Restored, restore
from c4_assets.operations.backup.saving import Part, Saved, save
from tests.conftest import Facility, photograph

NOW = datetime(2026, 3, 31, 4, 0, tzinfo=UTC)
ALL = frozenset(Part)

MakeFacility = Callable[..., Facility]


def files(first: int) -> dict[str, bytes]:
    return {f"{number}.jpg": photograph(number) for number in range(first, first + 3)}


def saved(facility: Facility, folder: Path, hours: int = 0, full: bool = False) -> Saved:
    return save(folder, places_of(facility.settings), "0.2.0", NOW + timedelta(hours=hours), full)


def put_back(facility: Facility, backup: Path, parts: frozenset[Part] = ALL, force: bool = False) -> Restored:
    facility.database.engine.dispose()
    return restore(backup, places_of(facility.settings), facility.settings.home, NOW, parts, force)


def destroyed(facility: Facility) -> None:
    """The disk with everything but the images is gone."""
    facility.database.engine.dispose()
    for each in facility.settings.home.iterdir():
        if each != facility.images:
            subprocess.run(["rm", "-r", str(each)], check=True)


def scores(facility: Facility) -> list[tuple[str, str]]:
    """Path and digest of every machine score, each as often as it is there."""
    query = "select path, image_sha256 from scores join images on images.id = image_id order by path"
    return [(path, sha256) for path, sha256 in facility.rows(query)]


def expected(*plates: tuple[str, Mapping[str, bytes]]) -> list[tuple[str, str]]:
    return sorted(
        (f"{plate}/{name}", hashlib.sha256(data).hexdigest()) for plate, of in plates for name, data in of.items()
    )
