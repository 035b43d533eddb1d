"""Scores whose file was replaced, or whose image is another one by now: they are kept in a table of their own."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, exists, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import c4_scorer_versions, c4_superseded_scores, images, scores
from resources.imaging_database.statements import among
from resources.records import PROBABILITY_COLUMNS

SAME_PROBABILITY = 1e-6
"""Rows of release 0.1 do not say which file they are of. The same file has the same probabilities (float32)."""

_KEPT = [column.name for column in c4_superseded_scores.c if column.name in scores.c and column.name != "id"]


def scores_of_other_files(connection: Connection, version: str, rows: Sequence[Mapping[str, Any]]) -> dict[int, bool]:
    """The images that have a score of the version, and whether it is an older one of another file or place.

    Args:
        rows: of ``scores``, as they are to be written.
    """
    new = {row["image_id"]: row for row in rows}
    columns = [scores.c[name] for name in ("image_id", "scored_at", "image_sha256", "image_path", *PROBABILITY_COLUMNS)]
    found: dict[int, bool] = {}
    for these in among(connection, scores.c.image_id, sorted(new)):
        query = select(*columns).where(scores.c.scorer_version == version, these).order_by(scores.c.image_id)
        for stored in connection.execute(query).mappings():
            old = _row(stored)
            row = new[old["image_id"]]
            found[old["image_id"]] = _is_replaced(old, row)
    return found


def supersede(connection: Connection, version: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Puts newer scores in the place of older ones of another file. Returns how many those were.

    Repeated, or made twice at once, it ends as if made once: the old row is locked, and looked at again.
    """
    done = 0
    for row in rows:
        mine = (scores.c.image_id == row["image_id"]) & (scores.c.scorer_version == version)
        query = select(scores).where(mine).with_for_update()
        found = connection.execute(query).mappings().one_or_none()
        if found is None or not _is_replaced(old := _row(found), row):
            continue
        connection.execute(scores.update().where(mine).values(dict(row)))
        if not _same_file(old, row):
            _keep(connection, old)
            done += 1
    return done


def scores_of_other_places(connection: Connection, version: str, image_ids: Iterable[int]) -> set[int]:
    """Those of the images that have a score of a file at a place where the image is not listed any more."""
    listed = images.alias("listed")
    found: set[int] = set()
    for these in among(connection, scores.c.image_id, image_ids):
        query = (
            select(scores.c.image_id)
            .join(images, images.c.id == scores.c.image_id)
            .where(scores.c.scorer_version == version, scores.c.image_path != images.c.path, these)
            # A site's view may list an image at several places.
            .where(~exists().where(listed.c.id == scores.c.image_id, listed.c.path == scores.c.image_path))
        )
        found.update(connection.scalars(query))
    return found


def scores_of_replaced_files(
    connection: Connection, version: str, failed: Mapping[int, tuple[str, datetime]]
) -> set[int]:
    """Those of the images that have a score of an older file than the one that could not be decoded.

    Args:
        failed: digest and time of the attempt, by image.
    """
    found: set[int] = set()
    for these in among(connection, scores.c.image_id, sorted(failed)):
        query = select(scores.c.image_id, scores.c.image_sha256, scores.c.scored_at)
        for row in connection.execute(query.where(scores.c.scorer_version == version, these)):
            sha256, at = failed[row.image_id]
            if row.image_sha256 not in (None, sha256) and row.scored_at < at:
                found.add(row.image_id)
    return found


def retire_scores(database: ImagingDatabase, image_ids: Collection[int]) -> int:
    """Moves all machine scores of these images out of ``scores``, so that they are scored anew. Returns how many."""
    with database.writing("rescore") as connection:
        versions = list(connection.scalars(select(c4_scorer_versions.c.name).order_by(c4_scorer_versions.c.name)))
        return sum(retire(connection, version, image_ids) for version in versions)


def retire(connection: Connection, version: str, image_ids: Iterable[int]) -> int:
    """Moves scores out of ``scores``: the images wait for one of their own. Returns how many were there."""
    done = 0
    for image_id in sorted(image_ids):
        mine = (scores.c.image_id == image_id) & (scores.c.scorer_version == version)
        found = connection.execute(select(scores).where(mine).with_for_update()).mappings().one_or_none()
        if found is not None:
            _keep(connection, _row(found))
            connection.execute(scores.delete().where(mine))
            done += 1
    return done


def _keep(connection: Connection, old: Mapping[str, Any]) -> None:
    kept = {name: old[name] for name in _KEPT}
    connection.execute(c4_superseded_scores.insert().values(**kept, superseded_at=datetime.now(UTC)))


def _row(stored: RowMapping) -> dict[str, Any]:
    return {str(name): value for name, value in stored.items()}


def _is_replaced(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a row is of another file than one that is to be written, and older, or of a place that is not listed."""
    elsewhere = old["image_path"] not in (None, new["image_path"])
    return elsewhere or (old["scored_at"] < new["scored_at"] and not _same_file(old, new))


def _same_file(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if old["image_sha256"] is not None and new["image_sha256"] is not None:
        return bool(old["image_sha256"] == new["image_sha256"])
    pairs = [(old[name], new[name]) for name in PROBABILITY_COLUMNS]
    return all(one is not None and abs(one - other) <= SAME_PROBABILITY for one, other in pairs)
