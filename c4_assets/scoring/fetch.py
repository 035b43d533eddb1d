"""Fetch the images of a day that have no score yet, an inspection at a time, into the staging area."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain

from c4_assets.scoring.exif import taken_at_of
from c4_assets.scoring.restore import restore_day
from c4_assets.scoring.store_in_doubt import require_some_file
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedImage, StagedInspection, Staging
from resources.errors import Unavailable, outages_of
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.read_back import WrittenContent, written_contents
from resources.imaging_database.work import pending_images
from resources.log_context import working_on
from resources.records import Image, ImageOutcome
from resources.redaction import redacted
from resources.tracing import inspection_span

log = logging.getLogger("c4.fetch")


PATIENCE_S = 2 * 3600
"""Seconds that fetching waits while nothing leaves the staging area: steps with GPUs may be queued."""


POLL_S = 5
"""Seconds between two looks at a full staging area."""


Passing = Callable[[date, int, Iterable[StagedImage]], Iterable[StagedImage]]
"""Is handed the images of an inspection of a day, and passes them on as they are, to be staged."""


def _as_they_come(day: date, inspection_id: int, images: Iterable[StagedImage]) -> Iterable[StagedImage]:
    return images


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

    def count(self, staged: StagedInspection, of: Image) -> None:
        """Adds an inspection that was staged; ``of`` is one of its images."""
        self.inspections += 1
        self.images += staged.images - staged.failed
        self.failed += staged.failed
        self.bytes += staged.bytes
        log.info(
            "staged %d images of plate %s, inspection %d (%.1f MB)%s",
            staged.images - staged.failed,
            of.plate,
            of.inspection_id,
            staged.bytes / 1e6,
            f"; {staged.failed} could not be fetched" if staged.failed else "",
        )


def stage_day(
    day: date,
    database: ImagingDatabase,
    store: ImageStore,
    staging: Staging,
    archives: Sequence[ScoreArchive],
    max_attempts: int,
    room: int,
    run: Sequence[date] = (),
    passing: Passing = _as_they_come,
) -> StagedDay:
    """Stages every pending image of a day that is neither staged nor known to all models.

    An image is fetched once, whatever models wait for it. One that cannot be fetched is staged with the reason in
    place of its bytes, unless nothing can be fetched at all: that is no matter of the images.

    Args:
        archives: of the active models.
        room: bytes that may be staged, by all runs together. When they are, a run that has something staged leaves the
            rest, for it is the one that makes room by going on; a run that has nothing waits.
        run: all days of the run, where there are several.
        passing: sees each image on its way, while its bytes are in memory.

    Raises:
        Unavailable: the database or the image store does not answer or refuses everything, or nobody makes room.
            Inspections staged before stay staged.
        ConfigurationError: not one file is where the database says, of this day or of others.
    """
    started = time.monotonic()
    result = StagedDay()
    for archive in archives:
        restore_day(day, database, archive)
    pending, needed = _pending(day, database, archives, max_attempts)
    not_one: dict[int, list[StagedImage]] = {}
    for inspection_id, images in pending.items():
        wanted = [image for image in images if image in needed]
        result.pending += len(images)
        result.already_scored += len(images) - len(wanted)
        if set(wanted) <= staging.images(day, inspection_id):
            result.already_staged += len(wanted)
            continue
        if staging.size() >= room:
            if any(staging.inspections(each) for each in (day, *run)):
                result.left += len(wanted)
                continue
            _wait_for_room(staging, room)
        of = images[0]
        with working_on(inspection_id=inspection_id), inspection_span("fetch", inspection_id, of.plate, len(wanted)):
            failed, others = _until_one_arrives(fetch_images(store, wanted))
            if others is None:
                not_one[inspection_id] = failed
            else:
                images_on_their_way = passing(day, inspection_id, chain(failed, others))
                result.count(staging.write(day, inspection_id, images_on_their_way), images[0])
    asked_for = [row for rows in not_one.values() for row in rows if not row.image.unusable]
    if asked_for and not result.images and not result.already_staged and not _is_known(day, archives):
        with outages_of("store"):
            require_some_file(day, asked_for, database, store)
    for inspection_id, failed in not_one.items():
        with working_on(inspection_id=inspection_id):
            count, why = len(failed), failed[0].error
            log.warning("inspection %d: none of its %d images was fetched: %s", inspection_id, count, why)
            result.count(staging.write(day, inspection_id, passing(day, inspection_id, failed)), failed[0].image)
    result.seconds = time.monotonic() - started
    return result


def _until_one_arrives(rows: Iterator[StagedImage]) -> tuple[list[StagedImage], Iterator[StagedImage] | None]:
    """The images that failed before the first one arrived, and that one with all that follow, ``None`` without any."""
    failed: list[StagedImage] = []
    for row in rows:
        if row.data is not None:
            return failed, chain([row], rows)
        failed.append(row)
    return failed, None


def _is_known(day: date, archives: Sequence[ScoreArchive]) -> bool:
    """Whether a file of the day has ever been seen."""
    return any(outcome.sha256 for archive in archives for outcome in archive.outcomes(day))


def _pending(
    day: date, database: ImagingDatabase, archives: Sequence[ScoreArchive], max_attempts: int
) -> tuple[dict[int, list[Image]], set[Image]]:
    """The images that some model has not scored, by inspection, and those of them that must be fetched."""
    pending: dict[int, dict[int, Image]] = {}
    needed: set[Image] = set()
    for archive in archives:
        images = pending_images(database, archive.scorer_version, max_attempts, day)
        needed |= set(images) - _proved(images, day, database, archive)
        for image in images:
            pending.setdefault(image.inspection_id, {})[image.image_id] = image
    return {inspection_id: list(images.values()) for inspection_id, images in pending.items()}, needed


def _proved(images: Sequence[Image], day: date, database: ImagingDatabase, archive: ScoreArchive) -> set[Image]:
    """The images whose numbers in the archive are theirs without a doubt, so that they need not be fetched.

    A number is no identity: after an import was corrected, or a backup restored, it may be another image's. So the
    archive is believed only where the database has a score of the same file for the image, by another operating point
    or another model. Otherwise the file is fetched and compared, and classified only if it is another one.
    """
    known = {outcome.image: outcome for outcome in archive.outcomes(day) if outcome.error is None}
    asked = [image for image in images if image in known]
    written = written_contents(database, [image.image_id for image in asked])
    return {image for image in asked if _is_proved(known[image], written.get(image.image_id, ()))}


def _is_proved(outcome: ImageOutcome, written: Sequence[WrittenContent]) -> bool:
    newer = any(row.sha256 not in (None, outcome.sha256) and row.scored_at > outcome.at for row in written)
    return not newer and any(_is_proof(row, outcome) for row in written)


def _is_proof(row: WrittenContent, outcome: ImageOutcome) -> bool:
    if row.sha256 is None:  # of release 0.1, which wrote it from this very outcome
        return row.scored_at == outcome.at
    return row.sha256 == outcome.sha256


def _wait_for_room(staging: Staging, room: int) -> None:
    log.info("waiting: %.1f GB are staged, and C4_SCRATCH_GIGABYTES allows %.1f", staging.size() / 1e9, room / 1e9)
    least, since = staging.size(), time.monotonic()
    while (size := staging.size()) >= room:
        if size < least:
            least, since = size, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            raise Unavailable(
                f"{size / 1e9:.1f} GB are staged, C4_SCRATCH_GIGABYTES allows {room / 1e9:.1f}, and nothing was taken "
                f"out for {PATIENCE_S / 3600:.0f} hours: see why classification stands still, and remove "
                "folders of days that nobody classifies any more from the folder staging of C4_SCRATCH."
            )
        time.sleep(POLL_S)


def fetch_images(store: ImageStore, images: Sequence[Image]) -> Iterator[StagedImage]:
    """An inspection's images as they arrive, with digests, or with the reason why one did not."""
    fetched_at = datetime.now(UTC)
    for image in images:
        if image.unusable:
            yield StagedImage(image, fetched_at, None, image.unusable)
    usable = [image for image in images if not image.unusable]
    # The store yields every path once, in order; an image that is listed under two numbers is fetched once for each.
    with outages_of("store"):
        for image, fetched in zip(usable, store.fetch([image.path for image in usable]), strict=True):
            digest = None if fetched.data is None else hashlib.sha256(fetched.data).hexdigest()
            taken = None if fetched.data is None else taken_at_of(fetched.data)
            error = fetched.error and redacted(fetched.error)  # it is kept, and may quote a server
            if error:
                log.debug("image %d (%s): %s", image.image_id, image.path, error, extra={"image_id": image.image_id})
            yield StagedImage(image, fetched_at, fetched.data, error, digest, taken, fetched.problem)
