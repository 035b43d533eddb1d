"""Tells missing files from a mistake of the whole site: a wrong root, wrong paths, a store that refuses all."""

from collections import Counter
from collections.abc import Sequence
from datetime import date

from resources.archive.staging import StagedImage
from resources.errors import ConfigurationError, Unavailable
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.read_back import paths_of_other_days
from resources.records import Problem

IMAGES_SAMPLED = 5
"""Images of other inspections that are asked for where not one of a day could be fetched."""


def require_some_file(day: date, failed: Sequence[StagedImage], database: ImagingDatabase, store: ImageStore) -> None:
    """Passes if images of other days can be fetched, or nothing is there to compare with but a single image.

    Args:
        failed: the images of a day of which none could be fetched, now or ever.

    Raises:
        Unavailable: the store refuses them all.
        ConfigurationError: not one is where the database says.
    """
    paths = paths_of_other_days(database, day, IMAGES_SAMPLED)
    if any(fetched.data is not None for fetched in store.fetch(paths)) or len(failed) + len(paths) < 2:
        return
    problems = Counter(row.problem for row in failed)
    what = f"Not one of {len(failed)} images of {day} could be fetched"
    what += f", nor any of {len(paths)} of other days" if paths else ""
    what += f" (the first: {failed[0].error}). Nothing is counted against them. "
    if problems.most_common(1)[0][0] is Problem.STORE:
        raise Unavailable(f"{what}They are asked for again when the image store gives files out.")
    raise ConfigurationError(
        f"{what}See that C4_STORE_URL is where the paths of the table images begin, on the machine that fetches too: "
        f"the database lists {failed[0].image.path!r}. If the files are still to come, the next run finds them."
    )
