"""The score archive: every probability that a model gave, as Parquet, for ever, and what was concluded from it.

``probabilities`` and ``predictions`` are datasets with one file a day, so that
``pandas.read_parquet(".../probabilities")`` or DuckDB's ``read_parquet(".../probabilities/**/*.parquet")`` is all it
takes to read them. While a day is being classified, its finished inspections lie beside them as checkpoints.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import date
from heapq import nlargest
from pathlib import Path
from typing import Any, TypeVar

from resources.archive.begun import Begun
from resources.archive.outcomes import OUTCOME_COLUMNS, current, number_or_null, outcome_of, row_of
from resources.archive.tables import Columns, read_parquet, read_parquet_columns, reread_parquet, write_parquet
from resources.archive.unreadable import UnreadableFile, make_way, reading, set_aside, what_was_set_aside
from resources.atomic_write import remove_abandoned
from resources.file_lock import locked
from resources.records import (
    PROBABILITY_COLUMNS,
    Image,
    ImageOutcome,
    Prediction,
    ScorePair,
    crystal_probability,
)

T = TypeVar("T")

THUMBNAILS_A_DAY = 48
"""Thumbnails kept of a day: those of the likeliest crystals, enough for one contact sheet."""

LOCK_WAIT_S = 600
"""How long a run waits for another one that merges the same day; a merge takes about a second."""


PREDICTION_COLUMNS: Columns = {
    "image_id": "int64",
    "sha256": "string",
    "category": "string",
    "crystal": "bool",
    "rank": "int32",
}

THUMBNAIL_COLUMNS: Columns = {"image_id": "int64", "jpeg": "binary"}

DISAGREEMENT_COLUMNS: Columns = {
    "image_id": "int64",
    "inspection_id": "int64",
    "plate": "string",
    "imaged_at": "time",
    "well": "string",
    "drop_number": "int64",
    "path": "string",
    "human": "string",
    "human_class": "string",
    "human_category": "string",
    "human_scored_at": "time",
    "machine_category": "string",
    "p_clear": "float32",
    "p_crystals": "float32",
    "p_other": "float32",
    "p_precipitate": "float32",
}


class ScoreArchive:
    """The archive of one model. All its writes are atomic and can be repeated or made twice at once.

    A file that cannot be read is set aside (:meth:`set_aside`) and counts as not there.

    Probabilities belong to the model version, whatever its operating point; predictions, disagreements and labels to
    the scorer version.
    """

    def __init__(self, root: Path, model_version: str, scorer_version: str) -> None:
        self._root = root
        self.model_version = model_version
        self.scorer_version = scorer_version

    def _day_file(self, dataset: str, day: date) -> Path:
        return self._root / dataset / f"model={self.model_version}" / f"day={day.isoformat()}" / f"{dataset}.parquet"

    def _predictions_file(self, day: date) -> Path:
        of_version = self._root / "predictions" / f"scorer={self.scorer_version}"
        return of_version / f"day={day.isoformat()}" / "predictions.parquet"

    def _checkpoints(self, day: date) -> Path:
        return self._root / "checkpoints" / self.model_version / day.isoformat()

    def begun(self, day: date) -> Begun:
        """Notes of what is being classified of a day, beside its checkpoints."""
        return Begun(self._checkpoints(day), self._root)

    def checkpoint(self, day: date, inspection_id: int, outcomes: Sequence[ImageOutcome]) -> None:
        """Puts an inspection's outcomes on disk. Every call adds a file: two attempts cannot undo each other."""
        file = self._checkpoints(day) / f"{inspection_id}-{uuid.uuid4().hex}.parquet"
        rows = [{**row_of(outcome), "thumbnail": outcome.thumbnail} for outcome in outcomes]
        self._write(file, {**OUTCOME_COLUMNS, "thumbnail": "binary"}, rows)

    def outcomes(self, day: date) -> list[ImageOutcome]:
        """One outcome an image, of the day's file and of checkpoints that are not merged yet: see :func:`current`."""
        return current(self._all(day, sorted(self._checkpoints(day).glob("*.parquet"))))

    def set_aside(self, day: date) -> list[Path]:
        """What stood in the place of the day's files and could not be read, under the names that it is kept by."""
        datasets = ("probabilities", "thumbnails", "superseded")
        files = [*(self._day_file(dataset, day) for dataset in datasets), self._predictions_file(day)]
        folders = [*(file.parent for file in files), self._checkpoints(day)]
        return [file for folder in folders for file in what_was_set_aside(folder)]

    def rows(self, day: date) -> list[ImageOutcome]:
        """What is in the day's file, row by row as it stands there."""
        return self._of_day(day, self._day_file("probabilities", day), _reread_outcomes, [])

    def doubled(self, day: date) -> list[int]:
        """The images that stand more than once in the day's file, each as often as it is too many."""
        counts = Counter(self._column(day, self._day_file("probabilities", day), "image_id"))
        return [image_id for image_id, count in counts.items() for _ in range(count - 1)]

    def forget(self, day: date, image_ids: Collection[int]) -> int:
        """Removes images from the day, so that they are classified anew. Returns how many outcomes there were."""
        with self._lock(day):
            kept: list[ImageOutcome] = []
            gone = 0
            checkpoints = sorted(self._checkpoints(day).glob("*.parquet"))
            for outcome in current(self._all(day, checkpoints, locked=True)):
                if outcome.image.image_id in image_ids:
                    gone += 1
                else:
                    kept.append(outcome)
            if gone:
                self._replace(day, kept, checkpoints)
        return gone

    def replaced(self, day: date) -> frozenset[int]:
        """The images whose file was another one when they were scored first, or whose number was another image's."""
        return frozenset(self._column(day, self._day_file("superseded", day), "image_id"))

    def category_counts(self, day: date) -> dict[str, int]:
        """How many images of each category the day's predictions hold."""
        return dict(Counter(self._column(day, self._predictions_file(day), "category")))

    def fingerprints(self, day: date) -> dict[tuple[int, str], bytes]:
        """The perceptual hash of every image of the day that has one (:class:`resources.records.Appearance`), by number
        and path.
        """
        return self._of_day(day, self._day_file("probabilities", day), _read_fingerprints, {})

    def thumbnails(self, day: date) -> dict[int, bytes]:
        """The JPEGs of the day's likeliest crystals, by number of the image: :data:`THUMBNAILS_A_DAY` at most."""
        return self._of_day(day, self._day_file("thumbnails", day), _read_thumbnails, {})

    def merge(self, day: date) -> list[ImageOutcome]:
        """Merges the day's checkpoints into its one file and returns what is in it.

        Interrupted at any point, the next merge does the same again. The lock keeps two merges from undoing each
        other; it is the operating system's, so it is gone with the process that held it.
        """
        with self._lock(day):
            checkpoints = sorted(self._checkpoints(day).glob("*.parquet"))
            outcomes = self._all(day, checkpoints, locked=True)
            merged = current(outcomes)
            if checkpoints:
                self._keep_superseded(day, outcomes, merged)
                self._replace(day, merged, checkpoints)
        return merged

    def _lock(self, day: date) -> AbstractContextManager[None]:
        locks = self._root / "locks"
        make_way(locks / f"{self.model_version}.{day.isoformat()}.lock", self._root)
        locks.mkdir(parents=True, exist_ok=True)
        return locked(locks / f"{self.model_version}.{day.isoformat()}.lock", timeout=LOCK_WAIT_S)

    def _of_day(self, day: date, file: Path, read: Callable[[Path], T], nothing: T, locked: bool = False) -> T:
        """See :meth:`_readable`. With ``locked``, the caller holds the day's lock."""
        return self._readable(file, read, nothing, nullcontext if locked else lambda: self._lock(day))

    def _readable(
        self,
        file: Path,
        read: Callable[[Path], T],
        nothing: T,
        lock: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """What ``read`` gives of a file; ``nothing`` if it cannot be read, and then it is set aside."""
        try:
            return read(file)
        except UnreadableFile:
            with lock():
                try:
                    return read(file)  # another process may have put a whole one down
                except UnreadableFile:
                    set_aside(file, self._root)
                    return nothing

    def _column(self, day: date, file: Path, name: str) -> list[Any]:
        return self._of_day(day, file, lambda file: _read_columns(file, name)[name], [])

    def _write(self, file: Path, columns: Columns, rows: Iterable[Mapping[str, object]]) -> None:
        make_way(file, self._root)
        remove_abandoned(file.parent)
        write_parquet(file, columns, rows)

    def _keep_superseded(self, day: date, outcomes: Sequence[ImageOutcome], merged: Sequence[ImageOutcome]) -> None:
        """Keeps the scores of files that were replaced: nothing that a model gave is lost."""
        file = self._day_file("superseded", day)
        kept = {_content(outcome) for outcome in merged}
        gone = {_content(o): o for o in outcomes if o.error is None and _content(o) not in kept}
        if gone:
            before = {
                _content(outcome): outcome for outcome in self._of_day(day, file, _read_outcomes, [], locked=True)
            }
            self._write(file, OUTCOME_COLUMNS, [row_of(outcome) for outcome in {**gone, **before}.values()])

    def _replace(self, day: date, outcomes: Sequence[ImageOutcome], checkpoints: Sequence[Path]) -> None:
        """Puts the day's one file down and removes the checkpoints that are in it. The caller holds the lock."""
        best = nlargest(THUMBNAILS_A_DAY, [o for o in outcomes if o.thumbnail], key=crystal_probability)
        thumbnails = [{"image_id": outcome.image.image_id, "jpeg": outcome.thumbnail} for outcome in best]
        self._write(self._day_file("thumbnails", day), THUMBNAIL_COLUMNS, thumbnails)
        self._write(self._day_file("probabilities", day), OUTCOME_COLUMNS, [row_of(outcome) for outcome in outcomes])
        for file in checkpoints:
            file.unlink(missing_ok=True)

    def write_predictions(self, day: date, predictions: Iterable[Prediction]) -> None:
        """Replaces the day's predictions."""
        rows = [
            {
                "image_id": p.outcome.image.image_id,
                "sha256": p.outcome.sha256,
                "category": p.category,
                "crystal": p.crystal,
                "rank": p.rank,
            }
            for p in predictions
        ]
        self._write(self._predictions_file(day), PREDICTION_COLUMNS, rows)

    def predictions(self, day: date) -> list[Prediction]:
        """The day's predictions, or none where no image of the day has been scored.

        One whose file was replaced since is left out: the next prediction is of the new file.
        """
        scored = {(o.image.image_id, o.sha256): o for o in self.outcomes(day) if o.error is None}

        def read(file: Path) -> list[Prediction]:
            with reading(file):
                return [
                    Prediction(scored[key], row["category"], row["crystal"], row["rank"])
                    for row in read_parquet(file)
                    if (key := (row["image_id"], row["sha256"])) in scored
                ]

        return self._of_day(day, self._predictions_file(day), read, [])

    def write_disagreements(self, week: date, disagreements: Iterable[ScorePair]) -> None:
        """Replaces what people scored in the week that begins on this day and see otherwise than the machine."""
        rows = [
            {
                **vars(row),
                "drop_number": number_or_null(row.drop_number),
                **dict(zip(PROBABILITY_COLUMNS, row.probabilities or (None,) * 4, strict=True)),
            }
            for row in disagreements
        ]
        self.write_week("disagreements", week, DISAGREEMENT_COLUMNS, rows)

    def _week_file(self, dataset: str, week: date) -> Path:
        return (
            self._root / dataset / f"scorer={self.scorer_version}" / f"week={week.isoformat()}" / f"{dataset}.parquet"
        )

    def write_week(self, dataset: str, week: date, columns: Columns, rows: list[dict[str, Any]]) -> None:
        """Replaces a dataset's rows of the week that begins on this day."""
        self._write(self._week_file(dataset, week), columns, rows)

    def read_week(self, dataset: str, week: date, read: Callable[[Path], list[T]]) -> list[T]:
        """What ``read`` makes of a dataset's file of the week that begins on this day, or nothing."""
        return self._readable(self._week_file(dataset, week), read, [])

    def set_aside_of_week(self, dataset: str, week: date) -> list[Path]:
        """What stood in the place of a week's file and could not be read, under the names that it is kept by."""
        return what_was_set_aside(self._week_file(dataset, week).parent)

    def _all(self, day: date, checkpoints: Sequence[Path], locked: bool = False) -> list[ImageOutcome]:
        # The day's file comes last: a checkpoint that has gone meanwhile was merged into it before.
        outcomes = [each for file in checkpoints for each in self._of_day(day, file, _read_outcomes, [], locked)]
        merged = self._of_day(day, self._day_file("probabilities", day), _reread_outcomes, [], locked)
        thumbnails = self._of_day(day, self._day_file("thumbnails", day), _read_thumbnails, {}, locked)
        return outcomes + [replace(each, thumbnail=thumbnails.get(each.image.image_id)) for each in merged]


def _read_outcomes(file: Path) -> list[ImageOutcome]:
    with reading(file):
        return [outcome_of(row) for row in read_parquet(file)]


def _reread_outcomes(file: Path) -> list[ImageOutcome]:
    with reading(file):
        return [outcome_of(row) for row in reread_parquet(file)]


def _read_columns(file: Path, key: str, *names: str) -> dict[str, list[Any]]:
    with reading(file):
        columns = read_parquet_columns(file, key, *names)
        if None in columns[key]:  # earlier releases may lack others
            raise ValueError(f"it has no column {key}")
        return columns


def _read_fingerprints(file: Path) -> dict[tuple[int, str], bytes]:
    columns = _read_columns(file, "image_id", "path", "perceptual_hash")
    rows = zip(columns["image_id"], columns["path"], columns["perceptual_hash"], strict=True)
    return {(image_id, path): fingerprint for image_id, path, fingerprint in rows if fingerprint}


def _read_thumbnails(file: Path) -> dict[int, bytes]:
    with reading(file):
        return {row["image_id"]: row["jpeg"] for row in reread_parquet(file)}


def _content(outcome: ImageOutcome) -> tuple[Image, str | None]:
    return outcome.image, outcome.sha256
