"""Stages and classifies one inspection of so many images and prints the most memory that took, in MB.

A program of its own, because the peak of a process never falls.
"""

import os
import resource
import sys
from pathlib import Path

from c4_assets.scoring.classify import classify_day
from c4_assets.scoring.fetch import stage_day
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import Staging
from resources.image_store import LocalStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from tests.conftest import noon, photograph
from tests.stand_in_engine import StandIn


def main(home: Path, count: int) -> float:
    """The peak for an inspection of ``count`` images of 300 kB."""
    (home / "images").mkdir(parents=True)
    (home / "images" / "0.jpg").write_bytes(photograph(0, (640, 480)))
    for number in range(1, count):
        os.link(home / "images" / "0.jpg", home / "images" / f"{number}.jpg")
    database = ImagingDatabase(f"sqlite:///{home / 'imaging.db'}")
    database.upgrade()
    seed_classes(database)
    new = [NewImage("A01", number + 1, f"{number}.jpg") for number in range(count)]
    register_inspection(database, "P1", noon(1), None, new)
    staging, archive = Staging(home / "staging"), ScoreArchive(home / "archive", "marco", "marco-x")
    day = noon(1).date()
    staged = stage_day(day, database, LocalStore.at(str(home / "images")), staging, [archive], 3, 10**12)
    classified = classify_day(day, staging, archive, StandIn)
    assert staged.images == classified.scored == count
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]), int(sys.argv[2]))))
