"""Write a day's scores and failures back into the imaging database."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from c4_assets.checks.withholding import withhold_day
from c4_assets.models.scorer_version import ScorerVersion
from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.read_back import listed_images
from resources.imaging_database.work import pending_images
from resources.imaging_database.write_back import FailedAttempt, MachineScore, Written, write_back
from resources.records import Image, Prediction, Problem
from resources.settings.checks import Thresholds

log = logging.getLogger("c4.write")


@dataclass(frozen=True)
class WrittenDay:
    """What :func:`write_day` did.

    ``predictions`` are those that were to be written, and those of images that are not listed any more; ``withheld``
    are the inspections whose scores were kept out.
    """

    written: Written
    predictions: tuple[Prediction, ...]
    withheld: frozenset[int]
    given_up: tuple[tuple[Image, str], ...] = ()
    """Images that nobody tries or waits for any more, and did before, with the reason."""


def write_day(
    day: date,
    database: ImagingDatabase,
    archive: ScoreArchive,
    version: ScorerVersion,
    run_id: str,
    thresholds: Thresholds,
    absent_days: int = 7,
    max_attempts: int = 3,
) -> WrittenDay:
    """Writes a day's predictions and failures; those that are in the database stay as they are.

    What the database lists otherwise than when it was fetched is not written: it is another image's, or is
    fetched again and compared.

    The scores of an inspection that fails a blocking check are withheld, and that is recorded before the others are
    written. What is judged is what is written: the predictions are read once.

    Raises:
        ConfigurationError, Unavailable: see :func:`resources.imaging_database.write_back.write_back`.
    """
    inspections = inspections_of_day(database, day)
    listed = {image for inspection in inspections for image in inspection.images}
    known = archive.predictions(day)
    predicted = [prediction for prediction in known if prediction.outcome.image in listed]
    without_score = [o for o in archive.outcomes(day) if o.error is not None and o.image in listed]
    withheld = withhold_day(day, inspections, database, archive, version, predicted, without_score, thresholds)
    predictions = [p for p in predicted if p.outcome.image.inspection_id not in withheld]
    failed = [
        FailedAttempt(
            outcome.image.image_id,
            outcome.error,
            outcome.at,
            outcome.image.path,
            outcome.sha256,
            outcome.problem or Problem.FILE,
        )
        for outcome in without_score
        if outcome.error is not None
    ]
    scores = [
        MachineScore(
            p.outcome.image.image_id,
            p.category,
            p.crystal,
            p.outcome.probabilities,
            p.outcome.at,
            p.outcome.image.path,
            p.outcome.sha256,
        )
        for p in predictions
        if p.outcome.probabilities is not None
    ]
    listed_ids = sorted(image.image_id for image in listed)
    written = write_back(database, version.as_row(), scores, failed, run_id, listed_ids, absent_days, max_attempts)
    _log(day, version, written, predictions)
    numbers = listed_images(database, [prediction.outcome.image.image_id for prediction in known])
    unlisted = [prediction for prediction in known if prediction.outcome.image.image_id not in numbers]
    gone = written.no_longer_listed + len(known) - len(predicted)
    given_up = tuple((o.image, o.error or "") for o in without_score if o.image.image_id in written.given_up)
    return WrittenDay(replace(written, no_longer_listed=gone), (*predictions, *unlisted), frozenset(withheld), given_up)


def _log(day: date, version: ScorerVersion, written: Written, predictions: Sequence[Prediction]) -> None:
    count, there = written.scores, written.already_scored
    log.info(
        "wrote %d scores of %s (%s); %d were there, %d failures", count, day, version.name, there, written.failures
    )
    for inspection_id, images in sorted(Counter(p.outcome.image.inspection_id for p in predictions).items()):
        about = {"inspection_id": inspection_id, "scorer_version": version.name}
        log.debug("%d scores of inspection %d are in the database", images, inspection_id, extra=about)


def never_tried(day: date, database: ImagingDatabase, archive: ScoreArchive, max_attempts: int) -> int:
    """Counts the pending images of a day that this scorer version has never been given."""
    known = {outcome.image for outcome in archive.outcomes(day)}
    return sum(image not in known for image in pending_images(database, archive.scorer_version, max_attempts, day))
