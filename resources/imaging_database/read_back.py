"""What the database holds of a scorer version, read back after writing."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import or_, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import IS_NAMED, is_dated
from resources.imaging_database.schema import c4_scorer_versions, images, inspections, score_classes, scores
from resources.imaging_database.statements import among
from resources.imaging_database.work import day_bounds
from resources.records import PROBABILITY_COLUMNS, Image, ImageOutcome

SAMPLED_AN_INSPECTION = 200
"""Rows looked at for each inspection of a sample: the images of one lie side by side."""


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


@dataclass(frozen=True)
class WrittenContent:
    """The file that a machine score is of: its digest, ``None`` in rows of release 0.1, and the time of the score."""

    sha256: str | None
    scored_at: datetime


def written_contents(database: ImagingDatabase, image_ids: Iterable[int]) -> dict[int, list[WrittenContent]]:
    """The files that the database's machine scores of these images are of, whatever scorer version gave them."""
    found: dict[int, list[WrittenContent]] = {}
    with database.reading("list images") as connection:
        for these in among(connection, scores.c.image_id, image_ids):
            query = select(scores.c.image_id, scores.c.image_sha256, scores.c.scored_at).where(
                scores.c.scorer_version.is_not(None), these
            )
            for row in connection.execute(query):
                found.setdefault(row.image_id, []).append(WrittenContent(row.image_sha256, row.scored_at))
    return found


def paths_of_other_days(database: ImagingDatabase, day: date, most: int) -> list[str]:
    """Places of images that were not imaged on a day, one an inspection: scored ones or, without any, newest ones.

    What has been scored was in the image store once.
    """
    start, end = day_bounds(day)
    elsewhere = or_(inspections.c.imaged_at < start, inspections.c.imaged_at >= end) & images.c.path.is_not(None)
    of_others = (
        select(images.c.inspection_id, images.c.path)
        .join(inspections, inspections.c.id == images.c.inspection_id)
        .where(elsewhere, is_dated(), IS_NAMED)
        .limit(most * SAMPLED_AN_INSPECTION)
    )
    scored = of_others.join(scores, (scores.c.image_id == images.c.id) & (scores.c.image_path == images.c.path))
    with database.reading("list images") as connection:
        versions = select(c4_scorer_versions.c.name).order_by(c4_scorer_versions.c.first_used_at.desc())
        for version in connection.scalars(versions).all():
            newest = scored.where(scores.c.scorer_version == version).order_by(scores.c.scored_at.desc())
            if rows := connection.execute(newest).all():
                break
        else:
            rows = connection.execute(of_others.order_by(inspections.c.imaged_at.desc())).all()
    return list({row.inspection_id: row.path for row in rows}.values())[:most]


def written_outcomes(database: ImagingDatabase, scorer_version: str, listed: Iterable[Image]) -> list[ImageOutcome]:
    """What a scorer version wrote of these images, as outcomes: those of its rows that are of the image's own path."""
    by_id = {image.image_id: image for image in listed}
    found: list[ImageOutcome] = []
    with database.reading("read back") as connection:
        for these in among(connection, scores.c.image_id, by_id):
            query = select(
                scores.c.image_id,
                scores.c.image_path,
                scores.c.image_sha256,
                scores.c.scored_at,
                *(scores.c[name] for name in PROBABILITY_COLUMNS),
            ).where(scores.c.scorer_version == scorer_version, these)
            for row in connection.execute(query):
                image, probabilities = by_id[row.image_id], [getattr(row, name) for name in PROBABILITY_COLUMNS]
                if row.image_path == image.path and row.image_sha256 and None not in probabilities:
                    clear, crystals, other, precipitate = map(float, probabilities)
                    vector = (clear, crystals, other, precipitate)
                    found.append(ImageOutcome(image, row.scored_at, row.image_sha256, vector))
    return found


def listed_images(database: ImagingDatabase, image_ids: Iterable[int]) -> set[int]:
    """Those of the images that the database lists."""
    found: set[int] = set()
    with database.reading("read back") as connection:
        for these in among(connection, images.c.id, image_ids):
            found.update(connection.scalars(select(images.c.id).where(these)))
    return found
