"""Fetch the images of a day that have no score yet, an inspection at a time, into the staging area."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby

import dagster as dg

from c4_assets.checks.images import image_tables, known_files
from c4_assets.checks.pictures import pictures_in
from c4_assets.checks.results import DataChecks
from c4_assets.checks.specs import specs_of
from c4_assets.days import Events, Result, days_of, process_days
from c4_assets.importing.exif import taken_at_of
from c4_assets.operator_errors import translate_errors
from c4_assets.partitions import DAYS, SEVERAL_DAYS
from c4_assets.shared import (
    CPU_RETRIES,
    FACILITY,
    GROUP,
    IMAGES_LEFT_KEY,
    IMAGES_PER_SECOND_KEY,
    IMAGES_STAGED_KEY,
    peak_memory,
    scorer_version_metadata,
)
from resources.errors import Unavailable
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.work import Image, pending_images
from resources.score_archive import ScoreArchive
from resources.settings import Settings
from resources.staging import StagedImage, Staging
from resources.step_resources import StepResources

log = logging.getLogger("c4.fetch")

PATIENCE_S = 2 * 3600
"""Seconds that fetching waits while nothing leaves the staging area: steps with GPUs may be queued."""

POLL_S = 5
"""Seconds between two looks at a full staging area."""


@dataclass
class StagedDay:
    """What :func:`stage_day` did: counts of inspections and images, and bytes of images."""

    pending: int = 0
    already_scored: int = 0
    already_staged: int = 0
    left: int = 0
    inspections: int = 0
    images: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0


def stage_day(
    day: date,
    database: ImagingDatabase,
    store: ImageStore,
    staging: Staging,
    archive: ScoreArchive,
    max_attempts: int,
    room: int,
    run: Sequence[date] = (),
) -> StagedDay:
    """Stages every pending image of a day that is neither staged nor in the archive with a score.

    An image that cannot be fetched is staged with the reason in place of its bytes.

    Args:
        room: bytes that may be staged, by all runs together. When they are, a run that has something staged leaves the
            rest, for it is the one that makes room by going on; a run that has nothing waits.
        run: all days of the run, where there are several.

    Raises:
        Unavailable: the database or the image store does not answer, or nobody makes room. Inspections staged before
            stay staged.
    """
    started = time.monotonic()
    result = StagedDay()
    pending = pending_images(database, archive.scorer_version, max_attempts, day)
    scored = {outcome.image.image_id for outcome in archive.outcomes(day) if outcome.error is None}
    result.pending = len(pending)
    for inspection_id, group in groupby(pending, key=lambda image: image.inspection_id):
        images = list(group)
        wanted = [image for image in images if image.image_id not in scored]
        result.already_scored += len(images) - len(wanted)
        if {image.image_id for image in wanted} <= staging.image_ids(day, inspection_id):
            result.already_staged += len(wanted)
            continue
        if staging.size() >= room:
            if any(staging.inspections(each) for each in (day, *run)):
                result.left += len(wanted)
                continue
            _wait_for_room(staging, room)
        staged = staging.write(day, inspection_id, fetch_images(store, wanted))
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


def _wait_for_room(staging: Staging, room: int) -> None:
    log.info("waiting: %.1f GB are staged, and C4_STAGING_GIGABYTES allows %.1f", staging.size() / 1e9, room / 1e9)
    least, since = staging.size(), time.monotonic()
    while (size := staging.size()) >= room:
        if size < least:
            least, since = size, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            raise Unavailable(
                f"{size / 1e9:.1f} GB are staged, C4_STAGING_GIGABYTES allows {room / 1e9:.1f}, and nothing was taken "
                f"out for {PATIENCE_S / 3600:.0f} hours: see why classification stands still, and remove folders of "
                "scorer versions that are not used any more from C4_STAGING."
            )
        time.sleep(POLL_S)


def fetch_images(store: ImageStore, images: Sequence[Image]) -> Iterator[StagedImage]:
    """An inspection's images as they arrive, with digests, or with the reason why one did not."""
    fetched_at = datetime.now(UTC)
    # The store yields every path once, in order; an image that is listed under two numbers is fetched once for each.
    for image, fetched in zip(images, store.fetch([image.path for image in images]), strict=True):
        digest = None if fetched.data is None else hashlib.sha256(fetched.data).hexdigest()
        taken = None if fetched.data is None else taken_at_of(fetched.data)
        yield StagedImage(image, fetched_at, fetched.data, fetched.error, digest, taken)


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=SEVERAL_DAYS,
    deps=["inspections"],
    pool="image_store",
    group_name=GROUP,
    kinds={"arrow"},
    owners=[FACILITY],
    op_tags=StepResources(cpus=2, memory_gb=4, minutes=240).as_tag(),
    retry_policy=CPU_RETRIES,
    check_specs=specs_of("raw_inspection_images", DAYS),
)
def raw_inspection_images(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    staging: dg.ResourceParam[Staging],
    score_archive: dg.ResourceParam[ScoreArchive],
    settings: dg.ResourceParam[Settings],
    data_checks: dg.ResourceParam[DataChecks],
) -> Events:
    """Images of the day that wait for a score: one staged Arrow file an inspection.

    Staged files are a buffer and leave when their probabilities are durable, so a partition that is up to date holds
    nothing. Images that cannot be fetched are staged with the reason and end up in `c4 status --failures`.
    """
    room = round(settings.staging_gigabytes * 1e9)
    days = days_of(context)

    def process_day(day: date) -> Result:
        staged = stage_day(
            day, imaging_database, image_store, staging, score_archive, settings.max_attempts, room, days
        )
        listed = inspections_of_day(imaging_database, day)
        files = known_files(day, listed, staging, score_archive)
        tables = image_tables(listed, files, data_checks.thresholds.images, datetime.now(UTC))
        checked = data_checks.evaluate("raw_inspection_images", day, tables, pictures_in(image_store))
        return dg.MaterializeResult(
            metadata={
                **_staging_metadata(staged),
                **scorer_version_metadata(score_archive.scorer_version),
                **checked.metadata,
            },
            check_results=checked.check_results,
        )

    # The pool counts steps: when this one ends, its connection must have ended, too.
    with translate_errors(context), closing(image_store):
        yield from process_days(context, process_day)


def _staging_metadata(day: StagedDay) -> dict[str, float]:
    return {
        "pending images": day.pending,
        IMAGES_STAGED_KEY: day.images,
        "images failed": day.failed,
        "images staged before": day.already_staged,
        "images scored before": day.already_scored,
        IMAGES_LEFT_KEY: day.left,
        "inspections staged": day.inspections,
        "megabytes": round(day.bytes / 1e6, 1),
        IMAGES_PER_SECOND_KEY: round(day.images / day.seconds, 1) if day.seconds else 0.0,
        "seconds": round(day.seconds, 1),
        "peak memory (MB)": peak_memory(),
    }
