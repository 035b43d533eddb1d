"""What the database holds of a scorer version, read back after writing."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import images, score_classes, scores
from resources.imaging_database.statements import among
from resources.records import PROBABILITY_COLUMNS


@dataclass(frozen=True)
class StoredScore:
    """A row of ``scores``: the name of its class, ``None`` where that is gone, and the four probabilities."""

    image_id: int
    category: str | None
    probabilities: tuple[float | None, ...]


def stored_scores(database: ImagingDatabase, scorer_version: str, image_ids: Iterable[int]) -> list[StoredScore]:
    """Every row that a scorer version has of these images, doubled ones and those of unlisted images included."""
    found: list[StoredScore] = []
    with database.reading("read back") as connection:
        for these in among(connection, scores.c.image_id, image_ids):
            query = (
                select(
                    scores.c.image_id,
                    score_classes.c.name.label("category"),
                    *(scores.c[name] for name in PROBABILITY_COLUMNS),
                )
                .outerjoin(score_classes, score_classes.c.id == scores.c.score_class_id)
                .where(scores.c.scorer_version == scorer_version, these)
            )
            found += [
                StoredScore(row.image_id, row.category, tuple(getattr(row, name) for name in PROBABILITY_COLUMNS))
                for row in connection.execute(query)
            ]
    return found


def listed_images(database: ImagingDatabase, image_ids: Iterable[int]) -> set[int]:
    """Those of the images that the database lists."""
    found: set[int] = set()
    with database.reading("read back") as connection:
        for these in among(connection, images.c.id, image_ids):
            found.update(connection.scalars(select(images.c.id).where(these)))
    return found
