"""Decides which inspections of a day are withheld, by judging exactly the scores that are about to be written.

Earlier steps show the same checks where the data enters, but their results are not passed on, because another run of
the day may have changed the data since. Judging the scores themselves just before they are written lets none pass
unjudged, whatever other runs do.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from c4_assets.checks import images, predictions, probabilities
from c4_assets.checks.catalogue import withholding_checks
from c4_assets.checks.check import Tables, Verdict, format_value
from c4_assets.checks.expectations import judge
from c4_assets.models.scorer_version import ScorerVersion
from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.withheld import FailedCheck, withhold
from resources.records import ImageOutcome, Inspection, Prediction
from resources.settings.checks import Thresholds

MAX_ROWS_IN_REASON = 10
"""Most images that a reason names."""


def withhold_day(
    day: date,
    listed: Sequence[Inspection],
    database: ImagingDatabase,
    archive: ScoreArchive,
    version: ScorerVersion,
    predicted: Sequence[Prediction],
    failed: Sequence[ImageOutcome],
    thresholds: Thresholds,
) -> set[int]:
    """Records which inspections of a day fail a blocking check, and returns those whose scores must not be written.

    An inspection that failed before and passes now, because more of its images have come or it was scored anew, is no
    longer withheld. One that was released is not returned.

    Args:
        listed: the day's inspections, as the database lists them.
        predicted: what is about to be written.
        failed: the day's images without a score.

    Raises:
        Unavailable: the database failed; nothing was recorded, and nothing may be written.
    """
    rows = [prediction.outcome for prediction in predicted]
    by_image = {row.image.image_id: row for row in rows}
    doubled = [by_image[image_id] for image_id in archive.doubled(day) if image_id in by_image]
    known = {row.image.image_id for row in (*rows, *failed)}
    judged = {
        inspection.inspection_id: sum(image.image_id in known for image in inspection.images) for inspection in listed
    }
    verdicts = _verdicts(listed, predicted, [*rows, *failed, *doubled], thresholds)
    findings = [finding for verdict in verdicts for finding in _findings(verdict, judged)]
    # An inspection that is no longer listed on this day cannot be recorded, and its scores are not written either.
    elsewhere = {finding.inspection_id for finding in findings} - set(judged)
    here = [finding for finding in findings if finding.inspection_id in judged]
    return elsewhere | withhold(database, version.as_row(), judged, here)


def _verdicts(
    listed: Sequence[Inspection],
    predicted: Sequence[Prediction],
    rows: Sequence[ImageOutcome],
    thresholds: Thresholds,
) -> Iterable[Verdict]:
    files = {row.image.image_id: images.File.of(row) for row in rows}
    tables: dict[str, Tables] = {
        images.ASSET: images.image_tables(listed, files, thresholds.images, datetime.now(UTC)),
        probabilities.ASSET: probabilities.probability_tables(rows, thresholds),
        predictions.ASSET: predictions.prediction_tables(predicted),
    }
    for asset, of_asset in tables.items():
        yield from judge(withholding_checks(asset), of_asset, thresholds).verdicts


def _findings(verdict: Verdict, judged: dict[int, int]) -> Iterable[FailedCheck]:
    for inspection_id in sorted({int(row["inspection_id"]) for row in verdict.rows}):
        rows = [row for row in verdict.rows if row["inspection_id"] == inspection_id]
        named = "; ".join(
            ", ".join(f"{name.replace('_', ' ')} {format_value(row[name])}" for name in verdict.check.shown)
            for row in rows[:MAX_ROWS_IN_REASON]
        )
        more = f"; and {len(rows) - MAX_ROWS_IN_REASON} more" if len(rows) > MAX_ROWS_IN_REASON else ""
        reason = f"Not so: {verdict.check.holds} Found: {named}{more}."
        yield FailedCheck(inspection_id, verdict.check.name, reason, judged.get(inspection_id, 0))
