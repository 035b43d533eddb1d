"""What another operating point costs for a year of images that are scored.

    python -m benchmarks.operating_point [--json] [--images 100000] [--days 365]

A database and an archive with that history are made. Then the model gets another operating point, and every day goes
through the functions of the four steps: what must be fetched and what must be classified is counted, and an image store
or an engine that is asked fails. The baseline is release 0.1, which keyed its archive by operating points, too: it
fetched and classified everything again, here at the rate that MARCO has in fp32 on two idle cores, with fetching free
of charge.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path

import numpy as np

from benchmarks.report import Row, report
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier
from c4_assets.models.engine import Engine
from c4_assets.scoring.classify import classify_day
from c4_assets.scoring.fetch import stage_day
from c4_assets.scoring.predict import predict_day
from c4_assets.scoring.write import write_day
from resources.archive.staging import Staging
from resources.image_store.base import FetchedImage
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.models import change_model
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.records import ImageOutcome
from resources.settings import Settings

MARCO_IMAGES_PER_SECOND = 27.5
"""MARCO in fp32 on two idle cores (docs/benchmarks.md, The backlog in days)."""

FIRST_DAY = date(2025, 1, 1)
OPERATING_POINT = 0.15


class Unreachable:
    """An image store that nobody may ask."""

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        """Fails: another operating point needs no image."""
        raise AssertionError(f"{len(paths)} images were asked for")

    def close(self) -> None:
        """Has nothing to close."""


@dataclass
class Site:
    """A deployment with its history."""

    settings: Settings
    database: ImagingDatabase
    models: ActiveModels
    days: Sequence[date]


def make_site(home: Path, images: int, days: int) -> Site:
    """Registers the images of every day and scores them: rows in the database, probabilities in the archive."""
    settings = Settings(home=home)
    database = ImagingDatabase.of(settings)
    database.upgrade()
    seed_classes(database)
    site = Site(settings, database, ActiveModels(settings, database), [FIRST_DAY + timedelta(n) for n in range(days)])
    a_day = -(-images // days)
    rng = np.random.default_rng(0)
    for day in site.days:
        imaged_at = datetime.combine(day, clock(12), UTC)
        new = [NewImage(f"A{n % 12 + 1:02d}", n // 12 + 1, f"{day}/{n}.jpg") for n in range(a_day)]
        register_inspection(database, f"P{day}", imaged_at, None, new)
        archive = site.models.archive(site.models.current)
        listed = [image for inspection in inspections_of_day(database, day) for image in inspection.images]
        vectors = rng.dirichlet((6, 0.5, 0.5, 2), len(listed)).tolist()
        outcomes = [
            ImageOutcome(image, datetime.now(UTC), f"{image.image_id:064x}", tuple(vector), size=1, taken_at=imaged_at)
            for image, vector in zip(listed, vectors, strict=True)
        ]
        archive.checkpoint(day, listed[0].inspection_id, outcomes)
        archive.merge(day)
        _write(site, day)
    return site


def _write(site: Site, day: date) -> int:
    model = site.models.current
    archive = site.models.archive(model)
    predict_day(day, archive, model.version.crystal_threshold)
    return write_day(day, site.database, archive, model.version, "benchmark", site.settings.checks).written.scores


def go_through(site: Site) -> tuple[int, int, int]:
    """All four steps for every day. Returns images fetched, images classified, and rows written."""
    staging = Staging(site.settings.staging)
    fetched = classified = written = 0

    def engine() -> Engine:
        raise AssertionError("something was to be classified")

    for day in site.days:
        model: Classifier = site.models.current
        archive = site.models.archive(model)
        fetched += stage_day(day, site.database, Unreachable(), staging, [archive], 3, 10**12).images
        classified += classify_day(day, staging, archive, engine).scored
        written += _write(site, day)
    return fetched, classified, written


def measure(images: int, days: int) -> list[Row]:
    """The figures of the table."""
    with tempfile.TemporaryDirectory() as home:
        site = make_site(Path(home), images, days)
        version = site.models.current.with_threshold(OPERATING_POINT)
        change_model(site.database, site.models.current.name, scorer_version=version.as_row())
        started = time.perf_counter()
        fetched, classified, written = go_through(site)
        seconds = time.perf_counter() - started
        site.database.engine.dispose()
    again = written / MARCO_IMAGES_PER_SECOND
    return [
        Row("classify everything again", round(again), "s", 1.0),
        Row(f"rows from the archive ({written:,} images)", round(seconds, 1), "s", round(again / seconds, 1)),
        Row("images fetched", fetched, "", 1.0),
        Row("images classified", classified, "", 1.0),
    ]


def main(arguments: Iterable[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operating_point", description="What another operating point costs."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    given = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report("operating_point", "classifying again", measure(given.images, given.days), given.json)


if __name__ == "__main__":
    main()
