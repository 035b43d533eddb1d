"""Fetch the images of a day that have no score yet, an inspection at a time, into the staging area."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

import dagster as dg

from c4_assets.operator_errors import told_to_the_operator
from c4_assets.partitions import DAYS, day_of
from c4_assets.shared import CPU_RETRIES, FACILITY, GROUP, scorer_version
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import Image, pending_images
from resources.score_archive import ScoreArchive
from resources.settings import Settings
from resources.staging import StagedImage, Staging
from resources.step_resources import StepResources

log = logging.getLogger("c4.fetch")


@dataclass
class StagedDay:
    """What :func:`stage_day` did: counts of inspections and images, and bytes of images."""

    pending: int = 0
    already_scored: int = 0
    already_staged: int = 0
    inspections: int = 0
    images: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0


def stage_day(
    day: date, database: ImagingDatabase, store: ImageStore, staging: Staging, archive: ScoreArchive, max_attempts: int
) -> StagedDay:
    """Stages every pending image of a day that is neither staged nor in the archive with a score.

    An image that cannot be fetched is staged with the reason in place of its bytes.

    Raises:
        Unavailable: the database or the image store does not answer. Inspections staged before stay staged.
    """
    started = time.monotonic()
    result = StagedDay()
    pending = pending_images(database, archive.scorer, max_attempts, day)
    scored = {outcome.image.image_id for outcome in archive.outcomes(day) if outcome.error is None}
    result.pending = len(pending)
    for inspection_id, group in groupby(pending, key=lambda image: image.inspection_id):
        images = list(group)
        wanted = [image for image in images if image.image_id not in scored]
        result.already_scored += len(images) - len(wanted)
        if {image.image_id for image in wanted} <= staging.image_ids(day, inspection_id):
            result.already_staged += len(wanted)
            continue
        staged = staging.write(day, inspection_id, _fetch(store, wanted))
        result.inspections += 1
        result.images += staged.images - staged.failed
        result.failed += staged.failed
        result.bytes += staged.bytes
        log.info(
            "staged %d images of plate %s, inspection %d (%.1f MB)%s",
            staged.images - staged.failed,
            images[0].plate,
            inspection_id,
            staged.bytes / 1e6,
            f"; {staged.failed} could not be fetched" if staged.failed else "",
        )
    result.seconds = time.monotonic() - started
    return result


def _fetch(store: ImageStore, images: Sequence[Image]) -> Iterator[StagedImage]:
    fetched_at = datetime.now(UTC)
    # The store yields every path once, in order; an image that is listed under two numbers is fetched once for each.
    for image, fetched in zip(images, store.fetch([image.path for image in images]), strict=True):
        digest = None if fetched.data is None else hashlib.sha256(fetched.data).hexdigest()
        yield StagedImage(image, fetched_at, fetched.data, fetched.error, digest)


@dg.asset(
    partitions_def=DAYS,
    deps=["inspections"],
    pool="image_store",
    group_name=GROUP,
    kinds={"arrow"},
    owners=[FACILITY],
    op_tags=StepResources(cpus=2, memory_gb=4, minutes=240).as_tag(),
    retry_policy=CPU_RETRIES,
)
def raw_inspection_images(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    staging: dg.ResourceParam[Staging],
    score_archive: dg.ResourceParam[ScoreArchive],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[Any]:
    """Images of the day that wait for a score: one staged Arrow file an inspection.

    Staged files are a buffer and leave when their probabilities are durable, so a partition that is up to date holds
    nothing. Images that cannot be fetched are staged with the reason and end up in `c4 status --failures`.
    """
    with told_to_the_operator():
        day = stage_day(day_of(context), imaging_database, image_store, staging, score_archive, settings.max_attempts)
    return dg.MaterializeResult(
        metadata={
            "pending images": day.pending,
            "images staged": day.images,
            "images failed": day.failed,
            "images staged before": day.already_staged,
            "images scored before": day.already_scored,
            "inspections staged": day.inspections,
            "megabytes": round(day.bytes / 1e6, 1),
            "images per second": round(day.images / day.seconds, 1) if day.seconds else 0.0,
            "scorer version": scorer_version(score_archive.scorer),
        }
    )
