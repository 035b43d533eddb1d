"""From probabilities to what people look at: category, crystal flag and rank."""

from collections import Counter
from collections.abc import Iterable
from datetime import date

from resources.archive.score_archive import ScoreArchive
from resources.records import CRYSTALS, ImageOutcome, Prediction, likeliest


def predict(outcomes: Iterable[ImageOutcome], crystal_threshold: float) -> list[Prediction]:
    """Category, crystal flag and rank of every image that has probabilities, by inspection and rank.

    The category is the likeliest one, as in the C4 paper. The flag is raised from ``crystal_threshold`` on. At the
    default of 0.25 it is raised for every image whose category is crystals (the largest of four probabilities is at
    least a quarter) and for many that are close: a missed crystal costs a structure, a false alarm a glance. The
    rank orders an inspection by the probability of crystals, 1 first; equal ones by image number.
    """
    scored = [(outcome, outcome.probabilities) for outcome in outcomes if outcome.probabilities is not None]
    scored.sort(key=lambda pair: (pair[0].image.inspection_id, -pair[1][CRYSTALS], pair[0].image.image_id))
    predictions: list[Prediction] = []
    rank: Counter[int] = Counter()
    for outcome, probabilities in scored:
        rank[outcome.image.inspection_id] += 1
        crystal = probabilities[CRYSTALS] >= crystal_threshold
        predictions.append(Prediction(outcome, likeliest(probabilities), crystal, rank[outcome.image.inspection_id]))
    return predictions


def predict_day(day: date, archive: ScoreArchive, crystal_threshold: float) -> list[Prediction]:
    """Replaces the day's predictions by those of the probabilities in the archive, and returns them."""
    predictions = predict(archive.outcomes(day), crystal_threshold)
    archive.write_predictions(day, predictions)
    return predictions
