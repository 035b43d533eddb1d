"""Scores whose file was replaced: the row says what the new file's are, and what it said before is kept beside it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from resources.imaging_database.schema import c4_superseded_scores, scores
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
            kept = {name: old[name] for name in _KEPT}
            connection.execute(c4_superseded_scores.insert().values(**kept, superseded_at=datetime.now(UTC)))
            done += 1
    return done


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
