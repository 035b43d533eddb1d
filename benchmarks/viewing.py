"""What the queries of web pages cost: 5 million images in PostgreSQL, and a million in SQLite.

    python -m benchmarks.viewing         (as root or as an ordinary user: starts a PostgreSQL on this machine)

History is generated as it is lived: 6,850 images a day, scored an hour later, one in ten by a person as well. SQLite's
is a copy of a smaller one. Times include taking a connection from a small pool, as a web server does, and making
records of the rows. Each query is asked for other rows every time.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

from sqlalchemy import insert, select, text

from benchmarks.report import Row, medians, report, seconds_of
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from resources.imaging_database.schema import metadata, plate_access, plate_details
from resources.imaging_database.statements import batches
from resources.imaging_database.viewing.best import best_over_time
from resources.imaging_database.viewing.drops import drop_over_time, image, inspection
from resources.imaging_database.viewing.find_plates import PlateSearch, find_plates
from resources.imaging_database.viewing.inspections import newest_inspections, plate
from resources.imaging_database.viewing.lists import likeliest_crystals, missed_crystals, scores_of_person
from resources.imaging_database.viewing.relations import EVERYTHING, Viewer
from testing.postgresql import Server, running_server
from testing.scored_history import fill

SCORER = "marco-benchmark"
ROUNDS = 15
RATE = 6_850
"""Images a day."""

MEMBER = Viewer(frozenset({"member 1"}))
"""One who may see every tenth plate."""


def grant(database: ImagingDatabase) -> None:
    """Adds the optional views, as tables: ten members with a tenth of the plates each, five projects."""
    with database.writing() as connection:
        for table in (plate_access, plate_details):
            table.create(connection)
        connection.execute(text("insert into plate_access select id, 'member ' || (id % 10) from plates"))
        connection.execute(text("create index plate_access_member on plate_access (member, plate_id)"))
        details = (
            "insert into plate_details (plate_id, project, owner) select id, 'project ' || (id % 5), 'ana' from plates"
        )
        connection.execute(text(details))
        connection.execute(text("create index plate_details_plate on plate_details (plate_id)"))
        if database.dialect == "postgresql":  # as autovacuum does; C4 has SQLite keep no statistics
            connection.execute(text("analyze plate_access, plate_details"))


def copied(source: ImagingDatabase, file: Path) -> ImagingDatabase:
    """The same rows in SQLite."""
    target = ImagingDatabase(f"sqlite:///{file}")
    target.upgrade()
    with source.reading() as reading, target.writing() as writing:
        for table in metadata.sorted_tables:
            rows = reading.execution_options(yield_per=50_000).execute(select(table)).mappings()
            for batch in batches(rows, 50_000):
                writing.execute(insert(table), [dict(row) for row in batch])
    return target


def questions(database: ImagingDatabase, images: int) -> Mapping[str, Callable[[int], object]]:
    """What pages ask, for the n-th time."""
    now = datetime.now(UTC)
    last_plate = images // 2000
    inspections = images // 200

    def span(days: int, n: int = 0) -> tuple[datetime, datetime]:
        until = now - timedelta(days=n)
        return until - timedelta(days=days), until

    def second_page(who: Viewer) -> object:
        first = newest_inspections(database, SCORER, 3, who)
        return newest_inspections(database, SCORER, 3, who, first.after)

    return {
        "newest inspections": lambda n: newest_inspections(database, SCORER, 3, EVERYTHING),
        "newest inspections, two pages": lambda n: second_page(EVERYTHING),
        "newest inspections of a member": lambda n: newest_inspections(database, SCORER, 3, MEMBER),
        "plates by prefix": lambda n: find_plates(database, PlateSearch(f"p{1 + n % 9}"), EVERYTHING),
        "plates by part": lambda n: find_plates(database, PlateSearch(part=f"{n % 90 + 10}"), EVERYTHING),
        "plates of a project of a member": lambda n: find_plates(database, PlateSearch(project="project 1"), MEMBER),
        "plates of a week": lambda n: find_plates(database, _week(*span(7, n)), EVERYTHING),
        "plate": lambda n: plate(database, SCORER, 3, f"P{last_plate - n}", EVERYTHING),
        "inspection": lambda n: inspection(database, inspections - 10 - n, EVERYTHING),
        "image": lambda n: image(database, images - 10_000 - n, EVERYTHING),
        "drop over time": lambda n: drop_over_time(database, f"P{last_plate - n}", "B1", 1, EVERYTHING),
        "best over time": lambda n: best_over_time(database, last_plate - n, SCORER, EVERYTHING),
        "likeliest crystals of a day": lambda n: likeliest_crystals(database, SCORER, *span(1, n), EVERYTHING),
        "likeliest crystals of a month": lambda n: likeliest_crystals(database, SCORER, *span(30, n), EVERYTHING),
        "likeliest crystals of all time": lambda n: likeliest_crystals(database, SCORER, *span(9999), EVERYTHING),
        "likeliest unscored crystals of a month, of a member": lambda n: likeliest_crystals(
            database, SCORER, *span(30, n), MEMBER, only_unscored=True
        ),
        "missed crystals of a month": lambda n: missed_crystals(database, SCORER, *span(30, n), EVERYTHING),
        "false alarms of a month": lambda n: missed_crystals(database, SCORER, *span(30, n), EVERYTHING, "people"),
        "scores of a person": lambda n: scores_of_person(database, [f"person {n % 20}"], SCORER, EVERYTHING),
        "scores of somebody without any": lambda n: scores_of_person(database, [f"x {n}"], SCORER, EVERYTHING),
    }


def _week(since: datetime, until: datetime) -> PlateSearch:
    return PlateSearch(since=since, until=until)


def milliseconds(database: ImagingDatabase, images: int) -> dict[str, float]:
    """The median of each question, in milliseconds, in interleaved rounds."""

    def timing(ask: Callable[[int], object]) -> Callable[[], float]:
        asked = count()
        return lambda: seconds_of(partial(ask, next(asked)))

    works = {name: timing(ask) for name, ask in questions(database, images).items()}
    return {name: 1000 * each for name, each in medians(works, ROUNDS).items()}


def measure(folder: Path, images: int, in_sqlite: int) -> list[Row]:
    """All figures, on a server that is started and stopped in a folder. A ratio is how far below 50 ms it is."""
    found: list[Row] = []
    with running_server(folder / "server", "shared_buffers=1GB", "max_wal_size=8GB") as server:
        large, small = (lived(server, each) for each in (images, in_sqlite))
        databases = {
            f"PostgreSQL, {images:,}": (large, images),
            f"SQLite, {in_sqlite:,}": (copied(small, folder / "imaging.db"), in_sqlite),
        }
        for name, (database, count_of_images) in databases.items():
            grant(database)
            took = milliseconds(database, count_of_images)
            found += [Row(f"{each}@{name}", round(ms, 1), "ms", round(50 / ms, 1)) for each, ms in took.items()]
            database.engine.dispose()
        small.engine.dispose()
    return found


def lived(server: Server, images: int) -> ImagingDatabase:
    """A history of so many images in PostgreSQL."""
    address = server.address(f"lived-{images}")
    ImagingDatabase(address).upgrade()
    database = ImagingDatabase(address, Connecting(kept_connections=4))
    fill(database, images, RATE, SCORER, lived=True)
    return database


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What the queries of web pages cost.")
    parser.add_argument("--images", type=int, default=5_000_000, help="in PostgreSQL")
    parser.add_argument("--in-sqlite", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), arguments.images, arguments.in_sqlite)
    report("viewing", "the aim of 50 ms", rows, arguments.json)


if __name__ == "__main__":
    main()
