"""From the bytes of an image file to MARCO's input, equal to MARCO's own preprocessing to the last bit.

MARCO's graph decodes the JPEG with libjpeg's fast DCT, crops the central square of the shorter side, and resizes
it to 599 x 599 with TensorFlow 1's bilinear sampling (source = destination x scale, no antialiasing). Another
decoder mode alone moves probabilities by up to 0.12: libjpeg-turbo is asked for the same one, and what it does not
take without a complaint (stray bytes, damaged files) goes to TensorFlow's own decoder, whose word is the last. Where
TensorFlow is not installed, such an image fails with the reason. A PNG has the same pixels in every decoder. Other
formats, which MARCO's own decoder does not read, have Pillow's pixels.

Of samples of 16 bits, MARCO's own decoder takes the higher byte. Cameras have 10 to 14 bits, so an image becomes nearly
black, and its crystals are lost. The preprocessing of new models takes the eight highest bits that the camera has. It
has a name of its own, and models that were added before keep theirs: images of 8 bits have the same pixels in both, so
nothing that such a site has scored is scored again, and no version says of its numbers what is not so.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from c4_assets.models.decoding import (
    Levels,
    as_image_error,
    camera_depth,
    check_size,
    format_of,
    high_bytes,
    opened,
    rgb,
)
from c4_assets.models.engine import Decode
from c4_assets.models.marco.network import tensorflow
from resources.errors import ImageError
from resources.extras import how_to_install

PREPROCESSING = "central-square-599-legacy-bilinear-camera-depth"
"""The preprocessing of models that are added by this release."""

INPUT_SIDE = 599
"""Height and width of the model's input, in pixels."""

ROWS_AT_ONCE = 32
"""Rows that are resized together: 16 to 128 are equally fast, all at once takes 1.5 times as long."""


def pixels(data: bytes, levels: Levels = camera_depth) -> NDArray[np.float32]:
    """Decodes, crops and resizes one image.

    Args:
        data: the content of an image file; grey, 16-bit, CMYK and palette images become 8-bit RGB, and of several
            frames or pages it is the first.
        levels: what becomes of samples of more than 8 bits.

    Returns:
        float32 of shape (599, 599, 3), in [-1, 1].

    Raises:
        ImageError: the bytes are no image, a damaged one, or one too large to decode.
    """
    resized = resize(decode(data, levels))
    resized *= np.float32(2 / 255)
    resized -= np.float32(1)
    return resized


PREPROCESSINGS: Mapping[str, Decode] = {
    "central-square-599-legacy-bilinear": partial(pixels, levels=high_bytes),
    PREPROCESSING: pixels,
}
"""The preprocessings that this release can do, by the names that scorer versions have."""


def decode(data: bytes, levels: Levels = camera_depth) -> NDArray[np.uint8]:
    """The whole image, uint8 of shape (height, width, 3): a JPEG or PNG as MARCO's graph decodes it.

    Raises:
        ImageError: the bytes are no image, a damaged one, or one too large to decode.
    """
    if checked_header(data) != "JPEG":
        return rgb(data, levels)
    import simplejpeg

    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        check_size(int(width), int(height))
        return simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=True, fastupsample=False)
    except (ImageError, MemoryError):
        raise
    except Exception:
        return _decoded_by_tensorflow(data)  # it is odd or damaged: the reference says which


def _decoded_by_tensorflow(data: bytes) -> NDArray[np.uint8]:
    if find_spec("tensorflow") is None:
        raise ImageError(
            "the JPEG data is damaged or cut off, or of an odd kind that only TensorFlow's decoder reads; copy the "
            f"image again from the imager, or add TensorFlow ({how_to_install('tensorflow')}), then `c4 retry`"
        )
    tf = tensorflow()
    damaged = "the JPEG data is damaged or cut off; copy the image again from the imager"
    with as_image_error(damaged), tf.device("/CPU:0"):
        return tf.io.decode_jpeg(data, channels=3).numpy()


def resize(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The central square of an image at the model's input size: the bits of TensorFlow 1's ``ResizeBilinear``.

    Args:
        image: uint8 of shape (height, width, 3).

    Returns:
        float32 of shape (599, 599, 3), in [0, 255].
    """
    height, width = image.shape[:2]
    side = min(height, width)
    sampling = _sampling(side)
    top, left = (height - side) // 2, (width - side) // 2
    # A row of pixels is a row of bytes here: gathering whole rows and then single bytes is three times as fast as
    # gathering pixels. A few rows at a time stay in the processor's cache.
    rows = image.reshape(height, width * 3)[top : top + side, 3 * left : 3 * (left + side)]
    resized = np.empty((INPUT_SIDE, 3 * INPUT_SIDE), np.float32)
    upper = np.empty((ROWS_AT_ONCE, 3 * INPUT_SIDE), np.float32)
    for first in range(0, INPUT_SIDE, ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        lower = _along(rows[sampling.after[part]], sampling, resized[part])
        above = _along(rows[sampling.before[part]], sampling, upper[: len(lower)])
        lower -= above
        lower *= sampling.weight[part, np.newaxis]
        lower += above
    return resized.reshape(INPUT_SIDE, INPUT_SIDE, 3)


def _along(rows: NDArray[np.uint8], sampling: "_Sampling", into: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolates rows of bytes in their own direction."""
    first = np.take(rows, sampling.bytes_before, axis=1, mode="clip")
    second = np.take(rows, sampling.bytes_after, axis=1, mode="clip")
    np.subtract(second, first, out=into, dtype=np.float32)
    into *= sampling.byte_weight
    into += first
    return into


@dataclass(frozen=True)
class _Sampling:
    """For each of the 599 output lines, the two source lines between which it lies and its distance from the first."""

    before: NDArray[np.intp]
    after: NDArray[np.intp]
    weight: NDArray[np.float32]
    bytes_before: NDArray[np.intp]
    bytes_after: NDArray[np.intp]
    byte_weight: NDArray[np.float32]


@lru_cache(maxsize=16)  # a facility has a few cameras
def _sampling(side: int) -> _Sampling:
    source = np.arange(INPUT_SIDE, dtype=np.float32) * (np.float32(side) / np.float32(INPUT_SIDE))
    before = np.floor(source).astype(np.intp)
    after = np.minimum(before + 1, side - 1)
    weight = source - before.astype(np.float32)
    channels = np.arange(3)

    def in_bytes(line: NDArray[np.intp]) -> NDArray[np.intp]:
        return (3 * line[:, np.newaxis] + channels).ravel()

    return _Sampling(before, after, weight, in_bytes(before), in_bytes(after), np.repeat(weight, 3))


def checked_header(data: bytes) -> str:
    """Looks at an image's header before anything is decoded.

    Returns:
        ``"JPEG"``, ``"PNG"`` or another of :data:`c4_assets.models.decoding.FORMATS`.

    Raises:
        ImageError: the bytes are empty, no image, of another format, or an image too large to decode.
    """
    with opened(data) as picture:
        return format_of(picture)


def thumbnail(data: bytes, side: int) -> bytes:
    """A small JPEG of an image, for contact sheets.

    Args:
        data: the content of the image file.
        side: longest side of the thumbnail, in pixels.

    Raises:
        ImageError: Pillow cannot decode it, which does not mean that MARCO cannot.
    """
    from PIL import Image

    with opened(data) as picture:
        if format_of(picture) == "JPEG":
            # Decoding at a reduced scale is four times as fast, and a thumbnail is not what MARCO sees.
            picture.draft("RGB", (2 * side, 2 * side))
            small = picture.convert("RGB")
        else:
            small = Image.fromarray(rgb(data, camera_depth))
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()
