"""Thumbnails of drops: small WebP pictures, made of image files that nobody vouches for, in one decode each."""

import hashlib
import io
import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from c4_assets.models.decoding import camera_depth, format_of, opened, rgb
from resources.archive.thumbnails import Thumbnail
from resources.errors import ImageError
from resources.records import Image
from resources.redaction import redacted

log = logging.getLogger("c4.thumbnails")

DROP_THUMBNAIL_SIDE = 320
"""Longest side, in pixels."""

WEBP_QUALITY, WEBP_METHOD = 85, 2
"""3 kB for a drop of 5 megapixels and 6 kB for one full of crystals, in 3 ms: four times faster than the encoder's
default method, which saves a tenth of the bytes."""

LARGE_PIXELS = 16_000_000
"""Images of more are decoded one at a time: the largest that is decoded at all takes a gigabyte with 16 bits a sample,
and so do the coefficients of a progressive JPEG."""

_one_large = threading.Lock()


@dataclass(frozen=True)
class DropThumbnail:
    """A thumbnail. ``width`` and ``height`` are the original's, in pixels."""

    webp: bytes
    width: int
    height: int


def drop_thumbnail(data: bytes) -> DropThumbnail:
    """The thumbnail of an image file: 8-bit RGB, the longest side :data:`DROP_THUMBNAIL_SIDE`, never enlarged.

    It shows what the classifier is shown: of several frames the first, without transparency, and as the pixels lie in
    the file, whatever its EXIF data says of their orientation.

    Raises:
        ImageError: the bytes are no image, a damaged one, or one too large to decode.
    """
    from PIL import Image

    with opened(data) as picture:
        width, height = picture.size
        longest = max(width, height, DROP_THUMBNAIL_SIDE)
        with _memory_for(width * height):
            if format_of(picture) == "JPEG":
                # libjpeg decodes at an eighth of the size in a tenth of the time. Asked for the image's own aspect,
                # Pillow takes the smallest scale that is large enough on both sides.
                scaled = (max(1, side * DROP_THUMBNAIL_SIDE // longest) for side in (width, height))
                picture.draft("RGB", tuple(scaled))  # pyright: ignore[reportArgumentType]
                small = picture.convert("RGB")
            else:
                small = Image.fromarray(rgb(data, camera_depth))
            if longest > DROP_THUMBNAIL_SIDE:
                fitted = (max(1, round(side * DROP_THUMBNAIL_SIDE / longest)) for side in (width, height))
                small = small.resize(tuple(fitted), Image.Resampling.BICUBIC, reducing_gap=2)  # pyright: ignore
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD)
        return DropThumbnail(buffer.getvalue(), width, height)


def _memory_for(pixels: int) -> AbstractContextManager[object]:
    return _one_large if pixels > LARGE_PIXELS else nullcontext()


def thumbnail_of(image: Image, data: bytes, seen_at: datetime, sha256: str | None = None) -> Thumbnail | None:
    """The thumbnail of a listed image, or the reason why its file has none; it raises nothing.

    Args:
        data: the content of its file.
        sha256: of that, if it is known already.

    Returns:
        None if something is wrong that is no matter of the image, such as too little memory: it can be tried again.
    """
    digest = sha256 or hashlib.sha256(data).hexdigest()
    try:
        made = drop_thumbnail(data)
    except ImageError as error:
        reason = redacted(f"{image.path}: {error}")
        return Thumbnail(image.image_id, image.path, digest, None, None, None, reason, seen_at)
    except Exception as error:
        log.warning("image %d (%s) has no thumbnail: %s: %s", image.image_id, image.path, type(error).__name__, error)
        return None
    return Thumbnail(image.image_id, image.path, digest, made.width, made.height, made.webp, None, seen_at)


def without_file(image: Image, error: str, seen_at: datetime) -> Thumbnail:
    """What stands in the place of the thumbnail of an image whose file did not come."""
    reason = error if image.path in error else f"{image.path}: {error}"
    return Thumbnail(image.image_id, image.path, None, None, None, None, redacted(reason), seen_at)
