"""Checks of rows in the imaging database: each prediction is there, once and unchanged."""

from collections.abc import Collection, Sequence

from c4_assets.checks.check import Check, Tables, between, one_of
from c4_assets.checks.images import DROP_COLUMNS
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.read_back import StoredScore, listed_images, stored_scores
from resources.records import Prediction

ASSET = "db_scores"

CHECKS = (
    Check(
        name="rows_written_once",
        asset=ASSET,
        table="rows",
        severity="blocking",
        stops="step",
        holds="Every prediction that is not withheld has one row in the database.",
        remedy="look at the database: does `scores` have its unique constraint (image, scorer version), and does a "
        "trigger or job remove rows?",
        expectations=lambda _: [between("rows", 1, 1)],
        shown=(*DROP_COLUMNS, "rows"),
    ),
    Check(
        name="rows_as_predicted",
        asset=ASSET,
        table="rows",
        severity="blocking",
        stops="step",
        holds="Category and probabilities read back from the database are those that were predicted.",
        remedy="somebody or a trigger has changed the rows, or a column rounds: see rows in C4_CHECKS_CONFIG.",
        expectations=lambda t: [
            one_of("same_category", [True]),
            between("difference", most=t.rows.probability_tolerance),
        ],
        shown=(*DROP_COLUMNS, "predicted", "in_the_database", "difference"),
    ),
    Check(
        name="no_rows_orphaned",
        asset=ASSET,
        table="unlisted",
        severity="warning",
        holds="No score belongs to an image that the database no longer lists.",
        remedy="the images were taken off the list after they were scored; remove their scores, or list them again.",
        expectations=lambda _: [between("rows", most=0)],
        shown=(*DROP_COLUMNS, "rows"),
    ),
)


def read_back_tables(database: ImagingDatabase, scorer_version: str, predictions: Sequence[Prediction]) -> Tables:
    """Tables of predictions beside their rows in the database, read now."""
    image_ids = [prediction.outcome.image.image_id for prediction in predictions]
    stored = stored_scores(database, scorer_version, image_ids)
    return row_tables(predictions, stored, listed_images(database, image_ids))


def row_tables(predictions: Sequence[Prediction], stored: Sequence[StoredScore], listed: Collection[int]) -> Tables:
    """One row per prediction of a listed image, and one per prediction of an image that is no longer listed.

    Args:
        predictions: those that were to be written.
        stored: the rows that the database has of their images.
    """
    import pandas as pd

    by_image: dict[int, list[StoredScore]] = {}
    for score in stored:
        by_image.setdefault(score.image_id, []).append(score)
    rows = [_row(prediction, by_image.get(prediction.outcome.image.image_id, [])) for prediction in predictions]
    return {
        "rows": pd.DataFrame([row for row in rows if row["image_id"] in listed]),
        "unlisted": pd.DataFrame([row for row in rows if row["image_id"] not in listed]),
    }


def _row(prediction: Prediction, stored: Sequence[StoredScore]) -> dict[str, object]:
    image, predicted = prediction.outcome.image, prediction.outcome.probabilities or ()
    apart = [
        abs(mine - theirs) if theirs is not None else 1.0
        for score in stored
        for mine, theirs in zip(predicted, score.probabilities, strict=True)
    ]
    categories = sorted({str(score.category) for score in stored})
    return {
        "image_id": image.image_id,
        "inspection_id": image.inspection_id,
        "plate": image.plate,
        "well": image.well,
        "drop": image.drop_number,
        "path": image.path,
        "rows": len(stored),
        "predicted": prediction.category,
        "in_the_database": ", ".join(categories),
        "same_category": categories == [prediction.category] if stored else None,
        "difference": max(apart) if apart else None,
    }
