"""Pictures of offending images, from the image store or from the archive's thumbnails."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from resources.archive.score_archive import ScoreArchive
from resources.errors import C4Error
from resources.image_store import ImageStore

OffendingRows = Sequence[Mapping[str, Any]]

Pictures = Callable[[OffendingRows], Sequence[bytes | None]]
"""Gives an image file for each row, found by its ``path``, or ``None``."""


def pictures_in(store: ImageStore) -> Pictures:
    """Pictures from the image store. Only a step that holds a slot of the pool ``image_store`` may use it."""

    def fetch(rows: OffendingRows) -> Sequence[bytes | None]:
        try:
            return [image.data for image in store.fetch([str(row["path"]) for row in rows])]
        except C4Error:
            return [None] * len(rows)  # the pictures are an aid; the result does not depend on them

    return fetch


def thumbnails_in(archive: ScoreArchive, day: date) -> Pictures:
    """The thumbnails of a day's likeliest crystals in the archive. No connection to the storage host is made."""

    def read(rows: OffendingRows) -> Sequence[bytes | None]:
        kept = {outcome.image.path: outcome.thumbnail for outcome in archive.outcomes(day)}
        return [kept.get(str(row["path"])) for row in rows]

    return read
