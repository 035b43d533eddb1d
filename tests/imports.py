"""A folder as an imager leaves it, and its import."""

import os
from datetime import UTC, datetime
from pathlib import Path

from c4_assets.importing.folder import ImportResult, import_folder
from c4_assets.importing.reading import Import
from resources.image_store import LocalStore
from tests.conftest import Facility, photograph

TAKEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def plate_folder(within: Path) -> Path:
    """A plate of four drops outside the store, changed at a known time."""
    folder = within / "from the imager"
    folder.mkdir()
    for seed, name in enumerate(["90j8_01A_1.jpg", "90j8_01A_2.jpg", "90j8_02A_1.jpg", "90j8_02A_2.jpg"]):
        (folder / name).write_bytes(photograph(seed))
        os.utime(folder / name, (TAKEN.timestamp() + seed, TAKEN.timestamp() + seed))
    return folder


def store_of(facility: Facility) -> LocalStore:
    return LocalStore.at(facility.settings.store.url)


def imported(facility: Facility, folder: Path, imaged_at: datetime | None = None, **options: object) -> ImportResult:
    what = Import(folder, **options)  # pyright: ignore[reportArgumentType]
    return import_folder(what, facility.database, store_of(facility), imaged_at)
