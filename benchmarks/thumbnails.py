"""What thumbnails of all drops cost: an image, fetching, and somebody who looks at a plate of 192 drops.

    python -m benchmarks.thumbnails       (about two minutes; C4_REAL_IMAGES names a folder of real images)

Images come from a real sshd, over a connection that is open already, behind a proxy that makes the round trip 12 ms:
over a line of 100 Mbit/s, a tenth of a gigabit, which is what each of ten connections has; and over one that is as fast
as the processors allow. Client, proxy and server share the machine. ``staged`` is until the last of five inspections of
96 images is staged, ``settled`` until its thumbnails are written, too; the baseline fetches without thumbnails.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from datetime import date
from functools import partial
from pathlib import Path
from statistics import mean

from benchmarks.report import Row, medians, report, seconds_of
from c4_assets.pictures.fetched_thumbnails import FetchedThumbnails
from c4_assets.pictures.inspection_thumbnails import thumbnails_of_inspection
from c4_assets.pictures.thumbnails import drop_thumbnail
from c4_assets.scoring.fetch import fetch_images
from resources.archive.staging import Staging
from resources.archive.thumbnails import Thumbnails
from resources.image_store import ImageStore, open_image_store
from resources.records import Image
from testing.delaying_proxy import proxy_process
from testing.sshd import Sshd

DELAY = 0.006
LINES = {"100 Mbit/s": 12_500_000.0, "unlimited": None}
INSPECTIONS, DROPS = 5, 192
DAY = date(2026, 1, 1)
PLATES = {"5 megapixels": "ci022987_subwell_01", "1.3 megapixels": "xchem_90j8"}


def real_images(plate: str) -> list[bytes]:
    """Up to 96 images of a plate.

    Raises:
        SystemExit: there are none.
    """
    folder = Path(os.environ.get("C4_REAL_IMAGES", "")) / "plates" / plate
    files = sorted(folder.glob("*.jpg"))[: DROPS // 2] if "C4_REAL_IMAGES" in os.environ else []
    if not files:
        raise SystemExit(f"{folder} has no images: set C4_REAL_IMAGES")
    return [file.read_bytes() for file in files]


def an_image() -> list[Row]:
    """CPU time and size of one thumbnail."""
    rows: list[Row] = []
    for name, plate in PLATES.items():
        images = real_images(plate)
        began = time.process_time()
        made = [drop_thumbnail(data) for data in images]
        milliseconds = 1000 * (time.process_time() - began) / len(images)
        rows.append(Row(f"{name}, an image", round(milliseconds, 2), "ms CPU", 1))
        rows.append(Row(f"{name}, an image", round(mean(len(each.webp) for each in made) / 1000, 2), "kB", 1))
    return rows


def lay_out(folder: Path) -> list[str]:
    """192 files of 5 megapixels; their paths below the folder's parent."""
    folder.mkdir(parents=True)
    data = real_images(PLATES["5 megapixels"])
    for number in range(DROPS):
        (folder / f"{number:03}.jpg").write_bytes(data[number % len(data)])
    return [f"{folder.name}/{file.name}" for file in sorted(folder.iterdir())]


def images_of(paths: Sequence[str], inspection_id: int) -> list[Image]:
    """Images of an inspection with these files."""
    return [Image(number, inspection_id, "P1", "A01", 1, path) for number, path in enumerate(paths)]


def fetching(store: ImageStore, folder: Path, paths: Sequence[str], with_thumbnails: bool) -> tuple[float, float]:
    """Seconds until a few inspections are staged, and until their thumbnails are there."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        staging, thumbnails = Staging(Path(place) / "staging"), Thumbnails(Path(place) / "thumbnails")
        began = time.perf_counter()
        with FetchedThumbnails(thumbnails) if with_thumbnails else nullcontext() as fetched:
            for number in range(INSPECTIONS):
                rows = fetch_images(store, images_of(paths, number))
                staging.write(DAY, number, fetched.passing(DAY, number, rows) if fetched else rows)
            staged = time.perf_counter() - began
        return staged, time.perf_counter() - began


def while_fetching(folder: Path, host: Sshd, paths: Sequence[str], rounds: int) -> list[Row]:
    """Images a second, with and without thumbnails, over each line."""
    rows: list[Row] = []
    for line, bytes_a_second in LINES.items():
        with proxy_process(host.port, DELAY, bytes_a_second) as port:
            url = f"ssh://{host.user}@{host.host}:{port}{folder / 'images'}"
            with closing(open_image_store(url, host.behind(port))) as store:
                list(store.fetch(paths[:1]))
                settled: list[float] = []

                def without(store: ImageStore = store) -> float:
                    return fetching(store, folder, paths, with_thumbnails=False)[0]

                def beside(store: ImageStore = store, settled: list[float] = settled) -> float:
                    staged, until_the_end = fetching(store, folder, paths, with_thumbnails=True)
                    settled.append(until_the_end)
                    return staged

                took = medians({"without": without, "staged": beside}, rounds)
                took["settled"] = sorted(settled)[len(settled) // 2]
        count = INSPECTIONS * len(paths)
        rows += [
            Row(f"{line}, {name}", round(count / seconds, 1), "images/s", round(took["without"] / seconds, 3))
            for name, seconds in took.items()
        ]
    return rows


def looks(folder: Path, host: Sshd, paths: Sequence[str]) -> list[Row]:
    """Seconds of a first look at a plate of 192 drops, until the first and all thumbnails, and of a second."""
    thumbnails, images = Thumbnails(folder / "looked-at"), images_of(paths, 1)
    with proxy_process(host.port, DELAY) as port:
        url = f"sftp://{host.user}@{host.host}:{port}{folder / 'images'}"
        with closing(open_image_store(url, host.behind(port))) as store:

            def look() -> float:
                return seconds_of(lambda: list(thumbnails_of_inspection(DAY, 1, images, thumbnails, store)))

            began = time.perf_counter()
            first = thumbnails_of_inspection(DAY, 1, images, thumbnails, store)
            next(first)
            seen = time.perf_counter() - began
            list(first)
            whole = time.perf_counter() - began
            again = look()
    reading = seconds_of(lambda: [thumbnails.read(DAY, 1) for _ in range(20)]) / 20
    one = seconds_of(lambda: [thumbnails.read(DAY, 1, 99) for _ in range(20)]) / 20
    figures: dict[str, float] = {
        "first look, until one is there": seen,
        "first look, until all 192 are there": whole,
        "second look": again,
        "all of an inspection, read": reading,
        "one of them, read": one,
    }
    return [Row(name, round(1000 * each, 2), "ms", round(whole / each, 1)) for name, each in figures.items()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What thumbnails of all drops cost.")
    parser.add_argument("--json", action="store_true", help="print JSON objects instead of tables")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is told")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = lay_out(folder / "images" / "plate")
        with Sshd(folder / "host") as host:
            parts: dict[str, tuple[str, Callable[[], list[Row]]]] = {
                "thumbnails": ("an image", an_image),
                "thumbnails-fetch": ("without", partial(while_fetching, folder, host, paths[:96], arguments.rounds)),
                "thumbnails-look": ("a first look", partial(looks, folder, host, paths)),
            }
            for benchmark, (baseline, measure) in parts.items():
                report(benchmark, baseline, measure(), arguments.json)


if __name__ == "__main__":
    main()
