"""Whether the images in the store are still the files that were scored."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.read_back import written_contents
from resources.records import Image


@dataclass(frozen=True)
class ChangedFile:
    """An image whose file is not the one that was scored; ``error`` says why it cannot be read, if that is so."""

    image: Image
    error: str | None


def changed_files(
    day: date, database: ImagingDatabase, store: ImageStore, compared: Callable[[int], None] = lambda images: None
) -> Iterator[ChangedFile]:
    """Reads the scored images of a day again, an inspection at a time, and compares digests.

    Images without a score, and those that release 0.1 scored, which kept no digest, are passed over.

    Args:
        compared: is told after each inspection how many images were compared.

    Raises:
        Unavailable: the database or the image store does not answer.
    """
    for inspection in inspections_of_day(database, day):
        written = written_contents(database, [image.image_id for image in inspection.images])
        digests = {
            image_id: {row.sha256 for row in rows if row.sha256 is not None} for image_id, rows in written.items()
        }
        scored = [image for image in inspection.images if digests.get(image.image_id)]
        for image, fetched in zip(scored, store.fetch([image.path for image in scored]), strict=True):
            if fetched.data is None:
                yield ChangedFile(image, fetched.error)
            elif hashlib.sha256(fetched.data).hexdigest() not in digests[image.image_id]:
                yield ChangedFile(image, None)
        compared(len(scored))
