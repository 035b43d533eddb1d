"""Pictures of offending images, from where a step may look."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from resources.archive.score_archive import ScoreArchive
from resources.errors import C4Error
from resources.image_store import ImageStore

OffendingRows = Sequence[Mapping[str, Any]]

Pictures = Callable[[OffendingRows], Sequence[bytes | None]]
"""An image file for each row, by its ``path``, or ``None`` where there is none."""


def pictures_in(store: ImageStore) -> Pictures:
    """Pictures from the image store: only for a step that holds a slot of the pool ``image_store``."""

    def fetch(rows: OffendingRows) -> Sequence[bytes | None]:
        try:
            return [image.data for image in store.fetch([str(row["path"]) for row in rows])]
        except C4Error:
            return [None] * len(rows)  # the pictures are a help, not the result

    return fetch


def thumbnails_in(archive: ScoreArchive, day: date) -> Pictures:
    """The thumbnails that the archive keeps of a day's likeliest crystals: no connection to the storage host."""

    def read(rows: OffendingRows) -> Sequence[bytes | None]:
        kept = {outcome.image.path: outcome.thumbnail for outcome in archive.outcomes(day)}
        return [kept.get(str(row["path"])) for row in rows]

    return read
