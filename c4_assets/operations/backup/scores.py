"""Finds every score again: the rows of an archive against the table ``scores``, and back.

Both are put into a SQLite file of its own, which is gone afterwards, so that fifty million rows need no memory.
"""

# ruff: noqa: S608 (what is put into statements are constants of this module)

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import select

from resources.archive.tables import read_parquet_columns
from resources.archive.unreadable import UnreadableFile
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.schema import scores
from resources.records import PROBABILITY_COLUMNS

PROBABILITY_TOLERANCE = 1e-6
"""How far a probability of the database may be from the archive's: a float32 as a decimal number and back."""

DIFFERENCES_NAMED = 5
ROWS_AT_ONCE = 10_000

_COLUMNS = ("image_id", "path", "sha256", *PROBABILITY_COLUMNS, "error")

_NUMBERS = " and ".join(f"abs(kept.{name} - written.{name}) <= {PROBABILITY_TOLERANCE}" for name in PROBABILITY_COLUMNS)

_SAME_FILE = (
    "kept.model = written.model and kept.image_id = written.image_id"
    " and (written.path is null or kept.path = written.path)"
    " and (written.sha256 is null or kept.sha256 = written.sha256)"
)
"""Rows of release 0.1 do not say which file they are of."""


@dataclass(frozen=True)
class WrittenScore:
    """A machine's row of the table ``scores``; ``path`` and ``sha256`` are ``None`` in rows of release 0.1."""

    scorer_version: str
    image_id: int
    path: str | None
    sha256: str | None
    probabilities: tuple[float | None, ...]


