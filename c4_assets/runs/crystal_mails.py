"""The job that puts mails of new crystals down, and what asks for it.

It is a run and no part of ``db_scores``: a mail must neither slow nor fail what scores. It runs where the run worker
does, beside the outbox, whatever machines or jobs of a cluster the steps are; it holds a slot of the pool
``image_store``, because pictures that the archive has not kept come from there.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parseaddr

import dagster as dg

from c4_assets.checks.pictures import pictures_in
from c4_assets.models.active import ActiveModels
from c4_assets.models.marco.preprocessing import thumbnail
from c4_assets.operations.alerts.state import alerts_folder, outbox_of
from c4_assets.operations.crystal_mails import Decider, News, Unsubscribing, news, tell
from c4_assets.runs.executors import EXECUTORS
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from c4_assets.scoring.classify import ARCHIVED_THUMBNAIL_SIDE
from resources.archive.score_archive import ScoreArchive
from resources.archive.subscriptions import Subscriptions
from resources.errors import ImageError
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.crystals import Crystal
from resources.settings import Settings

NO_MAIL_SERVER = "No mail server is set up (alerts.email), so nobody can be told of new crystals."


def decider_of(models: ActiveModels, settings: Settings) -> Decider:
    """The decision of the current model, whose scores are those that people see."""
    version = models.peek()[0].version
    return Decider(version.name, version.crystal_threshold, settings.runs.max_attempts)


def waiting_news(database: ImagingDatabase, models: ActiveModels, settings: Settings, now: datetime) -> list[News]:
    """What is to be told now.

    Raises:
        Unavailable, ConfigurationError: see :func:`c4_assets.operations.crystal_mails.news`.
    """
    subscriptions = Subscriptions(settings.data)
    if not subscriptions.all():
        return []
    return news(subscriptions, database, decider_of(models, settings), settings.subscriptions, now)


def pictures_of(archive: ScoreArchive, store: ImageStore | None) -> Callable[[Sequence[Crystal]], list[bytes | None]]:
    """Pictures of crystals: the archive's thumbnails, which it has of each day's likeliest, and else from the store.

    Args:
        store: only a step that holds a slot of its pool may give it.
    """

    def read(crystals: Sequence[Crystal]) -> list[bytes | None]:
        kept: dict[int, bytes] = {}
        for day in sorted({each.imaged_at.date() for each in crystals}):
            kept |= archive.thumbnails(day)
        lacking = [each for each in crystals if each.image.image_id not in kept]
        if lacking and store is not None:
            fetched = pictures_in(store)([{"path": each.image.path} for each in lacking])
            for each, data in zip(lacking, fetched, strict=False):
                if data and (small := _small(data)):
                    kept[each.image.image_id] = small
        return [kept.get(each.image.image_id) for each in crystals]

    return read


def _small(data: bytes) -> bytes | None:
    try:
        return thumbnail(data, ARCHIVED_THUMBNAIL_SIDE)
    except ImageError:
        return None  # the mail names the drop


@dg.op(pool="image_store", retry_policy=CPU_RETRIES)
def tell_subscribers(
    context: dg.OpExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Puts a mail down for every subscriber and inspection that is to be told, into the outbox that others empty."""
    now = datetime.now(UTC)
    with translate_errors(context), closing(image_store):
        found = waiting_news(imaging_database, models, settings, now)
        outbox, email = outbox_of(alerts_folder(settings.home)), settings.alerts.email
        told = tell(
            found,
            Subscriptions(settings.data),
            imaging_database,
            decider_of(models, settings),
            settings.subscriptions,
            Unsubscribing(settings.alerts.ui_url, parseaddr(email.sender)[1] if email else None),
            pictures_of(models.archive(models.current), image_store),
            lambda message: outbox.put([message]),
            now,
        )
    context.add_output_metadata({"inspections": len(found), "mails": told})


tell_crystals = dg.JobDefinition(
    graph_def=dg.GraphDefinition("tell_crystals", node_defs=[tell_subscribers]),
    executor_def=EXECUTORS["in_process"],
    description="Tells those who subscribed to a plate of its new crystals. Runs where the run worker does.",
)
