"""Thumbnails of an inspection that somebody looks at: those that are missing are fetched and made, once.

However many look at once, in however many processes, one of them makes what is missing, and the others wait for it.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from queue import SimpleQueue
from types import MappingProxyType
from typing import TypeVar

from c4_assets.pictures.contact_sheet import MAX_TILES, Tile
from c4_assets.pictures.isolated_thumbnails import MakeThumbnail, guarded
from c4_assets.pictures.thumbnails import thumbnail_of, without_file
from resources.archive.thumbnails import Thumbnail, Thumbnails
from resources.errors import ConfigurationError, outages_of
from resources.image_store import ImageStore
from resources.records import Image, Inspection

T = TypeVar("T")

log = logging.getLogger("c4.thumbnails")

DECODING_THREADS, IMAGES_IN_FLIGHT = 2, 8
"""Threads that decode, and images whose bytes are held at once."""

ASKED_AGAIN_AFTER = timedelta(minutes=10)
"""Until an image that could not be fetched, or whose file is not the one that was scored, is asked for again."""

NO_DIGESTS: Mapping[int, str] = MappingProxyType({})


@dataclass
class ThumbnailsOfDay:
    """What :func:`thumbnails_of_day` found and did."""

    images: int = 0
    there_before: int = 0
    made: int = 0
    bytes: int = 0
    """Of those that were made."""
    missing: Counter[str] = field(default_factory=Counter[str])
    """Images without a thumbnail, by the reason without the image's name."""
    tiles: list[Tile] = field(default_factory=list[Tile])
    """Some of those that were made, for a contact sheet."""


def missing_thumbnails(
    there: Sequence[Thumbnail], images: Sequence[Image], digests: Mapping[int, str] = NO_DIGESTS
) -> list[Image]:
    """The images of an inspection that are to be fetched for their thumbnails.

    Args:
        there: what the inspection has.
        images: all that are listed of it.
        digests: sha256 of the files that were scored, by number of the image, where they are known. A thumbnail of
            another file is made again.
    """
    known = {each.image_id: each for each in there}
    recent = datetime.now(UTC) - ASKED_AGAIN_AFTER

    def is_missing(image: Image) -> bool:
        thumbnail = known.get(image.image_id)
        if thumbnail is None or not thumbnail.is_of(image):
            return True
        settled = thumbnail.sha256 is not None and thumbnail.is_of(image, digests.get(image.image_id))
        return not settled and thumbnail.seen_at < recent

    return [image for image in images if is_missing(image)]


def thumbnails_of_inspection(
    day: date,
    inspection_id: int,
    images: Sequence[Image],
    thumbnails: Thumbnails,
    store: ImageStore,
    digests: Mapping[int, str] = NO_DIGESTS,
) -> Iterator[Thumbnail]:
    """The thumbnails of an inspection's images: those that are there at once, the others as they are made.

    Each image comes once, with a thumbnail or the reason why it has none; one for which there is too little memory does
    not come. What is made is kept, also when nobody takes it from this iterator any more.

    Args:
        images: all that are listed of it.
        store: is asked for what is missing, in one call.
        digests: see :func:`missing_thumbnails`.

    Raises:
        Unavailable: the store does not answer, or another process is at it for very long. What was made is kept.
    """
    there = thumbnails.read(day, inspection_id)
    missing = {image.image_id for image in missing_thumbnails(there, images, digests)}
    listed = {image.image_id for image in images}
    yield from (each for each in there if each.image_id in listed - missing)
    if not missing:
        return
    results: SimpleQueue[Thumbnail | BaseException | None] = SimpleQueue()

    def make() -> None:
        try:
            wanted = [image for image in images if image.image_id in missing]
            for each in _made(day, inspection_id, wanted, thumbnails, store, digests):
                results.put(each)
        except BaseException as error:
            results.put(error)
        else:
            results.put(None)

    # In a thread of its own: whoever reads a page slowly, or leaves it, must not hold up those who wait for the lock.
    threading.Thread(target=make, name=f"thumbnails-{inspection_id}", daemon=True).start()
    while (result := results.get()) is not None:
        if isinstance(result, BaseException):
            raise result
        yield result


