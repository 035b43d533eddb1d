"""The demo's plates: which drops are rendered, when they were imaged, and what people say of them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from sqlalchemy import select

from c4_assets.demo.drops import Category, render_drop
from resources.atomic_write import atomic_write
from resources.image_store import LocalStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, record_human_scores, register_inspection
from resources.imaging_database.schema import images, inspections, plates

SIZE = (2592, 1944)
"""Width and height of the rendered photographs, in pixels: a 5-megapixel camera as in the C4 paper."""

QUALITY = 88
"""JPEG quality; the files are then as large as an imager's, some hundred kB."""

_SHARES: dict[Category, int] = {"clear": 10, "precipitate": 6, "crystals": 6, "other": 2}

MIX: list[Category] = [category for category, drops in _SHARES.items() for _ in range(drops)]
"""What grows in the 24 drops of an inspection: mostly nothing, as in life, but enough crystals to look at."""


@dataclass(frozen=True)
class DemoInspection:
    """One imaging of one demo plate, by days before today."""

    plate: str
    days_ago: int


INSPECTIONS = (
    DemoInspection("DEMO-A", 5),
    DemoInspection("DEMO-B", 3),
    DemoInspection("DEMO-A", 1),
    DemoInspection("DEMO-C", 0),
)


@dataclass(frozen=True)
class DemoDrop:
    """One drop to render: ``drawn_as`` is what MARCO should see."""

    well: str
    path: str
    drawn_as: Category
    seed: int


def drops_of(number: int, inspection: DemoInspection) -> list[DemoDrop]:
    """The 24 drops of an inspection, rows A to D of six wells; every plate has its own mixture."""
    below = f"demo/{inspection.plate}/{number}"
    drops: list[DemoDrop] = []
    for place in range(len(MIX)):
        row, column = "ABCD"[place // 6], place % 6 + 1
        # 7 is prime to 24: the categories are spread over the plate, another way on each.
        category = MIX[(7 * place + 5 * number) % len(MIX)]
        path = f"{below}/{inspection.plate}_{column:02d}{row}_1.jpg"
        drops.append(DemoDrop(f"{row}{column:02d}", path, category, 100 * number + place))
    return drops


def inspections_of(plate_count: int) -> list[tuple[int, DemoInspection]]:
    """The inspections of the first so many plates, each with its number."""
    barcodes = list(dict.fromkeys(each.plate for each in INSPECTIONS))[:plate_count]
    return [(number, each) for number, each in enumerate(INSPECTIONS) if each.plate in barcodes]


def render_missing(store: LocalStore, plate_count: int, advance: Callable[[], None]) -> int:
    """Renders those photographs of the plates that are not in the store yet, on all cores. Returns how many there were.

    Args:
        advance: called once a photograph.
    """
    drops = [drop for number, each in inspections_of(plate_count) for drop in drops_of(number, each)]
    missing = [drop for drop in drops if not (store.root / drop.path).exists()]
    if not missing:
        return 0
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for _ in processes.map(_render, [store.root] * len(missing), missing):
            advance()
    return len(missing)


def _render(root: Path, drop: DemoDrop) -> None:
    from PIL import Image

    photograph = Image.fromarray(render_drop(drop.drawn_as, drop.seed, SIZE))
    with atomic_write(root / drop.path) as temporary:
        photograph.save(temporary, "JPEG", quality=QUALITY)


def known_inspections(database: ImagingDatabase) -> list[tuple[str, datetime]]:
    """Plate and time of the demo inspections that are registered, oldest first."""
    query = (
        select(plates.c.barcode, inspections.c.imaged_at)
        .join(inspections, inspections.c.plate_id == plates.c.id)
        .where(plates.c.barcode.in_({each.plate for each in INSPECTIONS}))
        .order_by(inspections.c.imaged_at)
    )
    with database.reading() as connection:
        return [(row.barcode, row.imaged_at) for row in connection.execute(query)]


def register(database: ImagingDatabase, plate_count: int, now: datetime) -> None:
    """Registers so many plates, and one person's scores of the oldest inspection. Doing it again changes nothing.

    Plates that are there keep their days: a demo that is repeated tomorrow finds today's plates scored.
    People agree with what was drawn but for five drops: two crystals that they did not see, and three that they saw
    where none was drawn. These become Ashes' disagreements.
    """
    known = known_inspections(database)
    oldest = known[0][1].date() if known else now.date() - timedelta(days=INSPECTIONS[0].days_ago)
    for number, each in inspections_of(plate_count):
        imaged_at = _imaging_time(oldest, each)
        new = [NewImage(drop.well, 1, drop.path) for drop in drops_of(number, each)]
        inspection_id = register_inspection(database, each.plate, imaged_at, "demo imager", new).inspection_id
        if number == 0:
            people_say = dict(_human_scores(drops_of(number, each)))
            record_human_scores(database, inspection_id, "A. Okafor", imaged_at + timedelta(hours=9), people_say)


def _imaging_time(oldest: date, inspection: DemoInspection) -> datetime:
    # In the first minute of its day, so that today's is not in the future.
    days_later = INSPECTIONS[0].days_ago - inspection.days_ago
    return datetime.combine(oldest + timedelta(days=days_later), time(0, 0, 30), UTC)


_NUANCED: dict[Category, str] = {
    "clear": "clear",
    "crystals": "needles",
    "precipitate": "light precipitate",
    "other": "phase separation",
}


def _human_scores(drops: list[DemoDrop]) -> Iterator[tuple[str, str]]:
    crystals = [drop for drop in drops if drop.drawn_as == "crystals"]
    nothing = [drop for drop in drops if drop.drawn_as in ("clear", "precipitate")]
    overlooked, imagined = {drop.path for drop in crystals[:2]}, {drop.path for drop in nothing[:3]}
    for drop in drops:
        if drop.path in overlooked:
            yield drop.path, "clear"
        elif drop.path in imagined:
            yield drop.path, "microcrystals"
        else:
            yield drop.path, _NUANCED[drop.drawn_as]


def drawn_categories() -> dict[str, Category]:
    """What every photograph of the demo was drawn as, by its path."""
    return {drop.path: drop.drawn_as for number, each in enumerate(INSPECTIONS) for drop in drops_of(number, each)}


def demo_images(database: ImagingDatabase) -> dict[int, str]:
    """Paths of the demo's registered images, by image number."""
    with database.reading() as connection:
        rows = connection.execute(select(images.c.id, images.c.path).where(images.c.path.like("demo/%")))
        return {row.id: row.path for row in rows}
