"""From the bytes of an image file to the pixels that MARCO sees, to the last bit as MARCO itself does it.

MARCO's graph decodes the JPEG with libjpeg's fast DCT, crops the central square of the shorter side, and resizes
it to 599 x 599 with TensorFlow 1's bilinear sampling (source = destination x scale, no antialiasing). Another
decoder mode alone moves probabilities by up to 0.12, so TensorFlow's own kernels are used here.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.errors import ImageError

PREPROCESSING = "central-square-599-legacy-bilinear"

SIDE = 599
"""Height and width of the network's input, in pixels."""

MAX_PIXELS = 80_000_000
"""Largest image that is decoded: ten times an imager's camera, and 240 MB of memory."""

FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG"}
"""Formats that MARCO's decoder reads, by Pillow's names. MPO is a JPEG with a preview behind it."""


def pixels(data: bytes) -> NDArray[np.float32]:
    """Decodes, crops and resizes one image.

    Args:
        data: the content of a JPEG or PNG file; grey, 16-bit, CMYK and palette images become 8-bit RGB.

    Returns:
        float32 of shape (599, 599, 3), in [-1, 1].

    Raises:
        ImageError: the bytes are no image, a damaged one, or one too large to decode.
    """
    import tensorflow as tf

    kind = checked_header(data)
    try:
        image: Any = tf.io.decode_jpeg(data, channels=3)
    except tf.errors.InvalidArgumentError as error:
        raise ImageError(f"the {kind} data is damaged or cut off; copy the image again from the imager") from error
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[tf.newaxis, top : top + side, left : left + side]
    resized = tf.raw_ops.ResizeBilinear(images=square, size=[SIDE, SIDE], align_corners=False, half_pixel_centers=False)
    return resized[0].numpy() * np.float32(2 / 255) - np.float32(1)


def checked_header(data: bytes) -> str:
    """Looks at an image's header before anything is decoded.

    Returns:
        ``"JPEG"`` or ``"PNG"``.

    Raises:
        ImageError: the bytes are empty, no image, of another format, or an image too large to decode.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ImageError("the file is empty; copy the image again from the imager")
    try:
        # Only the header is read: the size is known before memory is taken for it.
        with Image.open(io.BytesIO(data)) as opened:
            kind, (width, height) = opened.format or "", opened.size
    except Image.DecompressionBombError:
        raise ImageError(f"the image is too large to decode (more than {MAX_PIXELS:,} pixels)") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise ImageError("the file is not an image") from None
    if kind not in FORMATS:
        raise ImageError(f"the file is a {kind} image; MARCO reads JPEG and PNG")
    if width * height > MAX_PIXELS:
        raise ImageError(f"the image is too large to decode ({width} x {height}, {MAX_PIXELS:,} pixels at most)")
    return FORMATS[kind]


def thumbnail(data: bytes, side: int) -> bytes:
    """A small JPEG of an image, for contact sheets.

    Args:
        data: the content of the image file.
        side: longest side of the thumbnail, in pixels.

    Raises:
        ImageError: Pillow cannot decode it, which does not mean that MARCO cannot.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            # Decoding at a reduced scale is four times as fast, and a thumbnail is not what MARCO sees.
            image.draft("RGB", (2 * side, 2 * side))
            small = image.convert("RGB")
            small.thumbnail((side, side))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"no thumbnail can be made: {error}") from error
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
