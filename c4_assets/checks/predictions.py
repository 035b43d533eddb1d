"""Checks of predictions: known categories, in a mix that does not jump from one day to the next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import log

from c4_assets.checks.check import Check, Tables, between, one_of
from c4_assets.checks.images import DROP_COLUMNS
from c4_assets.checks.thresholds import PredictionThresholds
from resources.archive.score_archive import ScoreArchive
from resources.records import CATEGORIES, Prediction, likeliest

ASSET = "class_predictions"

CHECKS = (
    Check(
        name="categories_known",
        asset=ASSET,
        table="images",
        severity="blocking",
        stops="inspection",
        holds="Every category is one of the four, and the likeliest by the image's probabilities.",
        remedy="the step that makes predictions is at fault: look at what was deployed, then run the day again.",
        expectations=lambda _: [one_of("category", CATEGORIES), one_of("is_likeliest", [True])],
        shown=(*DROP_COLUMNS, "category", "likeliest"),
    ),
    Check(
        name="class_mix_steady",
        asset=ASSET,
        table="day",
        severity="warning",
        holds="The day's mix of categories is like that of the days before (population stability index).",
        remedy="look at the contact sheet: a new screen or imager explains a change, and so does a wrong model.",
        expectations=lambda t: [between("stability_index", most=t.predictions.stability_index)],
        shown=("day", "stability_index", "jensen_shannon", *CATEGORIES, *(f"{c} before" for c in CATEGORIES)),
    ),
    Check(
        name="share_of_crystals_plausible",
        asset=ASSET,
        table="day",
        severity="warning",
        holds="The share of crystals is one that occurs.",
        remedy="look at the contact sheet: salt, an optimisation screen, or a wrong model.",
        expectations=lambda t: [between("crystals", most=t.predictions.most_crystals)],
        shown=("day", "images", "crystals"),
    ),
)


def prediction_tables(predictions: Sequence[Prediction]) -> Tables:
    """One row per prediction."""
    import pandas as pd

    return {
        "images": pd.DataFrame(
            [
                {
                    "image_id": image.image_id,
                    "inspection_id": image.inspection_id,
                    "plate": image.plate,
                    "well": image.well,
                    "drop": image.drop_number,
                    "path": image.path,
                    "category": prediction.category,
                    "likeliest": expected,
                    "is_likeliest": prediction.category == expected,
                }
                for prediction in predictions
                for image in [prediction.outcome.image]
                for expected in [likeliest(prediction.outcome.probabilities or (0.0, 0.0, 0.0, 0.0))]
            ]
        )
    }


def mix_table(
    day: date, predictions: Sequence[Prediction], archive: ScoreArchive, thresholds: PredictionThresholds
) -> Tables:
    """One row: the day's shares of the categories, those of the days before, and the distance between them.

    With too few images the values are missing, and so not judged.
    """
    import pandas as pd

    today: Counter[str] = Counter(prediction.category for prediction in predictions)
    before: Counter[str] = Counter()
    for days in range(1, thresholds.trailing_days + 1):
        before.update(archive.category_counts(day - timedelta(days=days)))
    enough = today.total() >= thresholds.least_images
    comparable = enough and before.total() >= thresholds.least_images
    row = {
        "day": day.isoformat(),
        "images": today.total(),
        "stability_index": stability_index(today, before) if comparable else None,
        "jensen_shannon": jensen_shannon(today, before) if comparable else None,
        **{category: today[category] / today.total() if enough else None for category in CATEGORIES},
        **{f"{category} before": before[category] / before.total() if comparable else None for category in CATEGORIES},
    }
    return {"day": pd.DataFrame([row] if predictions else [])}


def stability_index(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """The population stability index of two samples of categories: the sum of (p - q) ln(p / q), 0 for equal ones.

    Siddiqi, Credit Risk Scorecards (2006), after Lewis. Half an image is added to every category, so that one that
    does not occur does not make the index infinite.
    """
    p, q = _shares(now), _shares(before)
    return sum((p[c] - q[c]) * log(p[c] / q[c]) for c in CATEGORIES)


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.get(category, 0) + 0.5 for category in CATEGORIES)
    return {category: (counts.get(category, 0) + 0.5) / total for category in CATEGORIES}


def jensen_shannon(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """The Jensen-Shannon distance of two samples of categories, in base 2: 0 for equal, 1 for disjoint ones."""
    from scipy.spatial import distance

    p, q = _shares(now), _shares(before)
    return float(distance.jensenshannon([p[c] for c in CATEGORIES], [q[c] for c in CATEGORIES], base=2))
