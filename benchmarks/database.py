"""What the imaging database costs: the sensor's poll and ``c4 status`` over history, and the write-back of scores.

    python -m benchmarks.database         (as root or as an ordinary user: starts a PostgreSQL on this machine)

History is generated in the database: 0.5 and 5 million images at one rate, so that the sensor's window of 30 days holds
the same number of both, and 5 million at ten times that rate, which is that of a facility with 50 million images in
twenty years. A day of 20,000 scores is written as C4 does it, with pandas, and row by row as a script does; the server
waits for its disk at every commit, as in production. Times include connecting.
"""

import argparse
import random
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from benchmarks.report import Row, medians, report, seconds_of
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from resources.imaging_database.schema import scores
from resources.imaging_database.work import newest_days, pending_by_day, progress_by_day
from resources.imaging_database.write_back import MachineScore, write_back
from resources.records import CATEGORIES, PROBABILITY_COLUMNS
from testing.postgresql import running_server
from testing.scored_history import fill

SCORER = "marco-benchmark"
WINDOW_DAYS = 30
POLLS = 15
WRITES = 3
ROWS = 20_000
RUN = "0b6ad5e2-6d5f-4a36-9d2c-7f6f4c9f2a11"
RATE = 685
"""Images a day: 5 million in twenty years."""

HISTORIES = {
    "0.5M": (500_000, RATE),
    "5M": (5_000_000, RATE),
    "5M, 6850 a day": (5_000_000, 10 * RATE),
}


def poll(database: ImagingDatabase) -> object:
    """What the sensor asks every hour."""
    return pending_by_day(database, SCORER, 3, datetime.now(UTC) - timedelta(days=WINDOW_DAYS))


def status(database: ImagingDatabase) -> object:
    """What ``c4 status`` asks for one scorer version."""
    return progress_by_day(database, SCORER, 3, newest_days(database, 30))


def latencies(databases: Mapping[str, ImagingDatabase]) -> list[Row]:
    """Medians of interleaved questions, in milliseconds, beside the shortest history."""
    found: list[Row] = []
    for name, ask in (("poll", poll), ("status", status)):
        works = {each: partial(seconds_of, partial(ask, database)) for each, database in databases.items()}
        took = {history: 1000 * each for history, each in medians(works, POLLS).items()}
        shortest = took[next(iter(databases))]
        found += [Row(f"{name}@{history}", round(ms, 1), "ms", round(shortest / ms, 2)) for history, ms in took.items()]
    return found


def _score(image: int, now: datetime) -> MachineScore:
    """A score as a model gives it: its probabilities have all the digits of a float."""
    weights = [random.Random(f"{image} {category}").random() ** 3 for category in CATEGORIES]  # noqa: S311
    clear, crystals, other, precipitate = (weight / sum(weights) for weight in weights)
    likeliest = CATEGORIES[weights.index(max(weights))]
    scored_at = now + timedelta(milliseconds=13 * (image % ROWS))
    return MachineScore(image, likeliest, crystals > 0.25, (clear, crystals, other, precipitate), scored_at)


class Day:
    """A day of scores that are not in the database yet, and the ways to write them."""

    def __init__(self, database: ImagingDatabase, address: str) -> None:
        with database.reading() as connection:
            last: int = connection.scalar(text("select max(id) from images")) or 0
        now = datetime.now(UTC)
        self._database = database
        self._plain = create_engine(address)
        self._scores = [_score(image, now) for image in range(last - ROWS + 1, last + 1)]
        self._version = {
            "name": SCORER,
            "model": "marco",
            "weights_sha256": "",
            "preprocessing": "",
            "engine": "",
            "precision": "",
            "crystal_threshold": 0.25,
            "first_used_at": now,
        }
        self._rows: list[dict[str, Any]] = [
            {
                "image_id": score.image_id,
                "score_class_id": 1 + CATEGORIES.index(score.category),
                "scorer": SCORER,
                "scored_at": score.scored_at.replace(tzinfo=None),
                "scorer_version": SCORER,
                "crystal": score.crystal,
                **dict(zip(PROBABILITY_COLUMNS, score.probabilities, strict=True)),
                "run_id": RUN,
            }
            for score in self._scores
        ]

    def ours(self) -> None:
        """As C4: one transaction, insert if absent."""
        written = write_back(self._database, self._version, self._scores, [], RUN)
        assert written.scores == ROWS  # noqa: S101

    def again(self) -> None:
        """As C4 when everything is there already."""
        assert write_back(self._database, self._version, self._scores, [], RUN).already_scored == ROWS  # noqa: S101

    def row_by_row(self) -> None:
        """As a script: a transaction a row, through SQLAlchemy like the other ways."""
        for row in self._rows:
            with self._plain.begin() as connection:
                connection.execute(scores.insert(), {**row, "scored_at": row["scored_at"].replace(tzinfo=UTC)})

    def row_by_row_bare(self) -> None:
        """As a script that speaks to the driver: a statement and a commit a row."""
        raw = self._plain.raw_connection()
        cursor = raw.cursor()
        columns = list(self._rows[0])
        places = ", ".join(f"%({column})s" for column in columns)
        for row in self._rows:
            cursor.execute(f"insert into scores ({', '.join(columns)}) values ({places})", row)  # noqa: S608
            raw.commit()
        raw.close()

    def to_sql(self) -> None:
        """As a notebook."""
        import pandas as pd

        pd.DataFrame(self._rows).to_sql("scores", self._plain, if_exists="append", index=False)

    def remove(self) -> None:
        """Makes the day new again."""
        first = self._rows[0]["image_id"]
        with self._database.writing() as connection:
            connection.execute(scores.delete().where(scores.c.image_id >= first, scores.c.scorer_version == SCORER))


def writes(day: Day) -> list[Row]:
    """Medians of interleaved rounds, in rows a second, beside row by row."""
    ways = {
        "write-row-by-row": day.row_by_row,
        "write-row-by-row, bare driver": day.row_by_row_bare,
        "write-to_sql": day.to_sql,
        "write-ours": day.ours,
    }

    def anew(way: Callable[[], None]) -> float:
        day.remove()
        return seconds_of(way)

    works = {name: partial(anew, way) for name, way in ways.items()}
    took = medians({**works, "write-ours, all there": lambda: seconds_of(day.again)}, WRITES)
    slowest = took["write-row-by-row"]
    return [Row(name, round(ROWS / each), "rows/s", round(slowest / each, 1)) for name, each in took.items()]


def measure(folder: Path) -> list[Row]:
    """All figures, on a server that is started and stopped in a folder."""
    with running_server(folder / "server", "shared_buffers=512MB", "max_wal_size=8GB") as server:
        databases: dict[str, ImagingDatabase] = {}
        for history, (images, a_day) in HISTORIES.items():
            address = server.address(history)
            ImagingDatabase(address).upgrade()
            fill(ImagingDatabase(address), images, a_day, SCORER)
            databases[history] = ImagingDatabase(address, Connecting(timeout_s=60))
        found = latencies(databases)
        address = server.address("writes")
        database = ImagingDatabase(address, Connecting(timeout_s=60))
        database.upgrade()
        fill(database, 1_000_000, RATE, SCORER, pending=ROWS)
        return [*found, *writes(Day(database, address))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What the imaging database costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    baseline = "a history of 0.5 million images; for writes: a transaction a row"
    report("database", baseline, rows, arguments.json)


if __name__ == "__main__":
    main()
