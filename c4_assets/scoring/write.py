"""Write a day's scores and failures back into the imaging database."""

from dataclasses import dataclass
from datetime import date

from c4_assets.checks.withholding import withhold_day
from c4_assets.models.scorer_version import ScorerVersion
from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import pending_images
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from resources.records import Prediction
from resources.settings.checks import Thresholds


@dataclass(frozen=True)
class WrittenDay:
    """What :func:`write_day` did: the predictions that were to be written, and the inspections that were not."""

    written: Written
    predictions: tuple[Prediction, ...]
    withheld: frozenset[int]


def write_day(
    day: date,
    database: ImagingDatabase,
    archive: ScoreArchive,
    version: ScorerVersion,
    run_id: str,
    thresholds: Thresholds,
) -> WrittenDay:
    """Writes a day's predictions and failures; those that are in the database stay as they are.

    The scores of an inspection that fails a blocking check are withheld, and that is recorded before the others are
    written. What is judged is what is written: the predictions are read once.

    Raises:
        ConfigurationError, Unavailable: see :func:`resources.imaging_database.write_back.write_back`.
    """
    predicted = archive.predictions(day)
    without_score = [outcome for outcome in archive.outcomes(day) if outcome.error is not None]
    withheld = withhold_day(day, database, archive, version, predicted, without_score, thresholds)
    predictions = [p for p in predicted if p.outcome.image.inspection_id not in withheld]
    failed = [
        FailedAttempt(outcome.image.image_id, outcome.error, outcome.at)
        for outcome in without_score
        if outcome.error is not None
    ]
    scores = [
        MachineScore(p.outcome.image.image_id, p.category, p.crystal, p.outcome.probabilities, p.outcome.at)
        for p in predictions
        if p.outcome.probabilities is not None
    ]
    written = write_back(database, version.as_row(), scores, failed, run_id)
    return WrittenDay(written, tuple(predictions), frozenset(withheld))


def never_tried(day: date, database: ImagingDatabase, archive: ScoreArchive, max_attempts: int) -> int:
    """Counts the pending images of a day that this scorer version has never been given."""
    known = {outcome.image.image_id for outcome in archive.outcomes(day)}
    return sum(
        image.image_id not in known for image in pending_images(database, archive.scorer_version, max_attempts, day)
    )
