"""An image's appearance in a few numbers: exposure, sharpness, and a fingerprint that survives re-compression.

They are computed from the pixels that the classifier has decoded: decoding again would cost more than all checks.
"""

import numpy as np
from numpy.typing import NDArray

from resources.records import Appearance

PIXEL_STRIDE = 4
"""Step between the pixels that are used, in both directions: a sixteenth of them tells exposure as well as all."""

BLACK_LEVEL, SATURATED_LEVEL = 16, 250
"""Levels (0 to 255) up to which a pixel counts as black, and from which on it counts as saturated."""

HASH_SIDE = 16
"""The perceptual hash has 16 x 16 bits. With the usual 8 x 8, different empty wells of one plate are 2 bits apart and
so taken for duplicates; with 16 x 16 they are at least 12 apart (two real plates, 288 images)."""


def appearance_of(pixels: NDArray[np.float32]) -> Appearance | None:
    """Computes the figures of an image as the model sees it.

    Args:
        pixels: float32 (height, width, 3) in [-1, 1].

    Returns:
        ``None`` for anything that is not a colour image of at least 64 x 64 pixels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < 64:
        return None
    stride = PIXEL_STRIDE if min(pixels.shape[:2]) >= 64 * PIXEL_STRIDE else 1
    levels = (pixels[::stride, ::stride, 1] + np.float32(1)) * np.float32(127.5)
    inner = levels[1:-1, 1:-1]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * inner
    return Appearance(
        brightness=float(levels.mean()),
        black=float((levels <= BLACK_LEVEL).mean()),
        saturated=float((levels >= SATURATED_LEVEL).mean()),
        sharpness=float(laplacian.var()),
        perceptual_hash=_perceptual_hash(levels),
    )


def _perceptual_hash(levels: NDArray[np.float32]) -> bytes:
    import imagehash
    from PIL import Image

    picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    return np.packbits(imagehash.phash(picture, HASH_SIDE).hash).tobytes()
