"""Judges a day again without scoring anything: the same tables that its steps judge, from the data of now."""

from datetime import UTC, date, datetime

from c4_assets.checks import images, predictions, probabilities, rows
from c4_assets.checks.archive import archive_table
from c4_assets.checks.catalogue import checks_of
from c4_assets.checks.check import Tables
from c4_assets.checks.expectations import Judgement, judge
from c4_assets.models.classifier import Classifier
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import Staging
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.withheld import withheld_inspections
from resources.settings.checks import Thresholds


def tables_of_day(
    day: date,
    database: ImagingDatabase,
    staging: Staging,
    archive: ScoreArchive,
    classifier: Classifier,
    thresholds: Thresholds,
) -> dict[str, Tables]:
    """The tables that a day's steps judge, by asset."""
    listed = inspections_of_day(database, day)
    files = images.known_files(day, listed, staging, archive)
    predicted = archive.predictions(day)
    withheld = {held.inspection_id for held in withheld_inspections(database, archive.scorer_version)}
    images_listed = {image for inspection in listed for image in inspection.images}
    to_be_written = [
        p for p in predicted if p.outcome.image in images_listed and p.outcome.image.inspection_id not in withheld
    ]
    loaded = classifier.weights_on_disk() if staging.inspections(day) else None
    return {
        images.ASSET: images.image_tables(listed, files, thresholds.images, datetime.now(UTC)),
        probabilities.ASSET: {
            **probabilities.weights_table(classifier.version, loaded),
            **probabilities.probability_tables(archive.rows(day), thresholds, archive.replaced(day)),
            **archive_table(archive.set_aside(day)),
        },
        predictions.ASSET: {
            **predictions.prediction_tables(predicted),
            **predictions.mix_table(day, predicted, archive, thresholds.predictions),
        },
        rows.ASSET: rows.read_back_tables(database, archive.scorer_version, to_be_written),
    }


def judge_tables(tables: dict[str, Tables], thresholds: Thresholds) -> dict[str, Judgement]:
    """Judges the tables of each asset."""
    return {asset: judge(checks_of(asset), of_asset, thresholds) for asset, of_asset in tables.items()}
