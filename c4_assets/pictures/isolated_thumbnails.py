"""Thumbnails of an inspection at which processes have died: made in another process, which a file may end."""

import hashlib
import io
import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import get_context
from typing import Protocol

from c4_assets.pictures.thumbnails import drop_thumbnail, thumbnail_of
from resources.archive.begun import Begun
from resources.archive.thumbnails import Thumbnail
from resources.records import Image


class MakeThumbnail(Protocol):
    """Makes a thumbnail as :func:`c4_assets.pictures.thumbnails.thumbnail_of` does."""

    def __call__(self, image: Image, data: bytes, seen_at: datetime, /) -> Thumbnail | None: ...


@contextmanager
def guarded(begun: Begun, inspection_id: int) -> Generator[MakeThumbnail]:
    """Notes that an inspection's thumbnails are about to be made, and gives what makes them.

    Where a process has died at it before, that is another process, which takes a second to start. An image that ends it
    has a reason in place of its thumbnail. So nobody is ended by looking at a plate that has ended a run.

    Raises:
        OSError: no note can be left, on a full disk say.
    """
    inspection = str(inspection_id)
    is_safe = not begun.count(inspection)
    with begun.noted(inspection):
        if is_safe:
            yield thumbnail_of
        else:
            apart = _Apart()
            try:
                yield apart
            finally:
                apart.close()
    begun.forget(inspection)


class _Apart:
    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None
        self._one_at_a_time = threading.Lock()  # so that it is known which one ended the process

    def __call__(self, image: Image, data: bytes, seen_at: datetime) -> Thumbnail | None:
        with self._one_at_a_time:
            try:
                process = self._process or self._start()
            except BrokenProcessPool:
                return None  # any picture ends it: no image is to blame
            try:
                return process.submit(thumbnail_of, image, data, seen_at).result()
            except BrokenProcessPool:
                self.close()
        reason = f"{image.path}: decoding this image ended the process that did it; look at the file"
        digest = hashlib.sha256(data).hexdigest()
        return Thumbnail(image.image_id, image.path, digest, None, None, None, reason, seen_at)

    def _start(self) -> ProcessPoolExecutor:
        process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        process.submit(drop_thumbnail, _plain_picture()).result()
        self._process = process
        return process

    def close(self) -> None:
        if self._process:
            self._process.shutdown()
            self._process = None


def _plain_picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "JPEG")
    return file.getvalue()
