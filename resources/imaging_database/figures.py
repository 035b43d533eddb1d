"""Single figures of the imaging database that a monitor asks for every few seconds: each is a step down an index, or
reads the sensor's window.
"""

from datetime import datetime

from sqlalchemy import func, select

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import END_OF_TIME, FIRST_TIME, IS_NAMED
from resources.imaging_database.pending import is_left_alone, no_failure, unscored
from resources.imaging_database.schema import images, inspections, scores
from resources.imaging_database.withheld import judged_and_withheld


def last_scored(database: ImagingDatabase, scorer_version: str) -> datetime | None:
    """When the newest score of a scorer version was given; ``None`` without any."""
    query = select(func.max(scores.c.scored_at)).where(scores.c.scorer_version == scorer_version)
    with database.reading("metrics") as connection:
        return connection.scalar(query)


def oldest_due(
    database: ImagingDatabase, scorer_version: str, max_attempts: int, since: datetime, until: datetime
) -> datetime | None:
    """When the oldest image was imaged that a run could score now; ``None`` where nothing waits.

    Args:
        since, until: times of imaging to look at, ``until`` excluded; the cost grows with the images between them.
    """
    query = select(func.min(inspections.c.imaged_at)).join(images, images.c.inspection_id == inspections.c.id)
    query = query.where(
        inspections.c.imaged_at >= max(since, FIRST_TIME),
        inspections.c.imaged_at < min(until, END_OF_TIME),
        IS_NAMED,
        unscored(scorer_version),
        no_failure(scorer_version, is_left_alone(max_attempts, due_only=True)),
        ~judged_and_withheld(scorer_version),
    )
    with database.reading("metrics") as connection:
        return connection.scalar(query)
