"""Scores of files that were made before a command ended: they are kept beside the result, and not made again."""

import fcntl
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from c4_assets.scoring.image_files import ImageFile, readable
from c4_assets.scoring.score_files import FileScore
from resources.errors import ConfigurationError

KIND = "scores that c4 score has made so far"


class KeptScores:
    """A file of one JSON line a scored image, appended to while ``c4 score`` works."""

    def __init__(self, place: Path, opened: IO[str], rows: dict[tuple[str, str], FileScore]) -> None:
        self.place = place
        self._opened = opened
        self._rows = rows
        self.is_empty = not rows

    def row_of(self, file: ImageFile) -> FileScore | None:
        """The score that a file was given before, if it has not changed since."""
        return self._rows.get((file.path, file.stamp))

    def keep(self, file: ImageFile, row: FileScore) -> None:
        """Keeps a score. A failure is not kept: what was wrong may be mended."""
        if row.error is None:
            with _said(self.place):
                self._opened.write(json.dumps([file.stamp, asdict(row)]) + "\n")
                self._opened.flush()
            self.is_empty = False


@contextmanager
def keeping_scores(out: Path, scorer: str) -> Generator[KeptScores]:
    """Keeps scores in ``OUT.partial`` until the block ends without an error. What is kept there already is read.

    Args:
        scorer: scores of another one are not taken over.

    Raises:
        ConfigurationError: the folder cannot be written to, the file is another program's, or another command scores
            into the same result.
    """
    place = out.with_name(f"{out.name}.partial")
    with _said(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        opened = place.open("a+", encoding="utf-8")
    with opened:
        _lock(opened, out)
        with _said(place):
            opened.seek(0)
            rows = _read(opened, place, scorer)
            if rows:
                opened.write("\n")  # ends a line that was cut off
            else:
                opened.truncate(0)
                opened.write(json.dumps([KIND, scorer]) + "\n")
        kept = KeptScores(place, opened, rows)
        try:
            yield kept
        except BaseException:
            if kept.is_empty:
                place.unlink(missing_ok=True)
            raise
        place.unlink(missing_ok=True)


@contextmanager
def _said(place: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{readable(place)} cannot be written: {error.strerror}.") from error


def _lock(opened: IO[str], out: Path) -> None:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"Another `c4 score` writes {readable(out)}: wait for it, or give another --out."
        ) from None
    except OSError:
        return  # a file system without locks: then nobody looks


def _read(opened: IO[str], place: Path, scorer: str) -> dict[tuple[str, str], FileScore]:
    first = opened.readline()
    if not first:
        return {}
    header = _header(first)
    if header is None:
        raise ConfigurationError(f"{readable(place)} is in the way: it is no file of `c4 score`. Move it.")
    if header != scorer:
        return {}
    rows: dict[tuple[str, str], FileScore] = {}
    for line in opened:
        try:
            stamp, row = json.loads(line)
            rows[row["path"], stamp] = FileScore(**row)
        except (ValueError, TypeError, KeyError):
            continue  # the line at which a process was killed
    return rows


def _header(line: str) -> str | None:
    """The scorer that the first line names; ``None`` if it is no line of ours."""
    try:
        kind, scorer = json.loads(line)
    except (ValueError, TypeError):
        return None
    return str(scorer) if kind == KIND else None