def thumbnails_of_day(
    day: date, inspections: Iterable[Inspection], thumbnails: Thumbnails, store: ImageStore, digests: Mapping[int, str]
) -> ThumbnailsOfDay:
    """Makes the thumbnails of a day that are missing. An inspection that has all of them is not asked for.

    Raises:
        Unavailable: see :func:`thumbnails_of_inspection`. The next call goes on from there.
    """
    done = ThumbnailsOfDay()
    for inspection in inspections:
        listed = {image.image_id: image for image in inspection.images}
        there = thumbnails.read(day, inspection.inspection_id)
        missing = {image.image_id for image in missing_thumbnails(there, inspection.images, digests)}
        all_of_them: Iterable[Thumbnail] = (each for each in there if each.image_id in listed)
        if missing:
            all_of_them = thumbnails_of_inspection(
                day, inspection.inspection_id, inspection.images, thumbnails, store, digests
            )
        done.images += len(listed)
        for each in all_of_them:
            image = listed[each.image_id]
            if each.webp is None:
                done.missing[(each.error or "").replace(image.path, "").strip(": ")] += 1
            elif each.image_id not in missing:
                done.there_before += 1
            else:
                done.made += 1
                done.bytes += len(each.webp)
                if len(done.tiles) < MAX_TILES:
                    place = f"{image.plate} {image.well}.{image.drop_number}"
                    done.tiles.append(Tile(each.webp, "", (place,)))
    return done


def _made(
    day: date,
    inspection_id: int,
    wanted: Sequence[Image],
    thumbnails: Thumbnails,
    store: ImageStore,
    digests: Mapping[int, str],
) -> Iterator[Thumbnail]:
    with ExitStack() as held:
        _entered(held, thumbnails.making(inspection_id), None)
        there = thumbnails.read(day, inspection_id)
        missing = missing_thumbnails(there, wanted, digests)
        left = {image.image_id for image in wanted} - {image.image_id for image in missing}
        yield from (each for each in there if each.image_id in left)
        if not missing:
            return
        make = _entered(held, guarded(thumbnails.begun(day), inspection_id), thumbnail_of)
        made: list[Thumbnail] = []
        try:
            for each in _fetched(missing, store, make):
                made.append(each)
                yield each
        finally:
            try:
                thumbnails.add(day, inspection_id, made)
            except Exception as error:  # whoever looks has them already
                log.warning("the thumbnails of inspection %d are not kept: %s", inspection_id, error)


def _entered(held: ExitStack, context: AbstractContextManager[T], otherwise: T) -> T:
    """Enters a context that needs a file. Where none can be made, on a full disk say, a look needs no guard either."""
    try:
        return held.enter_context(context)
    except (OSError, ConfigurationError) as error:
        log.warning("thumbnails are made without a lock or a note: %s", error)
        return otherwise


def _fetched(images: Sequence[Image], store: ImageStore, make: MakeThumbnail) -> Iterator[Thumbnail]:
    asked_at = datetime.now(UTC)
    yield from (without_file(image, image.unusable, asked_at) for image in images if image.unusable)
    usable = [image for image in images if not image.unusable]
    if not usable:
        return
    at_work: deque[Future[Thumbnail | None]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="thumbnails") as pool:
        try:
            with outages_of("store"):
                for image, fetched in zip(usable, store.fetch([image.path for image in usable]), strict=True):
                    if fetched.data is None:
                        yield without_file(image, fetched.error or "", asked_at)
                        continue
                    at_work.append(pool.submit(make, image, fetched.data, asked_at))
                    while at_work and (len(at_work) > IMAGES_IN_FLIGHT or at_work[0].done()):
                        yield from _next(at_work)
        except Exception as error:
            failure = error
        while at_work:  # what had come before the store failed is kept
            yield from _next(at_work)
    if failure:
        raise failure


def _next(at_work: "deque[Future[Thumbnail | None]]") -> Iterator[Thumbnail]:
    if (made := at_work.popleft().result()) is not None:
        yield made
