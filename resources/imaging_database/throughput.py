"""The throughput of a scorer version: how many scores it wrote in each hour."""

from datetime import datetime, timedelta

from sqlalchemy import case, func, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import scores

HOUR = timedelta(hours=1)


def scores_by_hour(database: ImagingDatabase, scorer_version: str, now: datetime, hours: int = 24) -> list[int]:
    """Counts the scores of each of the last ``hours`` hours before ``now``, oldest first.

    One statement reads one range of the index of scorer version and time: its cost grows with these scores alone.
    """
    starts = [now - HOUR * ago for ago in range(hours, 0, -1)]
    query = select(
        *(
            func.count(case(((scores.c.scored_at >= start) & (scores.c.scored_at < start + HOUR), 1)))
            for start in starts
        )
    ).where(scores.c.scorer_version == scorer_version, scores.c.scored_at >= starts[0], scores.c.scored_at < now)
    with database.reading("status") as connection:
        return list(connection.execute(query).one())
