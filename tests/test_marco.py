"""MARCO's engine: every kind of file that is not a good image, and scorer versions.

That its numbers are the published model's own is shown in ``test_commands.py``, on all real images.
"""

import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from c4_assets.models import machine
from c4_assets.models.active import model_without_database
from c4_assets.models.classifier import Classifier, _load, choose_arithmetic  # pyright: ignore[reportPrivateUsage]
from c4_assets.models.engine import Classification
from c4_assets.models.marco.network import frozen_graph, tensorflow, verified_copy
from c4_assets.models.marco.openvino_graph import openvino_graph
from c4_assets.models.marco.preprocessing import INPUT_SIDE, decode, pixels, resize, thumbnail
from c4_assets.models.weights import SAVED_MODEL_FILES, files_sha256, weights_sha256
from resources.errors import ConfigurationError, ImageError
from resources.records import CATEGORIES
from resources.settings import Settings
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
    assert decoded.shape == (INPUT_SIDE, INPUT_SIDE, 3)
    assert decoded.dtype == np.float32
    assert -1 <= decoded.min() <= decoded.max() <= 1


def png(samples: np.ndarray, color_type: int, bits: int = 16) -> bytes:
    """A PNG of a kind that Pillow does not write: 2 is RGB, 4 grey with transparency, 6 RGB with transparency."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


NOISE = np.random.default_rng(7).integers(0, 2**16, (31, 29, 4), np.uint16)

PNGS = {
    **{f"8-bit {mode}": as_file(RGB, "PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "16-bit grey": as_file(NOISE[..., 0].copy(), "PNG"),
    "16-bit grey with transparency": png(NOISE[..., :2], 4),
    "16-bit RGB": png(NOISE[..., :3], 2),
    "16-bit RGB with transparency": png(NOISE, 6),
}


@pytest.mark.parametrize("kind", PNGS)
def test_every_kind_of_png_has_the_pixels_of_marcos_own_decoder(kind: str) -> None:
    assert np.array_equal(decode(PNGS[kind]), tensorflow().io.decode_jpeg(PNGS[kind], channels=3).numpy())


def test_a_16_bit_image_looks_like_its_8_bit_self() -> None:
    assert pixels(UNUSUAL["16-bit PNG"]) == pytest.approx(pixels(as_file(GREY, "PNG")), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    quality=st.integers(5, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_pixels_are_those_of_marcos_own_decoder_and_resize_to_the_last_bit(
    width: int, height: int, quality: int, subsampling: int, progressive: bool, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(noise).save(buffer, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    theirs = tensorflow().io.decode_jpeg(buffer.getvalue(), channels=3).numpy()
    ours = decode(buffer.getvalue())
    assert np.array_equal(ours, theirs)
    side, top, left = min(height, width), (height - min(height, width)) // 2, (width - min(height, width)) // 2
    square = theirs[np.newaxis, top : top + side, left : left + side]
    resized = tensorflow().raw_ops.ResizeBilinear(images=square, size=[INPUT_SIDE, INPUT_SIDE]).numpy()[0]
    assert np.array_equal(resize(ours), resized)


def test_real_images_are_decoded_to_the_last_bit(real_images: Path) -> None:
    for folder in sorted(file for file in real_images.glob("*/*") if file.is_dir()):
        data = min(folder.rglob("*.jp*g")).read_bytes()
        assert np.array_equal(decode(data), tensorflow().io.decode_jpeg(data, channels=3).numpy()), folder


WHOLE = photograph(1, (300, 200))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff", "not an image"),
        (b"GIF89a" + bytes(50), "not an image"),
        (photograph(1, form="PPM"), "not an image of a kind that C4 reads"),
        (WHOLE[: len(WHOLE) // 2], "damaged or cut off"),
        (photograph(1, (300, 200), "PNG")[:-2000], "damaged or cut off"),
    ],
)
def test_what_cannot_be_decoded_says_why(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        pixels(data)


ENGINES = [("tensorflow", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]


def classifier(models: Path, engine: str, precision: str, **variables: str) -> Classifier:
    home = {"C4_HOME": str(models.parent), "C4_MODELS": str(models)}
    return model_without_database(
        Settings.from_environment({**home, "C4_ENGINE": engine, "C4_PRECISION": precision, **variables})
    )


@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_every_engine_sees_what_the_published_model_sees(
    engine: str, precision: str, models: Path, real_images: Path
) -> None:
    asked_for = classifier(models, engine, precision)
    if precision == "bf16" and not machine.has_bf16():
        with pytest.raises(ConfigurationError, match="precision bf16 needs a CPU with"):
            _ = asked_for.engine
        return
    with (real_images / "marco_reference.csv").open() as opened:
        rows = list(csv.DictReader(opened))[::3]
    expected = np.array([[float(row[category]) for category in CATEGORIES] for row in rows])
    results = asked_for.engine.classify((real_images / row["path"]).read_bytes() for row in rows)
    scores = np.array([result.probabilities for result in results])
    if precision == "fp32":
        assert np.abs(scores - expected).max() < 1e-4
    assert (scores.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98


def test_a_step_on_a_cpu_never_waits_for_tensorflow(marco: Classifier, models: Path, tmp_path: Path) -> None:
    assert marco.engine, "the graph has been cut out of the SavedModel before"
    (tmp_path / "one.jpg").write_bytes(WHOLE)
    script = """
