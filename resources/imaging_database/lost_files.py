"""Images that were given up because their files did not come, and that are looked for once more."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime

from sqlalchemy import and_, func, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.listed import FIRST_TIME, IS_NAMED
from resources.imaging_database.pending import unscored
from resources.imaging_database.schema import c4_image_failures, images, inspections
from resources.imaging_database.withheld import judged_and_withheld


def days_to_look_again(
    database: ImagingDatabase, scorer_versions: Iterable[str], before: datetime, most: int, since: datetime = FIRST_TIME
) -> dict[date, int]:
    """Counts the lost images of old days (UTC) that are to be looked for now, of the days that have waited longest.

    Of several scorer versions, that counts which has lost most of a day.

    It reads failures and not images, so it costs nothing where none is lost.

    Args:
        scorer_versions: names of the active models' versions.
        before: inspections of this time and later are left out: the poll counts them.
        since: earlier inspections are left out: no run would look for them.
        most: days at most, so that a decade of lost files makes a few runs an hour and not thousands.
    """
    failure = c4_image_failures.c
    days: dict[date, int] = {}
    with database.reading("poll") as connection:
        for version in scorer_versions:
            query = (
                select(inspections.c.imaged_at, func.count(images.c.id.distinct()))
                .select_from(c4_image_failures)
                .join(images, images.c.id == failure.image_id)
                .join(inspections, inspections.c.id == images.c.inspection_id)
                .where(
                    failure.scorer_version == version,
                    and_(failure.given_up.is_not(None), failure.given_up == true()),
                    failure.retry_at <= datetime.now(UTC),
                    inspections.c.imaged_at >= since,
                    inspections.c.imaged_at < before,
                    IS_NAMED,
                )
                .where(unscored(version), ~judged_and_withheld(version))
                .group_by(inspections.c.id, inspections.c.imaged_at)
                .order_by(func.min(failure.retry_at), inspections.c.imaged_at)
            )
            of_version = Counter[date]()
            for imaged_at, count in connection.execute(query):
                if (day := imaged_at.date()) in days or day in of_version or len(days.keys() | of_version) < most:
                    of_version[day] += count
            days |= {day: max(count, days.get(day, 0)) for day, count in of_version.items()}
    return days
