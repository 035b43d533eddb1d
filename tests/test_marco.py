"""MARCO's engine: every kind of file that is not a good image, and scorer versions.

That its numbers are the published model's own is shown in ``test_commands.py``, on all real images.
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from c4_assets.marco.classifier import Classifier
from c4_assets.marco.engine import Classification
from c4_assets.marco.preprocessing import SIDE, pixels, thumbnail
from resources.errors import ConfigurationError, ImageError
from tests.conftest import photograph


def as_file(array: np.ndarray, form: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Picture.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, form)
    return buffer.getvalue()


GREY = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)

UNUSUAL = {
    "grey JPEG": as_file(GREY, "JPEG"),
    "CMYK JPEG": as_file(RGB, "JPEG", "CMYK"),
    "16-bit PNG": as_file(GREY.astype(np.uint16) * 257, "PNG"),
    "palette PNG": as_file(RGB, "PNG", "P"),
    "PNG with transparency": as_file(RGB, "PNG", "RGBA"),
    "one pixel": as_file(RGB[:1, :1], "PNG"),
    "tall": as_file(RGB.transpose(1, 0, 2).copy(), "JPEG"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_are_scored_like_any_other(kind: str) -> None:
    decoded = pixels(UNUSUAL[kind])
    assert decoded.shape == (SIDE, SIDE, 3)
    assert decoded.dtype == np.float32
    assert -1 <= decoded.min() <= decoded.max() <= 1


def test_a_16_bit_image_looks_like_its_8_bit_self() -> None:
    assert pixels(UNUSUAL["16-bit PNG"]) == pytest.approx(pixels(as_file(GREY, "PNG")), abs=1e-6)


WHOLE = photograph(1, (300, 200))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff", "not an image"),
        (b"GIF89a" + bytes(50), "not an image"),
        (photograph(1, form="GIF"), "GIF image; MARCO reads JPEG and PNG"),
        (photograph(1, form="BMP"), "BMP image; MARCO reads JPEG and PNG"),
        (WHOLE[: len(WHOLE) // 2], "damaged or cut off"),
        (photograph(1, (300, 200), "PNG")[:-2000], "damaged or cut off"),
    ],
)
def test_what_cannot_be_decoded_says_why(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        pixels(data)


def test_bad_images_between_good_ones_change_nothing_and_the_order_is_kept(marco: Classifier) -> None:
    good = [photograph(seed, (160, 120)) for seed in range(20)]
    alone = list(marco.engine.classify(good))
    mixed: list[bytes] = []
    for data in good:
        mixed += [data, b"not an image"]
    results = list(marco.engine.classify(mixed))
    assert [r.error is not None for r in results] == [False, True] * 20
    for one, other in zip(alone, results[::2], strict=True):
        assert isinstance(one, Classification)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_nothing_to_classify_is_nothing(marco: Classifier) -> None:
    assert list(marco.engine.classify([])) == []


def test_a_thumbnail_is_small_and_keeps_the_shape() -> None:
    with Picture.open(io.BytesIO(thumbnail(photograph(1, (800, 400)), 200))) as small:
        assert small.size == (200, 100)


def test_the_scorer_version_changes_with_everything_that_can_change_a_score(marco: Classifier) -> None:
    from dataclasses import fields, replace

    version = marco.version
    assert version.name == replace(version).name
    for field in fields(version):
        value = getattr(version, field.name)
        changed = replace(version, **{field.name: 0.5 if isinstance(value, float) else f"{value}x"})
        assert changed.name != version.name, field.name
    assert json.loads(json.dumps(version.as_row(), default=str))["name"] == version.name


def test_a_folder_that_is_no_marco_is_a_configuration_error(tmp_path: Path) -> None:
    from c4_assets.marco.tensorflow_engine import TensorFlowEngine

    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="not MARCO's SavedModel"):
        TensorFlowEngine(tmp_path, 4)
