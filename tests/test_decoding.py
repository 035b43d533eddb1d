"""Image files that nobody vouches for: of many formats, deep, damaged, or made to cost a decoder its time or memory."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from PIL import PngImagePlugin

from c4_assets.models import decoding
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier, ModelChoice, scorer_version_of
from c4_assets.models.marco.preprocessing import PREPROCESSING, PREPROCESSINGS, decode, pixels, thumbnail
from c4_assets.scoring.exif import taken_at_of
from resources.errors import ConfigurationError, ImageError
from resources.imaging_database.models import register_model
from resources.imaging_database.schema import c4_scorer_versions
from tests.conftest import Facility, noon, photograph
from tests.test_marco import png

HIGH_BYTES = "central-square-599-legacy-bilinear"
"""The preprocessing of release 0.1."""

GREY = np.random.default_rng(5).integers(0, 256, (40, 50), np.uint8)
GREY[0, :2] = 0, 255
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def saved(samples: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(samples).save(buffer, form, **options)
    return buffer.getvalue()


def small(data: bytes) -> bytes:
    """Its thumbnail."""
    return thumbnail(data, 50)


LOSSLESS = {
    "TIFF": saved(COLOUR, "TIFF"),
    "TIFF, deflated": saved(COLOUR, "TIFF", compression="tiff_deflate"),
    "TIFF, LZW": saved(COLOUR, "TIFF", compression="tiff_lzw"),
    "BMP": saved(COLOUR, "BMP"),
    "WebP": saved(COLOUR, "WEBP", lossless=True),
    "JPEG 2000": saved(COLOUR, "JPEG2000", irreversible=False),
    "two pages": saved(COLOUR, "TIFF", save_all=True, append_images=[Picture.fromarray(255 - COLOUR)]),
    "animated": saved(
        COLOUR, "WEBP", lossless=True, save_all=True, append_images=[Picture.fromarray(255 - COLOUR)], duration=9
    ),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_formats_that_marco_does_not_read_have_the_pixels_of_the_same_png(kind: str) -> None:
    assert np.array_equal(decode(LOSSLESS[kind]), COLOUR)
    with Picture.open(io.BytesIO(thumbnail(LOSSLESS[kind], 30))) as opened:
        assert opened.size == (30, 24)


def test_a_gif_is_decoded_and_of_several_frames_the_first() -> None:
    later = [Picture.fromarray(255 - GREY)]
    assert np.array_equal(decode(saved(GREY, "GIF", save_all=True, append_images=later))[..., 0], GREY)


def tiff(samples: np.ndarray, **changes: int) -> bytes:
    """A TIFF of 16-bit colour, which Pillow does not write. ``changes`` are tags by number (``t322=…``)."""
    height, width, channels = samples.shape
    data = samples.astype("<u2").tobytes()
    tags = {256: width, 257: height, 259: 1, 262: 2, 277: channels, 278: height, 279: len(data), 284: 1}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    behind = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[258] = struct.pack("<HHII", 258, 3, 3, behind)
    entries[273] = struct.pack("<HHII", 273, 4, 1, behind + 6)
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + struct.pack("<HHH", 16, 16, 16) + data


def deep(levels: np.ndarray, bits: int) -> np.ndarray:
    """What a camera of so many bits makes of a drop that has these levels: its lower bits are noise."""
    noise = np.random.default_rng(bits).integers(0, 2 ** (bits - 8), levels.shape, np.uint16)
    return (levels.astype(np.uint16) << (bits - 8)) | noise


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_what_a_camera_of_more_than_8_bits_has_seen_is_not_lost(bits: int) -> None:
    grey, colour = deep(GREY, bits), deep(COLOUR, bits)
    transparent = np.dstack([colour, np.full(GREY.shape, 2**16 - 1, np.uint16)])
    assert np.array_equal(decode(saved(grey, "PNG"))[..., 1], GREY)
    assert np.array_equal(decode(saved(grey, "TIFF"))[..., 1], GREY)
    assert np.array_equal(decode(saved(grey, "TIFF", compression="tiff_deflate"))[..., 1], GREY)
    assert np.array_equal(decode(png(colour, 2)), COLOUR)
    assert np.array_equal(decode(png(transparent, 6)), COLOUR)
    assert np.array_equal(decode(tiff(colour)), COLOUR)
    with Picture.open(io.BytesIO(thumbnail(saved(grey, "PNG"), 50))) as opened:
        assert np.abs(np.asarray(opened, float)[..., 1] - GREY).mean() < 20


def test_a_dark_image_of_a_12_bit_camera_keeps_its_depth() -> None:
    """Its brightest sample has 11 bits, and no camera has: the image is not made twice as bright as its neighbours."""
    dark = deep(GREY // 2, 12)
    assert np.array_equal(decode(saved(dark, "PNG"))[..., 0], GREY // 2)


def test_the_preprocessing_of_the_first_release_is_kept_for_models_that_have_it() -> None:
    assert set(PREPROCESSINGS) == {HIGH_BYTES, PREPROCESSING}
    old, new = PREPROCESSINGS[HIGH_BYTES], PREPROCESSINGS[PREPROCESSING]
    for data in (photograph(1), photograph(2, form="PNG"), saved(deep(GREY, 16), "PNG"), *LOSSLESS.values()):
        assert np.array_equal(old(data), new(data)), "8 bits, and 16 that are all used, have the same pixels in both"
    twelve = saved(deep(GREY, 12), "PNG")
    assert np.array_equal(old(twelve), pixels(saved(GREY >> 4, "PNG"))), "as MARCO's own decoder"
    assert np.array_equal(new(twelve), pixels(saved(GREY, "PNG")))


@pytest.mark.parametrize("known_as", ["a model", "a scorer version of the first release"])
def test_a_deployment_that_scored_with_the_first_release_goes_on_with_its_version(
    make_facility: Callable[..., Facility], known_as: str
) -> None:
    facility = make_facility()
    new = scorer_version_of(ModelChoice(), facility.settings.models, "in_process")
    assert new.preprocessing == PREPROCESSING, "a new deployment has the new one"
    old = replace(new, preprocessing=HIGH_BYTES)
    if known_as == "a model":
        register_model(facility.database, "marco", "marco", old.as_row())
    else:
        with facility.database.writing() as connection:
            connection.execute(c4_scorer_versions.insert(), [old.as_row()])
    assert ActiveModels(facility.settings, facility.database).current.version == old
    with pytest.raises(ConfigurationError, match="added with the preprocessing of-tomorrow"):
        Classifier("m", "marco", replace(new, preprocessing="of-tomorrow"), facility.settings.models)


def header_of_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = b"IDAT" + zlib.compress(bytes(10_000))
    return start + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def many_scans(scans: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    buffer = io.BytesIO()
    Picture.new("L", size, 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def wide_gif() -> bytes:
    """A GIF with a small screen and a frame of 65,535 x 65,535."""
    data = bytearray(saved(GREY, "GIF"))
    frame = data.index(b"\x2c\0\0\0\0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    return bytes(data)


BOMBS = {
    "PNG": header_of_png(60_000, 60_000),
    "PNG within Pillow's own limit": header_of_png(10_000, 9_000),
    "JPEG": photograph(1).replace(struct.pack(">HH", 72, 96), struct.pack(">HH", 65_000, 65_000), 1),
    "GIF": wide_gif(),
    "BMP": saved(COLOUR, "BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + saved(COLOUR, "BMP")[26:],
    "TIFF": tiff(COLOUR.astype(np.uint16), t256=60_000, t257=60_000),
    "TIFF with one tile": tiff(COLOUR.astype(np.uint16), t322=2**15, t323=2**15, t324=8, t325=8),
    "scans of a large JPEG": many_scans(500, (3000, 2000)),
    "scans of a small JPEG": many_scans(100_000, (16, 16)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BOMBS)
def test_what_would_cost_too_much_is_refused_before_it_is_decoded(kind: str) -> None:
    began = time.monotonic()
    for made in (decode, small):
        with pytest.raises(ImageError, match="too large to decode"):
            made(BOMBS[kind])
    assert time.monotonic() - began < 2


def test_a_camera_s_progressive_jpeg_is_no_bomb() -> None:
    buffer = io.BytesIO()
    Picture.open(io.BytesIO(photograph(1, (2560, 1920)))).save(buffer, "JPEG", progressive=True)
    assert decode(buffer.getvalue()).shape == (1920, 2560, 3)


def others() -> dict[str, bytes]:
    """Files of formats that Pillow opens and C4 does not, and what makes its decoders raise what they do not list."""
    dds = b"DDS " + struct.pack("<7I", 124, 0x1007, 4, 4, 0, 0, 1) + bytes(44) + struct.pack("<2I", 32, 4) + b"DX10"
    return {
        "DDS": dds + bytes(200),
        "DDS that ends": dds[:60],
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n" + b"x" * 500,
        "PCX": saved(COLOUR, "PCX"),
        "PPM": saved(COLOUR, "PPM"),
        "ICO": saved(COLOUR, "ICO"),
        "TGA": saved(COLOUR, "TGA"),
        "SGI": saved(COLOUR, "SGI"),
        "TIFF that ends": tiff(COLOUR.astype(np.uint16))[:40],
        "TIFF of one tag": b"II*\0\x08\0\0\0\x01\0\0\x01\x04\0\x01\0\0\0",
        "WebP that ends": LOSSLESS["WebP"][:40],
        "JPEG 2000 that ends": LOSSLESS["JPEG 2000"][:100],
        "GIF that ends": saved(GREY, "GIF")[:20],
        "BMP that ends": LOSSLESS["BMP"][:30],
        "PNG that ends": saved(GREY, "PNG")[:30],
        "floating point": saved(GREY.astype(np.float32), "TIFF"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", others())
def test_whatever_a_decoder_raises_is_that_images_error(kind: str) -> None:
    with pytest.raises(ImageError):
        decode(others()[kind])
    with pytest.raises(ImageError):
        thumbnail(others()[kind], 50)
    assert taken_at_of(others()[kind]) is None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bytes_that_are_damaged_anywhere_decode_or_are_an_image_error() -> None:
    rng = np.random.default_rng(3)
    whole = [*LOSSLESS.values(), photograph(1), saved(GREY, "GIF"), png(deep(COLOUR, 12), 2), tiff(deep(COLOUR, 12))]
    refused = 0
    for number in range(600):
        data = bytearray(whole[number % len(whole)])
        for at in rng.integers(0, min(len(data), 400), 3):
            data[at] = rng.integers(0, 256)
        for made in (decode, small):
            try:
                made(bytes(data))
            except ImageError:
                refused += 1
        taken_at_of(bytes(data))
    assert refused > 200


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), SyntaxError(), struct.error(), ZeroDivisionError()])
def test_an_error_of_a_decoder_that_nobody_listed_is_that_images(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: Any) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", raises)
    with pytest.raises(ImageError, match="PNG data is damaged"):
        decode(saved(GREY, "PNG"))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "_open", raises)
    with pytest.raises(ImageError, match="not an image"):
        decode(saved(GREY, "PNG"))


def test_what_is_wrong_with_the_process_is_no_images_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), KeyboardInterrupt(), ImportError()):

        def raises(*_: Any, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(decoding.np, "asarray", raises)
        with pytest.raises(type(error)):
            decode(saved(GREY, "PNG"))


def with_exif(time: str, offset: str | None = None) -> bytes:
    exif = Picture.Exif()
    exif.get_ifd(0x8769)[0x9003] = time
    if offset:
        exif.get_ifd(0x8769)[0x9011] = offset
    buffer = io.BytesIO()
    Picture.open(io.BytesIO(photograph(7))).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("time", "offset"),
    [
        ("0001:01:01 00:00:00", "+05:00"),
        ("9999:12:31 23:59:59", "-05:00"),
        ("0000:00:00 00:00:00", None),
        ("2026:03:02 12:00:00", "+99:99"),
        ("\0\0\0\0", None),
    ],
)
def test_a_time_that_cannot_be_is_no_time(time: str, offset: str | None) -> None:
    assert taken_at_of(with_exif(time, offset)) is None


def test_a_time_that_has_no_utc_in_the_site_s_zone_is_no_time() -> None:
    from c4_assets.scoring.exif import taken_at

    east = timezone(timedelta(hours=5))
    assert taken_at(io.BytesIO(with_exif("0001:01:01 00:00:00")), east) is None
    assert taken_at(io.BytesIO(with_exif("2026:03:02 12:00:00")), east) == datetime(2026, 3, 2, 7, tzinfo=UTC)


def test_odd_times_and_odd_bytes_in_a_few_images_stop_nothing_else(facility: Facility) -> None:
    plate = {f"{n}.jpg": photograph(n) for n in range(5)}
    facility.add_plate("P1", {**plate, "year-1.jpg": with_exif("0001:01:01 00:00:00", "+05:00")})
    facility.add_plate(
        "P2", {"first.jpg": with_exif("0001:01:01 00:00:00"), "last.jpg": with_exif("9999:12:31 23:59:59")}
    )
    facility.add_plate("P3", {"dds.jpg": others()["DDS"], "bomb.jpg": BOMBS["PNG"], "tiff.jpg": LOSSLESS["TIFF"]})
    facility.score()
    progress = facility.progress()
    assert (progress.scored, progress.retrying) == (9, 2)
    assert {outcome.error for outcome in facility.archive.outcomes(noon(1).date()) if outcome.error}
