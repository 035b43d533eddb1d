"""Thumbnails of image files that nobody vouches for: what they show, how large they are, and what has none."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from PIL import Image as Picture

from c4_assets.models.marco.preprocessing import decode
from c4_assets.pictures import thumbnails
from c4_assets.pictures.thumbnails import DROP_THUMBNAIL_SIDE, drop_thumbnail, thumbnail_of
from resources.errors import ImageError
from resources.records import Image
from tests.test_decoding import BOMBS, deep, many_scans, others, saved, tiff
from tests.test_marco import png

NOW = datetime(2026, 3, 2, tzinfo=UTC)

PIXELS = np.zeros((360, 480, 3), np.uint8)
PIXELS[..., 0] = np.linspace(0, 255, 480)
PIXELS[..., 1] = np.linspace(0, 255, 360)[:, None]
PIXELS[100:200, 100:200, 2] = 200


def seen(webp: bytes) -> Any:
    """The pixels of a thumbnail."""
    with Picture.open(io.BytesIO(webp)) as opened:
        assert (opened.format, opened.mode) == ("WEBP", "RGB")
        return np.asarray(opened, float)


def of(picture: Picture.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


@settings_of(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 3000) | st.integers(310, 330),
    height=st.integers(1, 3000) | st.integers(310, 330),
    form=st.sampled_from(["JPEG", "PNG", "BMP"]),
    mode=st.sampled_from(["RGB", "L"]),
)
def test_the_longest_side_is_320_pixels_the_shape_is_kept_and_nothing_is_enlarged(
    width: int, height: int, form: str, mode: str
) -> None:
    made = drop_thumbnail(of(Picture.new(mode, (width, height), 128), form))
    assert (made.width, made.height) == (width, height)
    tall, wide = seen(made.webp).shape[:2]
    scale = min(1, DROP_THUMBNAIL_SIDE / max(width, height))
    assert max(wide, tall) == min(DROP_THUMBNAIL_SIDE, max(width, height))
    assert abs(wide - max(1, width * scale)) < 1
    assert abs(tall - max(1, height * scale)) < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image_of_an_odd_shape_has_a_thumbnail(size: tuple[int, int], form: str) -> None:
    made = drop_thumbnail(of(Picture.new("RGB", size, "red"), form))
    assert (made.width, made.height) == size
    assert seen(made.webp).shape == (min(size[1], 320), min(size[0], 320), 3)


COLOUR = Picture.fromarray(PIXELS)
KINDS = {
    "JPEG": of(COLOUR, "JPEG", quality=95),
    "progressive JPEG": of(COLOUR, "JPEG", quality=95, progressive=True),
    "grey JPEG": of(COLOUR.convert("L"), "JPEG", quality=95),
    "CMYK JPEG": of(COLOUR.convert("CMYK"), "JPEG", quality=95),
    "several pictures in a JPEG": of(COLOUR, "MPO", save_all=True, append_images=[Picture.new("RGB", (480, 360))]),
    "PNG": of(COLOUR, "PNG"),
    "palette": of(COLOUR.quantize(64), "PNG"),
    "transparent PNG": png(np.dstack([PIXELS, np.full(PIXELS.shape[:2], 9, np.uint8)]), 6, bits=8),
    "PNG of 16 bits": saved(deep(PIXELS[..., 0], 16), "PNG"),
    "PNG of 12 bits": saved(deep(PIXELS[..., 0], 12), "PNG"),
    "TIFF of 16 bits": saved(deep(PIXELS[..., 0], 16), "TIFF"),
    "TIFF of 16 bits in colour": tiff(deep(PIXELS, 16)),
    "CMYK TIFF": of(COLOUR.convert("CMYK"), "TIFF"),
    "animated": of(COLOUR, "WEBP", lossless=True, save_all=True, append_images=[Picture.new("RGB", (480, 360))]),
    "JPEG 2000": of(COLOUR, "JPEG2000", irreversible=False),
    "turned by EXIF": of(
        COLOUR, "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_shows_what_the_classifier_is_shown(kind: str) -> None:
    whole = Picture.fromarray(decode(KINDS[kind])).resize((320, 240), Picture.Resampling.LANCZOS)
    shown = seen(drop_thumbnail(KINDS[kind]).webp)
    assert shown.shape == (240, 320, 3)
    assert np.abs(shown - np.asarray(whole, float)).mean() < 5


def test_a_real_drop_looks_as_it_does_when_it_is_decoded_in_whole(real_images: Path) -> None:
    files = sorted((real_images / "plates").rglob("*.jpg"))[::24]
    assert len(files) >= 8
    for file in files:
        data = file.read_bytes()
        made = drop_thumbnail(data)
        shown = seen(made.webp)
        whole = Picture.fromarray(decode(data)).resize(shown.shape[1::-1], Picture.Resampling.LANCZOS)
        assert np.abs(shown - np.asarray(whole, float)).mean() < 4
        assert len(made.webp) < 12_000


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", [*BOMBS, *others()])
def test_what_costs_too_much_or_is_no_image_is_refused_in_words_that_name_it(kind: str) -> None:
    image, data = Image(7, 1, "P1", "A01", 1, "plate/odd.jpg"), {**BOMBS, **others()}[kind]
    began = time.monotonic()
    with pytest.raises(ImageError):
        drop_thumbnail(data)
    made = thumbnail_of(image, data, NOW)
    assert time.monotonic() - began < 2
    assert made is not None
    assert (made.webp, made.width) == (None, None)
    assert made.error is not None
    assert made.error.startswith("plate/odd.jpg: ")
    assert made.sha256 is not None, "another file at its place is another matter"


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", KINDS["JPEG"][:5000], KINDS["PNG"][:200]])
def test_a_file_that_is_empty_cut_off_or_text_has_none(data: bytes) -> None:
    with pytest.raises(ImageError):
        drop_thumbnail(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bytes_that_are_damaged_anywhere_give_a_thumbnail_or_a_reason() -> None:
    rng, image = np.random.default_rng(4), Image(7, 1, "P1", "A01", 1, "a.jpg")
    whole = [data for kind, data in KINDS.items() if kind not in ("JPEG 2000", "animated")]
    reasons = 0
    for number in range(300):
        data = bytearray(whole[number % len(whole)])
        for at in rng.integers(0, min(len(data), 400), 3):
            data[at] = rng.integers(0, 256)
        made = thumbnail_of(image, bytes(data), NOW)
        assert made is None or (made.webp is None) != (made.error is None)
        reasons += made is not None and made.error is not None
    assert reasons > 30


def test_too_little_memory_is_no_matter_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(thumbnails, "drop_thumbnail", raises)
    assert thumbnail_of(Image(7, 1, "P1", "A01", 1, "a.jpg"), KINDS["JPEG"], NOW) is None


def test_large_images_are_decoded_one_at_a_time_and_others_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = most = 0
    lock = threading.Lock()
    original = thumbnails.rgb

    def counted(*arguments: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return original(*arguments)

    monkeypatch.setattr(thumbnails, "rgb", counted)
    for large, expected in ((1, {1}), (10**9, {2, 3, 4})):
        monkeypatch.setattr(thumbnails, "LARGE_PIXELS", large)
        most = 0
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(drop_thumbnail, [KINDS["PNG"]] * 8))) == 8
        assert most in expected


def test_a_progressive_jpeg_of_a_camera_is_no_bomb() -> None:
    assert drop_thumbnail(many_scans(3, (2560, 1920))).width == 2560