@dataclass(frozen=True)
class FoundAgain:
    """What of scores was found where.

    Attributes:
        written: machine scores of the database.
        kept: scores of the archive, an image and model each.
        found: scores of the database that the archive has, of the same file and with the same numbers.
        lost: sentences on those that it has not, at most :data:`DIFFERENCES_NAMED`, and how many there are.
        waiting: scores of the archive that no scorer version has written: of images that are pending (the archive is
            written before the database), withheld, or no longer listed.
        doubled: images that have two scores of one scorer version.
        unreadable: files of the archive that cannot be read.
    """

    written: int
    kept: int
    found: int
    lost: tuple[str, ...]
    lost_count: int
    waiting: int
    doubled: int
    unreadable: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether each score of the database is in the archive, once."""
        return not (self.lost_count or self.doubled or self.unreadable)


def find_scores(archive: Path, written: Iterable[WrittenScore], versions: Mapping[str, str]) -> FoundAgain:
    """Compares all scores of an archive with all of a database.

    Args:
        versions: the model version of each scorer version.
    """
    with (
        tempfile.TemporaryDirectory(prefix="c4-scores-") as folder,
        closing(sqlite3.connect(Path(folder) / "scores.db", isolation_level=None)) as connection,
    ):
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        numbers = ", ".join(PROBABILITY_COLUMNS)
        connection.execute(f"create table kept (model, image_id integer, path, sha256, {numbers})")
        connection.execute(f"create table written (scorer, model, image_id integer, path, sha256, {numbers})")
        marks = ", ".join("?" * len(PROBABILITY_COLUMNS))
        unreadable: list[str] = []
        connection.execute("begin")
        connection.executemany(f"insert into kept values (?, ?, ?, ?, {marks})", _kept(archive, unreadable))
        connection.executemany(
            f"insert into written values (?, ?, ?, ?, ?, {marks})",
            (
                (
                    row.scorer_version,
                    versions.get(row.scorer_version, row.scorer_version),
                    row.image_id,
                    row.path,
                    row.sha256,
                    *row.probabilities,
                )
                for row in written
            ),
        )
        connection.execute("create index of_kept on kept (model, image_id)")
        connection.execute("create index of_written on written (model, image_id)")
        connection.execute("commit")
        return _compared(connection, tuple(unreadable))


def _compared(connection: sqlite3.Connection, unreadable: tuple[str, ...]) -> FoundAgain:
    def count(query: str) -> int:
        return connection.execute(f"select count(*) from {query}").fetchone()[0]

    without = f"written where not exists (select 1 from kept where {_SAME_FILE} and {_NUMBERS})"
    lost_count, rows = count(without), count("written")
    named = connection.execute(
        f"select scorer, image_id, path, exists (select 1 from kept where {_SAME_FILE}) from {without} "
        f"limit {DIFFERENCES_NAMED}"
    )
    return FoundAgain(
        written=rows,
        kept=count("(select distinct model, image_id from kept)"),
        found=rows - lost_count,
        lost=tuple(
            f"image {image_id} ({path or 'its path is not known'}), {scorer}: "
            + ("the archive has other numbers" if differs else "the archive has no such score")
            for scorer, image_id, path, differs in named
        ),
        lost_count=lost_count,
        waiting=count(
            "(select distinct model, image_id from kept where not exists (select 1 from written"
            " where written.model = kept.model and written.image_id = kept.image_id))"
        ),
        doubled=count("(select 1 from written group by scorer, image_id having count(*) > 1)"),
        unreadable=unreadable,
    )


def _kept(archive: Path, unreadable: list[str]) -> Iterator[tuple[object, ...]]:
    for file, model in _files(archive):
        try:
            columns = read_parquet_columns(file, *_COLUMNS)
        except UnreadableFile:
            unreadable.append(str(file.relative_to(archive)))
            continue
        *values, errors = (columns[name] for name in _COLUMNS)
        for *row, error in zip(*values, errors, strict=True):
            if error is None and None not in row[-len(PROBABILITY_COLUMNS) :]:
                yield (model, *row)


def _files(archive: Path) -> Iterator[tuple[Path, str]]:
    """The files of an archive that hold numbers, each with its model version."""
    for dataset in ("probabilities", "superseded"):
        for of_model in sorted((archive / dataset).glob("model=*")):
            for file in sorted(of_model.glob(f"day=*/{dataset}.parquet")):
                yield file, of_model.name.removeprefix("model=")
    for of_model in sorted((archive / "checkpoints").glob("*")):
        for file in sorted(of_model.glob("*/*.parquet")):
            yield file, of_model.name


def scores_of_sqlite(file: Path) -> Iterator[WrittenScore]:
    """The machine scores in a SQLite file of a backup, which is read and not written."""
    names = ", ".join(("scorer_version", "image_id", "image_path", "image_sha256", *PROBABILITY_COLUMNS))
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        for row in connection.execute(f"select {names} from scores where scorer_version is not null"):
            yield WrittenScore(row[0], row[1], row[2], row[3], tuple(row[4:]))


def scores_of_database(database: ImagingDatabase) -> Iterator[WrittenScore]:
    """The machine scores of a database that works.

    Raises:
        Unavailable, ConfigurationError: it cannot be asked.
    """
    columns = (scores.c.scorer_version, scores.c.image_id, scores.c.image_path, scores.c.image_sha256)
    query = select(*columns, *(scores.c[name] for name in PROBABILITY_COLUMNS))
    with database.reading("verify") as connection:
        found = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
            query.where(scores.c.scorer_version.is_not(None))
        )
        for version, image_id, path, sha256, *numbers in found:
            yield WrittenScore(version, image_id, path, sha256, tuple(None if n is None else float(n) for n in numbers))


def scores_of_rows(rows: Iterable[Mapping[str, str | None]]) -> Iterator[WrittenScore]:
    """The machine scores among rows of the table ``scores`` as a dump has them."""
    for row in rows:
        if (scorer := row["scorer_version"]) is not None and (image_id := row["image_id"]) is not None:
            numbers = tuple(
                float(number) if (number := row[name]) is not None else None for name in PROBABILITY_COLUMNS
            )
            yield WrittenScore(scorer, int(image_id), row["image_path"], row["image_sha256"], numbers)
