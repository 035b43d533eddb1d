"""By when assets are to be made again: Dagster's own freshness policies, and what tells it of new inspections.

A policy looks at the newest materialisation of an asset, of whatever partition. On ``db_scores`` it says that Dagster
works: the run that settles the day before makes it every morning, whether anything was imaged or not. That nothing is
imaged any more shows on ``inspections``, which only :func:`seen` makes.
"""

from datetime import datetime, timedelta

import dagster as dg

from c4_assets.deployment import SETTINGS
from resources.settings.freshness import SETTLES_AT_HOUR, Freshness

INSPECTIONS = "inspections"


def policies(settings: Freshness) -> dict[str, dg.FreshnessPolicy]:
    """The policies by asset."""
    return {
        INSPECTIONS: dg.FreshnessPolicy.time_window(
            fail_window=settings.inspections_fail_window, warn_window=timedelta(hours=settings.inspections_warn_hours)
        ),
        "db_scores": dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {settings.scores_hour} * * *",
            lower_bound_delta=timedelta(hours=settings.scores_hour - SETTLES_AT_HOUR),
        ),
        "ashes_disagreements": dg.FreshnessPolicy.time_window(
            fail_window=timedelta(days=settings.disagreements_fail_days),
            warn_window=timedelta(days=settings.disagreements_warn_days),
        ),
        "backlog_coverage": dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=settings.backlog_fail_hours),
            warn_window=timedelta(hours=settings.backlog_warn_hours),
        ),
    }


POLICIES = policies(SETTINGS.freshness)


def seen(newest: datetime | None, before: datetime | None, now: datetime, settings: Freshness) -> datetime | None:
    """The newest inspection, if Dagster is to be told of it.

    Args:
        newest: time of the newest inspection in the database that is not in the future.
        before: the one that Dagster was told of last.

    Returns:
        None where nothing is newer, and for one that is too old to make the asset fresh: the first look at the database
        of an imager that has stopped must not say that all is well.
    """
    if newest is None or (before is not None and newest <= before):
        return None
    return newest if now - newest < settings.inspections_fail_window else None


def inspections_seen(newest: datetime) -> dg.AssetMaterialization:
    """The event that makes ``inspections`` fresh."""
    return dg.AssetMaterialization(INSPECTIONS, metadata={"newest inspection": dg.MetadataValue.timestamp(newest)})
