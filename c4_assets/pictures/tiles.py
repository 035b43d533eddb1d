"""The drops that a contact sheet shows, with their captions."""

from collections.abc import Iterable

from c4_assets.pictures.contact_sheet import Tile
from resources.records import Prediction, crystal_probability


def likeliest_crystals(predictions: Iterable[Prediction]) -> list[Tile]:
    """The day's likeliest crystals that have a thumbnail, best first."""
    best = sorted(predictions, key=lambda p: -crystal_probability(p.outcome))
    return [
        Tile(
            jpeg=p.outcome.thumbnail,
            category=p.category,
            caption=(
                f"{p.outcome.image.plate} {p.outcome.image.well}.{p.outcome.image.drop_number}",
                f"{p.category}, p(crystals) {crystal_probability(p.outcome):.2f}",
            ),
        )
        for p in best
        if p.outcome.thumbnail
    ]
