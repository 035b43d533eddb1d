"""Thumbnails of what is fetched to be scored: made while its bytes are in memory, beside all else.

Nothing that goes wrong here is felt by what fetches. What is not made now is made when somebody looks.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import astuple, dataclass
from datetime import date
from types import TracebackType

from c4_assets.pictures.thumbnails import thumbnail_of, without_file
from c4_assets.scoring.guarding import DEATHS_UNTIL_CARE
from resources.archive.staging import StagedImage
from resources.archive.thumbnails import Thumbnail, Thumbnails

log = logging.getLogger("c4.thumbnails")

DECODING_THREADS = 2
"""Threads that decode: together they make 300 thumbnails a second, about as many as a connection brings images."""

DECODING_NICENESS = 10
"""By so much these threads are nicer than the others: where cores are few, what fetches and stages comes first."""

MAX_HELD_BYTES = 64_000_000
"""Bytes of images that may wait for a thumbnail: an inspection of 300 images. Beyond that, fetching waits."""


@dataclass(frozen=True)
class MadeThumbnails:
    """How many thumbnails were made and kept, how many images have none now, and the bytes of the thumbnails."""

    made: int = 0
    failed: int = 0
    bytes: int = 0


class FetchedThumbnails:
    """Makes thumbnails in a few threads, as long as its block lasts; inspections follow each other without a pause.

    Attributes:
        held_bytes: of images that wait for a thumbnail.
    """

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._pool = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="thumbnails", initializer=_step_back)
        self._room = threading.Condition()
        self.held_bytes = 0
        self._writes: list[Future[MadeThumbnails]] = []
        self._notes: list[ExitStack] = []

    def __enter__(self) -> "FetchedThumbnails":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        for note in self._notes:
            note.close()

    def passing(self, day: date, inspection_id: int, images: Iterable[StagedImage]) -> Iterator[StagedImage]:
        """Passes an inspection's images on as they come, and makes their thumbnails meanwhile.

        What raises is the source of the images, and then those that had come have their thumbnails all the same.
        """
        there, note = self._opened(day, inspection_id)
        futures: list[Future[Thumbnail | None]] = []
        put_off = 0
        try:
            for staged in images:
                if (staged.image.image_id, staged.image.path, staged.sha256) not in there:
                    future = self._begun(staged) if note else None
                    if future:
                        futures.append(future)
                    else:
                        put_off += 1
                yield staged
        finally:
            # The pool is worked off in order: when this has its turn, those before it are done or at work.
            with suppress(RuntimeError):  # it was shut down meanwhile
                self._writes.append(self._pool.submit(self._write, day, inspection_id, futures, put_off, note))

    def settled(self) -> MadeThumbnails:
        """Waits for what was begun, and counts what was made since this was asked last."""
        written = [each.result() for each in self._writes]
        self._writes.clear()
        return MadeThumbnails(*(sum(column) for column in zip(*map(astuple, written), strict=True)))

    def _opened(self, day: date, inspection_id: int) -> tuple[set[tuple[int, str, str | None]], ExitStack | None]:
        """The files of which an inspection has thumbnails, and the note that others are being made.

        Without a note none may be made: two processes have died at them, or it cannot be written.
        """
        note = ExitStack()
        try:
            known = self._thumbnails.read(day, inspection_id)
            begun = self._thumbnails.begun(day)
            if begun.count(str(inspection_id)) >= DEATHS_UNTIL_CARE:
                raise ChildProcessError(
                    "making them has ended several processes; whoever looks has them made with care"
                )
            note.enter_context(begun.noted(str(inspection_id)))
        except Exception as error:
            log.warning("no thumbnails are made of inspection %d now: %s", inspection_id, error)
            return set(), None
        self._notes.append(note)
        return {(each.image_id, each.path, each.sha256) for each in known if each.sha256}, note

    def _begun(self, staged: StagedImage) -> "Future[Thumbnail | None] | None":
        size = len(staged.data or b"")
        with self._room:
            self._room.wait_for(lambda: not self.held_bytes or self.held_bytes + size <= MAX_HELD_BYTES)
            try:
                future = self._pool.submit(_made, staged)
            except RuntimeError:  # the system gives no thread
                return None
            self.held_bytes += size
        future.add_done_callback(lambda _: self._give_back(size))
        return future

    def _give_back(self, size: int) -> None:
        with self._room:
            self.held_bytes -= size
            self._room.notify()

    def _write(
        self,
        day: date,
        inspection_id: int,
        futures: Sequence["Future[Thumbnail | None]"],
        put_off: int,
        note: ExitStack | None,
    ) -> MadeThumbnails:
        made = [each for future in futures if (each := future.result()) is not None]
        with note or nullcontext():
            try:
                self._thumbnails.add(day, inspection_id, made)
            except Exception as error:  # a full disk, a lock that nobody gives, a fault of ours: no score depends on it
                log.warning("the thumbnails of inspection %d are not kept: %s", inspection_id, error)
                return MadeThumbnails(failed=len(futures) + put_off)
        if note:  # those of processes that were stopped at it for another reason
            self._thumbnails.begun(day).forget(str(inspection_id))
        webps = [each.webp for each in made if each.webp]
        return MadeThumbnails(len(webps), len(futures) + put_off - len(webps), sum(map(len, webps)))


def _made(staged: StagedImage) -> Thumbnail | None:
    if staged.data is None:
        return without_file(staged.image, staged.error or "", staged.fetched_at)
    return thumbnail_of(staged.image, staged.data, staged.fetched_at, staged.sha256)


def _step_back() -> None:
    """Lowers the priority of this thread, where threads have one of their own."""
    with suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + DECODING_NICENESS))
