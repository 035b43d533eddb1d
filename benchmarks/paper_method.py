"""The method of the paper, told again as faithfully as its text allows: one inspection, as the job that it was.

    python -m benchmarks.paper_method < ORDER      (a JSON object: see :class:`Order`; prints the seconds of each part)

A job copies the images of an inspection to the node's disk with paramiko and scp, one after another, classifies them
with MARCO's own signature in batches of 32, takes the likeliest class of each, and posts all of them in one INSERT.
It does what the paper's three Slurm jobs did in one, so it pays for Python and TensorFlow once, and it waits for no
queue: both are in its favour.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

BATCH = 32


@dataclass(frozen=True)
class Order:
    """What the job is told: where the images are, the model, and where the scores go (``{image id: path}``)."""

    port: int
    user: str
    key: str
    known_hosts: str
    folder: str
    images: dict[str, str]
    saved_model: str
    database: str


def fetch(order: Order, scratch: Path) -> dict[str, Path]:
    """Copies one file after another over one connection."""
    import paramiko
    import scp

    client = paramiko.SSHClient()
    client.load_host_keys(order.known_hosts)
    client.connect("127.0.0.1", order.port, order.user, key_filename=order.key, look_for_keys=False, allow_agent=False)
    copies = {image_id: scratch / image_id for image_id in order.images}
    transport = client.get_transport()
    assert transport  # noqa: S101 - there is one after connect
    with client, scp.SCPClient(transport) as copier:
        for image_id, path in order.images.items():
            copier.get(f"{order.folder}/{path}", str(copies[image_id]))
    return copies


def classify(signature: Any, files: Sequence[Path]) -> list[tuple[str, float]]:
    """The likeliest class of each image and its score, as MARCO's signature sorts them."""
    import tensorflow as tf

    found: list[tuple[str, float]] = []
    for first in range(0, len(files), BATCH):
        contents = [file.read_bytes() for file in files[first : first + BATCH]]
        answer = signature(image_bytes=tf.constant(contents))
        best = zip(answer["classes"].numpy()[:, 0], answer["scores"].numpy()[:, 0], strict=True)
        found += [(name.decode().lower(), float(score)) for name, score in best]
    return found


def post(order: Order, found: dict[str, tuple[str, float]]) -> None:
    """All rows in one INSERT."""
    from sqlalchemy import create_engine, insert, select

    from resources.imaging_database.schema import score_classes, scores

    engine = create_engine(order.database)
    with engine.begin() as connection:
        classes = {row.name: row.id for row in connection.execute(select(score_classes.c.id, score_classes.c.name))}
        now = datetime.now(UTC)
        rows = [
            {
                "image_id": int(image_id),
                "scorer": "paper",
                "scorer_version": "paper",
                "score_class_id": classes[name],
                "scored_at": now,
            }
            for image_id, (name, _) in found.items()
        ]
        connection.execute(insert(scores).values(rows))
    engine.dispose()


def main() -> None:
    """The job."""
    order = Order(**json.load(sys.stdin))
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(part: str) -> None:
        nonlocal started
        seconds[part] = time.perf_counter() - started
        started = time.perf_counter()

    with tempfile.TemporaryDirectory() as scratch:
        copies = fetch(order, Path(scratch))
        lap("fetch")
        import tensorflow as tf

        model = cast("Any", tf).saved_model.load(order.saved_model)
        lap("load")
        found = classify(model.signatures["serving_default"], list(copies.values()))
        lap("classify")
    post(order, dict(zip(copies, found, strict=True)))
    lap("write")
    sys.stdout.write(json.dumps(seconds) + "\n")


if __name__ == "__main__":
    main()
