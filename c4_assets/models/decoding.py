"""Opens image files that nobody vouches for: only known formats, nothing larger than is sane, the first frame only.

Pillow knows forty formats, and some of its decoders raise what nobody has listed. So a few are allowed, what an image
would cost is looked up in its header before anything is decoded, and whatever a decoder raises is that image's error.
"""

import io
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from resources.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
"""Formats that are opened, by Pillow's names."""

MAX_PIXELS = 80_000_000
"""Largest image that is decoded: ten times an imager's camera, and 240 MB of memory."""

MAX_SCANNED_PIXELS = 20 * MAX_PIXELS
"""Most pixels of all scans of a progressive JPEG, each of which passes over the whole image. Cameras write ten scans
at most; one that has thousands is made to keep a decoder busy for hours."""

LEAST_PIXELS_A_SCAN = 2**16
"""A scan of a small image costs as much as one of so many pixels."""

CAMERA_DEPTHS = (8, 10, 12, 14, 16)
"""Bits a sample of cameras, whose images come in files of 16 bits a sample."""

Levels: TypeAlias = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Makes the levels of 0 to 255 of an image's samples of more than 8 bits."""

_START_OF_SCAN = b"\xff\xda"

_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""Numbers of TIFF's tags."""

_OTHER_BYTE = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
"""Pillow reads the higher byte of colour samples of 16 bits. It reads the lower one as the higher one of samples in the
other order. By the raw modes of its decoders."""


def high_bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The higher byte of samples of 16 bits, as MARCO's own decoder takes it. Of 10-bit data hardly any is left."""
    return (np.clip(samples, 0, 2**16 - 1) >> 8).astype(np.uint8)


def camera_depth(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The eight highest bits that the camera has: of the smallest of :data:`CAMERA_DEPTHS` that holds all samples.

    A sample of 16 bits that uses them all becomes its higher byte.
    """
    samples = np.maximum(samples, 0)
    used = int(samples.max()).bit_length()
    depth = next((depth for depth in CAMERA_DEPTHS if depth >= used), used)
    return (samples >> (depth - 8)).astype(np.uint8)


@contextmanager
def as_image_error(message: str) -> Generator[None]:
    """Turns whatever a decoder raises into an :class:`ImageError`; what is wrong with the process stays what it is."""
    try:
        yield
    except (ImageError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(message) from error


@contextmanager
def opened(data: bytes) -> Generator["Image"]:
    """An image of an allowed format and size, of which only the header has been read.

    Raises:
        ImageError: the bytes are empty, no image, of another format, or an image too large to decode. Whatever is
            raised inside the block, because the image is damaged, becomes one as well.
    """
    from PIL import Image

    if not data:
        raise ImageError("the file is empty; copy the image again from the imager")
    with as_image_error(f"the file is not an image of a kind that C4 reads ({', '.join(FORMATS)})"):
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise ImageError(f"the image is too large to decode (more than {MAX_PIXELS:,} pixels)") from None
    kind = format_of(picture)
    with as_image_error(f"the {kind} data is damaged or cut off; copy the image again from the imager"), picture:
        check_size(*picture.size)
        if kind == "JPEG":
            _check_scans(data, picture.width * picture.height)
        elif kind == "TIFF":
            tags = cast("Any", picture).tag_v2
            check_size(int(tags.get(_TILE_WIDTH, 0)), int(tags.get(_TILE_LENGTH, 0)))
        yield picture


def format_of(picture: "Image") -> str:
    """The format of a picture. A JPEG with others behind it, like a preview, is a JPEG."""
    return "JPEG" if picture.format == "MPO" else str(picture.format)


def check_size(width: int, height: int) -> None:
    """Refuses what is too large to decode.

    Raises:
        ImageError: it has more than :data:`MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise ImageError(f"the image is too large to decode ({width} x {height}, {MAX_PIXELS:,} pixels at most)")


def _check_scans(data: bytes, pixels: int) -> None:
    scans = data.count(_START_OF_SCAN)  # no other byte sequence of a JPEG's image data looks like that
    if scans * max(pixels, LEAST_PIXELS_A_SCAN) > MAX_SCANNED_PIXELS:
        raise ImageError(f"the image is too large to decode ({pixels:,} pixels in {scans} scans)")


def rgb(data: bytes, levels: Levels) -> NDArray[np.uint8]:
    """An image's first frame, uint8 of shape (height, width, 3): Pillow's pixels, without transparency.

    Args:
        levels: what becomes of samples of more than 8 bits.

    Raises:
        ImageError: the bytes are no image, a damaged one, or one too large to decode.
    """
    with opened(data) as picture:
        if picture.mode.startswith("I"):
            return np.repeat(levels(np.asarray(picture))[..., np.newaxis], 3, axis=2)
        if picture.mode == "F":
            raise ImageError("the image has floating-point samples, of which no levels follow; save it with 16 bits")
        lower = _read_lower_bytes(data) if picture.mode in ("RGB", "RGBA") else None
        if lower is None:
            return np.asarray(picture.convert("RGB"))
        higher = np.asarray(picture).astype(np.uint16)
        return levels((higher << 8 | lower)[..., :3])


def _read_lower_bytes(data: bytes) -> NDArray[np.uint8] | None:
    """The lower bytes of colour samples of 16 bits; ``None`` for an image that has 8."""
    with opened(data) as picture:
        file = cast("Any", picture)  # what describes to Pillow's decoders how the file is to be read is in no type
        tiles = [tile._replace(args=_with_other_byte(tile.args)) for tile in file.tile]
        if not tiles or not all(tile.args for tile in tiles):
            return None
        file.tile = tiles
        return np.asarray(picture)


def _with_other_byte(args: Any) -> Any:
    if isinstance(args, tuple):
        mode, *others = cast("tuple[Any, ...]", args)
        return (_OTHER_BYTE[mode], *others) if mode in _OTHER_BYTE else None
    return _OTHER_BYTE.get(args)
