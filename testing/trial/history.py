"""A facility's history for trials: days of inspections in an imaging database, their images on a storage host.

The same plates are imaged every day, and an inspection of a plate has the same files as the one before: small ones, so
that orchestration and not the model is what takes its time. The last image of each day's first inspection is listed
and not there: it must end as a failure with a reason, every other image as one score.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import text

from c4_assets.demo.drops import Category, render_drop
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes

MISSING = "missing.jpg"

_PLATES = (
    "insert into plates (barcode) select 'P' || lpad(n::text, 4, '0') from generate_series(1, cast(:plates as int)) n"
)

_INSPECTIONS = """
insert into inspections (plate_id, imaged_at)
select p.id, cast(:first as timestamp) + d * interval '1 day' + (p.id % 20) * interval '1 hour'
from plates p, generate_series(0, cast(:days as int) - 1) d
where d * :plates + p.id <= :inspections
order by 2, 1
"""

_IMAGES = """
insert into images (inspection_id, well, drop_number, path)
select i.id, chr(65 + n / 12) || lpad((n % 12 + 1)::text, 2, '0'), 1, p.barcode || '/' ||
    case when p.id = 1 and n = :each - 1 then :missing else lpad(n::text, 3, '0') || '.jpg' end
from inspections i join plates p on p.id = i.plate_id, generate_series(0, cast(:each as int) - 1) n
order by 1, n
"""


@dataclass(frozen=True)
class History:
    """So many days before today, with so many inspections in all, of so many images each.

    ``ended`` is how many days ago the last one was: by default before what the sensor looks at.
    """

    days: int
    inspections: int
    images_each: int = 24
    ended: int = 60

    @property
    def plates(self) -> int:
        """How many plates are imaged on every day."""
        return -(-self.inspections // self.days)

    @property
    def images(self) -> int:
        """All images that are listed."""
        return self.inspections * self.images_each

    @property
    def missing(self) -> int:
        """Images that are listed and not in the store: one a day."""
        return self.days

    @property
    def dates(self) -> Sequence[date]:
        """The days, oldest first."""
        first = datetime.now(UTC).date() - timedelta(days=self.ended + self.days - 1)
        return [first + timedelta(days=number) for number in range(self.days)]

    def register(self, database: ImagingDatabase) -> None:
        """Fills an upgraded, empty PostgreSQL database."""
        seed_classes(database)
        values = {
            "plates": self.plates,
            "inspections": self.inspections,
            "days": self.days,
            "first": datetime.combine(self.dates[0], datetime.min.time()),
            "each": self.images_each,
            "missing": MISSING,
        }
        with database.writing("trial") as connection:
            for statement in (_PLATES, _INSPECTIONS, _IMAGES):
                connection.execute(text(statement), values)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("vacuum analyze"))

    def lay_out(self, folder: Path) -> None:
        """Puts the files of all plates below a folder: rendered drops of some kB, no two of a plate the same."""
        drops = [small_photograph(number) for number in range(self.images_each)]
        for plate in range(1, self.plates + 1):
            below = folder / f"P{plate:04d}"
            below.mkdir(parents=True)
            for number, drop in enumerate(drops):
                # Decoders ignore what stands behind the end of a JPEG: each file is another one.
                (below / f"{number:03d}.jpg").write_bytes(drop + plate.to_bytes(4))


def small_photograph(seed: int) -> bytes:
    """A JPEG of some kB that shows a drop."""
    kinds: Sequence[Category] = ("clear", "precipitate", "crystals", "other")
    pixels = render_drop(kinds[seed % len(kinds)], seed, (320, 240))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def image_plate_now(database: ImagingDatabase, history: History, number: int) -> int:
    """Registers a plate that was imaged just now, as the imager does: what an hourly run finds. Returns its images."""
    new = [
        NewImage(f"{chr(65 + n // 12)}{n % 12 + 1:02d}", 1, f"P0001/{n:03d}.jpg")
        for n in range(history.images_each - 1)
    ]
    register_inspection(database, f"TODAY-{number}", datetime.now(UTC), None, new)
    return len(new)
