"""The four categories of a drop, in the order in which probabilities are kept everywhere."""

from typing import Literal

Category = Literal["clear", "crystals", "other", "precipitate"]

CATEGORIES: tuple[Category, ...] = ("clear", "crystals", "other", "precipitate")

PROBABILITY_COLUMNS = tuple(f"p_{category}" for category in CATEGORIES)

CRYSTALS = CATEGORIES.index("crystals")
"""Where the probability of crystals stands among :data:`Probabilities`."""

Probabilities = tuple[float, float, float, float]


def likeliest(probabilities: Probabilities) -> Category:
    """The category with the highest probability; of equal ones the first, as in NumPy's ``argmax``."""
    return CATEGORIES[max(range(len(CATEGORIES)), key=probabilities.__getitem__)]
