"""Outcomes as rows of the archive's files, and which of several outcomes of one image counts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from resources.archive.tables import Columns
from resources.records import NO_NUMBER, PROBABILITY_COLUMNS, Appearance, Image, ImageOutcome, Problem

OUTCOME_COLUMNS: Columns = {
    "image_id": "int64",
    "inspection_id": "int64",
    "plate": "string",
    "well": "string",
    "drop_number": "int64",
    "path": "string",
    "sha256": "string",
    "p_clear": "float32",
    "p_crystals": "float32",
    "p_other": "float32",
    "p_precipitate": "float32",
    "scored_at": "time",
    "error": "string",
    "size": "int64",
    "taken_at": "time",
    "brightness": "float32",
    "black": "float32",
    "saturated": "float32",
    "sharpness": "float32",
    "perceptual_hash": "binary",
    "problem": "string",
}


def current(outcomes: Iterable[ImageOutcome]) -> list[ImageOutcome]:
    """One outcome an image number: of the image that it is now, and of the file that this image has now. By number.

    Both are told by the newest attempt. Attempts at the same file of the same image are equals, however they came to be
    twice: a score wins over a failure, the first score over a later one, the last failure over an earlier one. An
    attempt that could not get at the file says nothing of it, so the score of an earlier one stays. Without a score,
    the newest attempt counts: an image whose file is gone waits for it, whatever was wrong with the file before.
    """
    attempts: dict[int, list[ImageOutcome]] = {}
    for outcome in outcomes:
        attempts.setdefault(outcome.image.image_id, []).append(outcome)
    return [_current(attempts[image_id]) for image_id in sorted(attempts)]


def _current(attempts: Sequence[ImageOutcome]) -> ImageOutcome:
    image = max(attempts, key=_time).image
    of_image = [outcome for outcome in attempts if outcome.image == image]
    seen = [outcome for outcome in of_image if outcome.sha256 or outcome.error is None]
    sha256 = max(seen, key=_time).sha256 if seen else None
    scored = [outcome for outcome in seen if outcome.sha256 == sha256 and outcome.error is None]
    return min(scored, key=_time) if scored else max(of_image, key=_time)


def _time(outcome: ImageOutcome) -> datetime:
    return outcome.at


def row_of(outcome: ImageOutcome) -> dict[str, Any]:
    """An outcome as a row of :data:`OUTCOME_COLUMNS`; thumbnails have a file of their own."""
    probabilities = outcome.probabilities or (None,) * 4
    return {
        **vars(outcome.image),
        "drop_number": number_or_null(outcome.image.drop_number),
        **dict(zip(PROBABILITY_COLUMNS, probabilities, strict=True)),
        "sha256": outcome.sha256,
        "scored_at": outcome.at,
        "error": outcome.error,
        "size": outcome.size,
        "taken_at": outcome.taken_at,
        **(vars(outcome.appearance) if outcome.appearance else {}),
        "problem": outcome.problem,
    }


def outcome_of(row: Mapping[str, Any]) -> ImageOutcome:
    """The outcome in a row, of this release or an earlier one."""
    clear, crystals, other, precipitate = (row[name] for name in PROBABILITY_COLUMNS)
    return ImageOutcome(
        image=_image(row),
        at=row["scored_at"],
        sha256=row["sha256"],
        probabilities=None if clear is None else (clear, crystals, other, precipitate),
        error=row["error"],
        thumbnail=row.get("thumbnail"),
        # Files of earlier releases have no columns for what follows.
        size=row.get("size"),
        taken_at=row.get("taken_at"),
        appearance=None if row.get("brightness") is None else Appearance(**{name: row[name] for name in _APPEARANCE}),
        problem=Problem(row["problem"]) if row.get("problem") else None,
    )


def _image(row: Mapping[str, Any]) -> Image:
    image: dict[str, Any] = {name: row[name] for name in Image.__dataclass_fields__}
    image["drop_number"] = number_of(image["drop_number"])
    return Image(**image)


def number_or_null(number: int) -> int | None:
    """A drop number as files have it. Those of earlier releases have 32 bits, and a reader of a whole dataset takes the
    first file's type for all: the number that stands for none has more.
    """
    return None if number == NO_NUMBER else number


def number_of(value: int | None) -> int:
    """A drop number from a file."""
    return NO_NUMBER if value is None else value


_APPEARANCE = tuple(Appearance.__dataclass_fields__)