import sys
from pathlib import Path
from c4_assets.models.active import model_without_database
from resources.settings import Settings
engine = model_without_database(Settings.from_environment()).engine
print([c.error for c in engine.classify([Path(sys.argv[1]).read_bytes()])], "tensorflow" in sys.modules)
"""
    environment = {**os.environ, "C4_MODELS": str(models), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script, str(tmp_path / "one.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[None] False"


def test_each_engine_and_precision_is_a_scorer_version_of_its_own(models: Path) -> None:
    assert len({classifier(models, *each).version.name for each in ENGINES}) == len(ENGINES)


def test_auto_takes_the_gpus_where_there_are_some_and_never_looks_here_for_what_slurm_has(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert classifier(models, "auto", "fp32").version.engine == "openvino"
    assert classifier(models, "auto", "fp32", C4_EXECUTOR="slurm").version.engine == "tensorflow"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    chosen = choose_arithmetic("auto", "fp32", "in_process")
    assert (chosen.engine, chosen.reason) == ("tensorflow", "this machine has 2 GPU")


def test_a_precision_that_the_engine_does_not_have_is_refused_by_name(models: Path) -> None:
    with pytest.raises(ConfigurationError, match="precision bf16 is nothing that the engine tensorflow"):
        _ = classifier(models, "tensorflow", "bf16").version
    with pytest.raises(ConfigurationError, match="precision fp16 needs a GPU"):
        _ = classifier(models, "tensorflow", "fp16", CUDA_VISIBLE_DEVICES="").engine


def test_a_batch_that_the_gpu_has_no_memory_for_goes_through_in_parts(
    marco: Classifier, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c4_assets.models.marco.tensorflow_engine import halving

    sizes: list[int] = []

    def small(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise tensorflow().errors.ResourceExhaustedError(None, None, "out of memory")
        return batch * 2

    assert halving(small)(np.arange(10.0, dtype=np.float32)).tolist() == [2.0 * i for i in range(10)]
    assert max(sizes[1:]) < 10
    with pytest.raises(tensorflow().errors.ResourceExhaustedError):
        halving(lambda batch: small(np.zeros(9)))(np.zeros(1, np.float32))


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


def saved_model(folder: Path) -> Path:
    """A folder with the files of a SavedModel, and nothing in them."""
    for file in SAVED_MODEL_FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"nothing")
    return folder


def test_a_folder_that_is_no_marco_is_a_configuration_error(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "mine")
    with pytest.raises(ConfigurationError, match="not MARCO's SavedModel"):
        frozen_graph(folder, files_sha256(folder))
    with pytest.raises(ConfigurationError, match="not MARCO's SavedModel"):
        openvino_graph(folder, files_sha256(folder))


def test_damaged_weights_are_never_loaded_under_the_name_of_the_whole_ones(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "mine")
    whole = files_sha256(folder)
    (folder / SAVED_MODEL_FILES[1]).write_bytes(b"bit rot")
    with pytest.raises(ConfigurationError, match="not those of the scorer version"):
        frozen_graph(folder, whole)
    with pytest.raises(ConfigurationError, match="not those of the scorer version"):
        openvino_graph(folder, whole)


def test_what_is_loaded_is_what_was_hashed_whatever_becomes_of_the_folder(models: Path, tmp_path: Path) -> None:
    folder, weights = tmp_path / "marco", weights_sha256("marco", models)
    shutil.copytree(models / "marco", folder)
    with verified_copy(folder, weights) as copy:
        for file in SAVED_MODEL_FILES:
            (folder / file).write_bytes(b"exchanged")
        assert files_sha256(copy) == weights
        assert copy.stat().st_mode & 0o077 == 0, "nobody else can change the copy"
    assert not copy.exists()


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_one_changed_constant_is_never_computed_with(engine: str, models: Path, tmp_path: Path) -> None:
    mine = tmp_path / "models"
    shutil.copytree(models / "marco", mine / "marco")
    kept = mine / ".networks" / f"{weights_sha256('marco', models)}.pb"  # where an earlier release kept its graph
    kept.parent.mkdir()
    kept.write_bytes(b"other constants")
    assert next(iter(classifier(mine, engine, "fp32").engine.classify([WHOLE]))).error is None
    assert kept.read_bytes() == b"other constants", "nobody reads it"
    variables = mine / "marco" / SAVED_MODEL_FILES[1]
    content = bytearray(variables.read_bytes())
    content[len(content) // 2] ^= 1
    variables.write_bytes(content)
    _load.cache_clear()
    with pytest.raises(ConfigurationError, match="not those of the scorer version"):
        _ = classifier(mine, engine, "fp32").engine


def test_openvino_reads_the_graph_that_tensorflow_cuts_out(models: Path, tmp_path: Path) -> None:
    import openvino as ov

    weights = weights_sha256("marco", models)
    ours = openvino_graph(models / "marco", weights)
    (tmp_path / "frozen.pb").write_bytes(frozen_graph(models / "marco", weights))
    theirs = cast("Any", ov.Core()).read_model(tmp_path / "frozen.pb")
    theirs.reshape([-1, INPUT_SIDE, INPUT_SIDE, 3])
    batch = np.random.default_rng(3).uniform(-1, 1, (2, INPUT_SIDE, INPUT_SIDE, 3)).astype(np.float32)
    one, other = (ov.compile_model(model, "CPU")(batch)[0] for model in (ours, theirs))
    assert np.array_equal(one, other)
