"""How many scores a scorer version wrote in each hour, and when anything was imaged."""

from datetime import datetime, timedelta

from sqlalchemy import case, func, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import newest_time
from resources.imaging_database.schema import inspections, scores

HOUR = timedelta(hours=1)

MOST_TIMES = 50_000
"""Times of imaging that are read at once, within a second: nine weeks of 790 inspections a day."""


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


def imaging_times(database: ImagingDatabase, now: datetime, span: timedelta) -> list[datetime]:
    """Times of imaging of the inspections within a span that ends with the newest one before ``now``, the newest first,
    :data:`MOST_TIMES` at most.
    """
    with database.reading("watch") as connection:
        last: datetime | None = connection.scalar(newest_time(now))
        if last is None:
            return []
        within = inspections.c.imaged_at > last - span, inspections.c.imaged_at <= last
        query = (
            select(inspections.c.imaged_at).where(*within).order_by(inspections.c.imaged_at.desc()).limit(MOST_TIMES)
        )
        return list(connection.scalars(query))
