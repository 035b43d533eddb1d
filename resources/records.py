"""What the parts of C4 hand to each other: categories, images and their states, outcomes, predictions, labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

Category = Literal["clear", "crystals", "other", "precipitate"]

CATEGORIES: tuple[Category, ...] = ("clear", "crystals", "other", "precipitate")
"""The categories of a drop, in the order in which probabilities are kept everywhere."""

PROBABILITY_COLUMNS = tuple(f"p_{category}" for category in CATEGORIES)

CRYSTALS = CATEGORIES.index("crystals")
"""Where the probability of crystals stands among :data:`Probabilities`."""

WITHDRAWN_CLASS = "withdrawn"
"""The class of a score that says nothing of the drop, but takes back what the same person said of it before."""

Probabilities = tuple[float, float, float, float]


def likeliest(probabilities: Probabilities) -> Category:
    """The category with the highest probability; of equal ones the first, as in NumPy's ``argmax``."""
    return CATEGORIES[max(range(len(CATEGORIES)), key=probabilities.__getitem__)]


class ImageState(StrEnum):
    """How far a scorer version has come with an image: the first that applies (``docs/words.md`` has a diagram).

    No state is stored: each follows from the rows of the imaging database.
    """

    SCORED = "scored"
    FAILED = "failed"
    """All attempts are used up, or the file of an old inspection is not there."""
    WITHHELD = "withheld"
    """The image's inspection fails a blocking check."""
    RETRYING = "retrying"
    """An attempt has failed, and others are left, now or after a wait. Counted among the pending images as well."""
    PENDING = "pending"
    NO_LONGER_LISTED = "no longer listed"


class Problem(StrEnum):
    """Whose matter it is that an image could not be fetched. Only :attr:`FILE` counts as an attempt at the image."""

    FILE = "file"
    """The file itself is wrong: not an image file, empty, too large, a link that leads out of the store."""
    ABSENT = "absent"
    """Nothing is at that path now. Lists of images are often ahead of the files: it is asked for again, less and less
    often."""
    STORE = "store"
    """The store refuses or fails for now: no permission, too many requests or open files, an error of its own."""


@dataclass(frozen=True)
class Appearance:
    """Figures of one image, of the central square that the classifier sees, in its green channel.

    Attributes:
        brightness: mean level, 0 to 255.
        black, saturated: shares of the pixels, 0 to 1.
        sharpness: variance of the Laplacian (Pech-Pacheco et al., 2000), in levels squared; low is blurred or empty.
        perceptual_hash: 32 bytes; the number of bits in which two of them differ tells how alike two images are.
    """

    brightness: float
    black: float
    saturated: float
    sharpness: float
    perceptual_hash: bytes


MAX_TEXT_LENGTH = 1024
"""Characters of a path, well or barcode that C4 keeps: as many as its own tables hold."""

LARGEST_NUMBER = 2**63 - 1
"""The largest number, positive or negative, that C4 keeps: 64 bits."""

NO_NUMBER = -(2**63)
"""Stands for a number that the database lacks, or that has more than 64 bits or a fraction."""


@dataclass(frozen=True)
class Image:
    """An image that the database lists.

    A text that the database lacks, or that C4 cannot keep, is empty; such a drop number is :data:`NO_NUMBER`.
    """

    image_id: int
    inspection_id: int
    plate: str
    well: str
    drop_number: int
    path: str

    @property
    def unusable(self) -> str | None:
        """Why the image cannot be scored, whatever its file is: its row does not say which drop it shows."""
        lacking = [
            name for name, value in (("plate", self.plate), ("well", self.well), ("path", self.path)) if not value
        ] + (["drop number"] if self.drop_number == NO_NUMBER else [])
        if not lacking:
            return None
        return (
            f"the imaging database lists image {self.image_id} of inspection {self.inspection_id} without a usable "
            f"{' and '.join(lacking)} (missing, longer than {MAX_TEXT_LENGTH:,} characters, not UTF-8, or no whole "
            "number of 64 bits); correct the row, then `c4 retry`"
        )


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image. Exactly one of ``probabilities`` and ``error`` is set.

    ``probabilities`` are clear, crystals, other, precipitate; ``at`` is the time of the attempt. ``size`` (bytes),
    ``taken_at`` (what the file itself says) and ``appearance`` are what checks look at, where they are known.
    ``problem`` is whose matter an error is; without one it is the file's.
    """

    image: Image
    at: datetime
    sha256: str | None = None
    probabilities: Probabilities | None = None
    error: str | None = None
    thumbnail: bytes | None = None
    size: int | None = None
    taken_at: datetime | None = None
    appearance: Appearance | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class Prediction:
    """What is made of an image's probabilities. ``rank`` counts from 1, the likeliest crystal of the inspection."""

    outcome: ImageOutcome
    category: Category
    crystal: bool
    rank: int


def crystal_probability(outcome: ImageOutcome) -> float:
    """The probability of crystals, and -1 for an image without a score."""
    return outcome.probabilities[CRYSTALS] if outcome.probabilities else -1.0


@dataclass(frozen=True)
class HumanLabel:
    """One score that a person gave.

    ``category`` is ``None`` for a class that is mapped to no category, ``class_known`` is false for one that
    `score_classes` does not list; ``machine_category`` is ``None`` for an image that the scorer version has not scored.
    """

    score_id: int
    image_id: int
    inspection_id: int
    plate: str
    imaged_at: datetime
    well: str
    drop_number: int
    path: str
    human: str
    human_class: str
    class_known: bool
    category: str | None
    scored_at: datetime
    machine_category: str | None


@dataclass(frozen=True)
class Inspection:
    """One imaging of one plate.

    ``most_images_before`` is the largest number of images that an earlier inspection of the plate has, 0 for the first.
    """

    inspection_id: int
    plate: str
    imaged_at: datetime
    images: Sequence[Image]
    most_images_before: int


@dataclass(frozen=True)
class ScorePair:
    """The newest human score of an image and, where there is one, the machine's.

    ``human_category`` is ``None`` for a class that is mapped to no category or not listed at all; the machine's
    fields are ``None`` for an image that the scorer version has not scored. ``probabilities`` are clear, crystals,
    other, precipitate.
    """

    image_id: int
    inspection_id: int
    plate: str
    imaged_at: datetime
    well: str
    drop_number: int
    path: str
    human: str
    human_class: str
    human_category: str | None
    human_scored_at: datetime
    machine_category: str | None
    probabilities: Probabilities | None
