"""What the queries of pages return. Everything in it is as the database has it; times are UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from resources.imaging_database.viewing.cursors import Cursor
from resources.records import WITHDRAWN_CLASS, Image, Probabilities

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. ``after`` is where the next one begins; ``None`` at the end."""

    rows: Sequence[T]
    after: Cursor | None = None


@dataclass(frozen=True)
class PersonScore:
    """What a person said of an image. ``category`` is ``None`` for a class that says nothing of the drop."""

    score_id: int
    image_id: int
    person: str
    class_name: str
    category: str | None
    scored_at: datetime

    @property
    def withdraws(self) -> bool:
        """Whether it takes back what the person said of the image before."""
        return self.class_name == WITHDRAWN_CLASS


@dataclass(frozen=True)
class ModelScore:
    """What a scorer version said of an image.

    ``flagged``: it reaches the operating point of crystals. ``sha256`` is the digest of the file that was scored;
    ``None`` in rows of release 0.1. Probabilities are clear, crystals, other, precipitate.
    """

    scorer_version: str
    category: str | None
    flagged: bool
    probabilities: Probabilities
    scored_at: datetime
    run_id: str | None
    sha256: str | None


@dataclass(frozen=True)
class LastFailure:
    """The last attempt of a scorer version at an image. ``attempts`` are those that count."""

    scorer_version: str
    reason: str
    attempts: int
    failed_at: datetime
    retry_at: datetime | None
    given_up: bool


@dataclass(frozen=True)
class Withholding:
    """A check that keeps a scorer version's scores of an inspection out of the database, or did until a release."""

    scorer_version: str
    check: str
    reason: str
    withheld_at: datetime
    released_by: str | None
    released_at: datetime | None
    release_reason: str | None


@dataclass(frozen=True)
class ImageDetails:
    """How an image was taken, as far as the site says: ``light`` such as visible or uv, ``focus`` in its own unit."""

    microns_per_pixel: float | None = None
    light: str | None = None
    focus: float | None = None


@dataclass(frozen=True)
class PlateDetails:
    """Whose a plate is, as far as the site says."""

    project: str | None = None
    owner: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class ViewedImage:
    """An image with all that is said of it: models by scorer version, people the newest first, withdrawn ones too."""

    image: Image
    imaged_at: datetime | None
    details: ImageDetails
    models: Mapping[str, ModelScore]
    people: Sequence[PersonScore]
    failures: Mapping[str, LastFailure]


@dataclass(frozen=True)
class ViewedInspection:
    """One imaging of one plate with its images in the order of well, drop and number.

    ``imaged_at`` is ``None`` where the time is missing or stands for none.
    """

    inspection_id: int
    plate_id: int
    plate: str
    details: PlateDetails
    imaged_at: datetime | None
    imager: str | None
    images: Sequence[ViewedImage] = ()
    withheld: Sequence[Withholding] = ()


@dataclass(frozen=True)
class InspectionCounts:
    """One imaging of one plate, in numbers of images.

    Attributes:
        listed: images that the database lists.
        scored, crystals: those that the scorer version has scored, and has flagged.
        failed: those without a score whose attempts are used up, or whose file is given up.
        best: the highest probability of crystals.
        said: those of which the newest score of a person stands; ``hits`` are those that are crystals.
        withheld: the scores of the inspection are kept out by a check.
    """

    inspection_id: int
    plate_id: int
    plate: str
    imaged_at: datetime
    imager: str | None
    listed: int
    scored: int
    failed: int
    crystals: int
    best: float | None
    said: int
    hits: int
    withheld: bool


@dataclass(frozen=True)
class FoundPlate:
    """A plate, how often it was imaged, and when last."""

    plate_id: int
    plate: str
    details: PlateDetails
    inspections: int
    newest: datetime | None


@dataclass(frozen=True)
class ViewedPlate:
    """A plate and its inspections, the newest first."""

    plate_id: int
    plate: str
    details: PlateDetails
    inspections: Sequence[InspectionCounts]


@dataclass(frozen=True)
class BestOfDrop:
    """The best of one drop over all inspections of its plate: what an image taken again would hide.

    Attributes:
        probability: the highest of crystals, and the image that has it.
        person: the best of what the people's newest scores say of the images, and that image.
    """

    well: str
    drop_number: int
    probability: float | None = None
    image_id: int | None = None
    imaged_at: datetime | None = None
    person: PersonScore | None = None
    person_imaged_at: datetime | None = None


@dataclass(frozen=True)
class ListedImage:
    """An image in a list across plates: one scorer version's score, and all that people said, the newest first."""

    image: Image
    imaged_at: datetime
    model: ModelScore
    people: Sequence[PersonScore]


@dataclass(frozen=True)
class Opposed:
    """An image of which the newest score of a person and the scorer version's disagree on crystals."""

    image: Image
    imaged_at: datetime
    person: PersonScore
    model: ModelScore


@dataclass(frozen=True)
class GivenScore:
    """A score that a person has given, beside the scorer version's of the same image, if there is one."""

    image: Image
    imaged_at: datetime
    score: PersonScore
    model: ModelScore | None
