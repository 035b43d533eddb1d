"""Images a second from JPEG bytes to probabilities: C4's engines beside MARCO's own signature, as its users call it.

    python -m benchmarks.classify [--json]

C4_REAL_IMAGES names a folder of real images; without one, drops are rendered. Every contender works
through the same 5-megapixel images in every round; a figure is the median of the rounds. The last columns of the table
hold each engine against the signature's probabilities.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, report
from c4_assets.models import machine
from c4_assets.models.engine import Engine
from c4_assets.models.marco.network import frozen_graph, tensorflow
from c4_assets.models.marco.openvino_engine import OpenVinoEngine
from c4_assets.models.marco.openvino_graph import openvino_graph
from c4_assets.models.marco.tensorflow_engine import TensorFlowEngine
from c4_assets.models.weights import fetch, weights_sha256
from resources.records import CATEGORIES

ROUNDS = 3
IMAGES = 96
BASELINE = "serving_default@32"

Scores = NDArray[np.float64]
Contender = Callable[[Sequence[bytes]], Scores]


@dataclass(frozen=True)
class Result:
    """What a contender did: images a second and share of all cores, both medians, and its probabilities (N, 4)."""

    rate: float
    cores_used: float
    scores: Scores


def serving_default(saved_model: Path, batch_size: int) -> Contender:
    """MARCO's signature: JPEG bytes in, classes and scores sorted by score out."""
    tf = tensorflow()
    signature = tf.saved_model.load(str(saved_model)).signatures["serving_default"]

    def classify(images: Sequence[bytes]) -> Scores:
        found: list[Scores] = []
        for first in range(0, len(images), batch_size):
            answer = signature(image_bytes=tf.constant(list(images[first : first + batch_size])))
            named = zip(answer["classes"].numpy(), answer["scores"].numpy(), strict=True)
            for names, scores in named:
                by_name = {name.decode().lower(): float(score) for name, score in zip(names, scores, strict=True)}
                found.append(np.array([by_name[category] for category in CATEGORIES]))
        return np.array(found)

    return classify


def ours(engine: Engine) -> Contender:
    """An engine of C4."""
    return lambda images: np.array([each.probabilities for each in engine.classify(images)])


def contenders(models: Path) -> dict[str, Contender]:
    """All that can run on this machine, the baseline among them, by the name of their row."""
    saved_model = fetch("marco", models)
    weights = weights_sha256("marco", models)
    found: dict[str, Contender] = {
        "serving_default@1": serving_default(saved_model, 1),
        BASELINE: serving_default(saved_model, 32),
        "tensorflow": ours(TensorFlowEngine(frozen_graph(saved_model, weights), "fp32", None)),
        "openvino-fp32": ours(OpenVinoEngine(openvino_graph(saved_model, weights), "fp32", None)),
    }
    if machine.has_bf16():
        found["openvino-bf16"] = ours(OpenVinoEngine(openvino_graph(saved_model, weights), "bf16", None))
    return found


def measure(images: Sequence[bytes], found: dict[str, Contender]) -> dict[str, Result]:
    """Every contender in every round, so that what else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    busy: dict[str, list[float]] = {name: [] for name in found}
    scores: dict[str, Scores] = {}
    for classify in found.values():
        classify(images[:8])  # the first call compiles
    for _ in range(ROUNDS):
        for name, classify in found.items():
            started, cpu = time.perf_counter(), time.process_time()
            scores[name] = classify(images)
            seconds[name].append(time.perf_counter() - started)
            busy[name].append((time.process_time() - cpu) / seconds[name][-1] / machine.cores())
    return {name: Result(len(images) / median(seconds[name]), median(busy[name]), scores[name]) for name in found}


def parity(found: dict[str, Contender], images: Sequence[bytes]) -> list[str]:
    """A line an engine: how far it is from the signature, on other images than those of the race as well."""
    published = found["serving_default@1"](images)
    lines = [f"{len(images)} images against the signature: largest difference, equal categories, flags lost at 0.25"]
    for name in found:
        if not name.startswith("serving"):
            scores = found[name](images)
            equal = (scores.argmax(axis=1) == published.argmax(axis=1)).mean()
            lost = int(((scores[:, 1] < 0.25) & (published[:, 1] >= 0.25)).sum())
            of = int((published[:, 1] >= 0.25).sum())
            lines.append(f"  {name:<15} {np.abs(scores - published).max():.1e}  {equal:.1%}  {lost} of {of}")
    return lines


def five_megapixels(folder: Path | None) -> list[bytes]:
    """The images of the race."""
    if folder:
        files = sorted((folder / "plates" / "ci022987_subwell_01").glob("*.jp*g"))[:IMAGES]
        return [file.read_bytes() for file in files]
    from c4_assets.demo.drops import render_drop

    drops = (render_drop(CATEGORIES[seed % 4], seed) for seed in range(IMAGES))
    return [as_jpeg(drop) for drop in drops]


def as_jpeg(drop: NDArray[np.uint8]) -> bytes:
    """A rendered drop as an imager's file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(drop).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Images a second from JPEG bytes to probabilities.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    real = os.environ.get("C4_REAL_IMAGES")
    folder = Path(real) if real else None
    with tempfile.TemporaryDirectory() as scratch:
        found = contenders(Path(os.environ.get("C4_MODELS", scratch)))
        images = five_megapixels(folder)
        results = measure(images, found)
        base = results[BASELINE].rate
        rows = [
            Row(name, round(result.rate, 1), "images/s", round(result.rate / base, 2))
            for name, result in results.items()
        ]
        report("classify", BASELINE, rows, arguments.json)
        if not arguments.json:
            for name, result in results.items():
                sys.stdout.write(f"  {name:<18} kept {result.cores_used:.0%} of {machine.cores()} cores busy\n")
            every = sorted(folder.rglob("*.jp*g")) if folder else []
            sys.stdout.write("\n".join(parity(found, [file.read_bytes() for file in every] or images)) + "\n")


if __name__ == "__main__":
    main()
