"""Checks of probabilities: of the right weights, valid numbers, varying with the input, from well exposed images."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby

from c4_assets.checks.archive import readable_check
from c4_assets.checks.check import Check, Tables, absent, between, one_of, present, unique
from c4_assets.checks.images import DROP_COLUMNS, INSPECTION_COLUMNS
from c4_assets.models.scorer_version import ScorerVersion
from resources.records import PROBABILITY_COLUMNS, ImageOutcome
from resources.settings.checks import Thresholds

ASSET = "marco_probabilities"

_WRONG_MODEL = (
    "nothing of it reaches the database. Fetch the model again (`c4 model fetch`), look at the engine's log, then "
    "`c4 checks rescore --date` and run the day again."
)

CHECKS = (
    Check(
        name="weights_of_the_scorer_version",
        asset=ASSET,
        table="weights",
        severity="blocking",
        stops="step",
        holds="The weights that classify are those that the scorer version names (sha256).",
        remedy="nothing was classified. Fetch the weights again (`c4 model fetch`), or add the other ones as a model "
        "(`c4 model add`).",
        expectations=lambda _: [present("scorer_version"), one_of("same_weights", [True])],
        shown=("scorer_version", "expected", "loaded"),
    ),
    readable_check(
        "archive_readable",
        ASSET,
        "day",
        "run the day once more (`c4 run --date`), which puts the scores that the database has into the archive again",
    ),
    Check(
        name="images_decodable",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="Every image that was fetched could be decoded and classified.",
        remedy="see `c4 status --failures`; copy the images again from the imager, then `c4 retry`.",
        expectations=lambda _: [absent("not_decoded")],
        shown=(*DROP_COLUMNS, "not_decoded"),
    ),
    Check(
        name="files_not_replaced",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="Every image has the file that it was scored by first.",
        remedy="the new file's score is in the database, the old one in `c4_superseded_scores`: see who replaced it.",
        expectations=lambda _: [one_of("replaced", [False])],
        shown=DROP_COLUMNS,
    ),
    Check(
        name="images_exposed",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="No image is black or saturated.",
        remedy="look at the images and at the imager's lamp, shutter and exposure; what MARCO says of them is no news.",
        expectations=lambda t: [
            between("black", most=t.exposure.black_share),
            between("saturated", most=t.exposure.saturated_share),
        ],
        shown=(*DROP_COLUMNS, "black", "saturated"),
    ),
    Check(
        name="inspection_exposed",
        asset=ASSET,
        table="inspections",
        severity="blocking",
        stops="inspection",
        holds="An inspection's images are not mostly black or saturated.",
        remedy="the imager's lamp or shutter has failed, and what MARCO calls clear was not seen. Image it anew.",
        expectations=lambda t: [between("unexposed_share", most=t.exposure.unexposed_share)],
        shown=(*INSPECTION_COLUMNS, "images", "unexposed_share"),
    ),
    Check(
        name="probabilities_sound",
        asset=ASSET,
        table="scored",
        severity="blocking",
        stops="inspection",
        holds="The four probabilities of an image are numbers in [0, 1] that sum to 1.",
        remedy="the model or the archive is damaged: `c4 checks rescore` the inspection; if it happens again, fetch "
        "the model again.",
        expectations=lambda t: [
            *(present(column) for column in PROBABILITY_COLUMNS),
            *(between(column, 0, 1) for column in PROBABILITY_COLUMNS),
            between("sum", 1 - t.probabilities.sum_tolerance, 1 + t.probabilities.sum_tolerance),
        ],
        shown=(*DROP_COLUMNS, *PROBABILITY_COLUMNS, "sum"),
    ),
    Check(
        name="one_row_an_image",
        asset=ASSET,
        table="images",
        severity="blocking",
        stops="inspection",
        holds="The archive has one row an image.",
        remedy="something else has written into the archive: `c4 checks rescore` the inspection.",
        expectations=lambda _: [unique("image_id")],
        shown=DROP_COLUMNS,
    ),
    Check(
        name="inspection_probabilities_differ",
        asset=ASSET,
        table="inspections",
        severity="blocking",
        stops="inspection",
        holds="Different images of an inspection do not have the same four probabilities.",
        remedy="the model did not look at these images: `c4 checks rescore` the inspection.",
        expectations=lambda t: [between("same_vector_share", most=t.probabilities.same_vector_share)],
        shown=(*INSPECTION_COLUMNS, "images", "same_vector_share"),
    ),
    Check(
        name="day_probabilities_differ",
        asset=ASSET,
        table="day",
        severity="blocking",
        stops="step",
        holds="Different images of a day do not have the same four probabilities.",
        remedy=f"the model does not look at its input, and {_WRONG_MODEL}",
        expectations=lambda t: [between("same_vector_share", most=t.probabilities.same_vector_share)],
        shown=("images", "same_vector_share"),
    ),
)


def weights_table(version: ScorerVersion, loaded: str | None) -> Tables:
    """One row: the scorer version, and whether the loaded weights are its own.

    Args:
        loaded: digest of the files that the engine is made from; ``None`` if nothing has to be classified.
    """
    import pandas as pd

    same = None if loaded is None else loaded == version.weights_sha256
    row = {
        "scorer_version": version.name,
        "expected": version.weights_sha256,
        "loaded": loaded,
        "same_weights": same,
    }
    return {"weights": pd.DataFrame([row])}


def probability_tables(
    rows: Sequence[ImageOutcome], thresholds: Thresholds, replaced: Collection[int] = frozenset()
) -> Tables:
    """One row per image, per image with a score, and per inspection, and one for the day.

    Args:
        rows: the day's outcomes in the archive, doubled ones included.
        replaced: images that have another file than when they were scored first.
    """
    import pandas as pd

    least_images = thresholds.probabilities.least_images
    ordered = sorted(rows, key=lambda row: (row.image.inspection_id, row.image.image_id))
    images = pd.DataFrame([{**_image_row(row), "replaced": row.image.image_id in replaced} for row in ordered])
    inspections = [
        _inspection_row(list(group), thresholds)
        for _, group in groupby(ordered, key=lambda row: row.image.inspection_id)
    ]
    day = [{"images": len(ordered), "same_vector_share": _same_vector_share(ordered, least_images)}] if ordered else []
    return {
        "images": images,
        "scored": images[images["error"].isna()] if ordered else images,
        "inspections": pd.DataFrame(inspections),
        "day": pd.DataFrame(day),
    }


def _image_row(outcome: ImageOutcome) -> dict[str, object]:
    image, looks = outcome.image, outcome.appearance
    probabilities = outcome.probabilities or (None,) * 4
    return {
        "image_id": image.image_id,
        "inspection_id": image.inspection_id,
        "plate": image.plate,
        "well": image.well,
        "drop": image.drop_number,
        "path": image.path,
        "error": outcome.error,
        "not_decoded": outcome.error if outcome.sha256 else None,
        **dict(zip(PROBABILITY_COLUMNS, probabilities, strict=True)),
        "sum": sum(outcome.probabilities) if outcome.probabilities else None,
        "black": looks.black if looks else None,
        "saturated": looks.saturated if looks else None,
        "brightness": looks.brightness if looks else None,
        "sharpness": looks.sharpness if looks else None,
    }


def _inspection_row(group: Sequence[ImageOutcome], thresholds: Thresholds) -> dict[str, object]:
    exposure = thresholds.exposure
    looks = [row.appearance for row in group if row.appearance]
    unexposed = sum(look.black > exposure.black_share or look.saturated > exposure.saturated_share for look in looks)
    first = group[0].image
    return {
        "inspection_id": first.inspection_id,
        "plate": first.plate,
        "path": first.path,
        "images": len(group),
        "unexposed_share": unexposed / len(looks) if looks else None,
        "same_vector_share": _same_vector_share(group, thresholds.probabilities.least_images),
    }


def _same_vector_share(rows: Iterable[ImageOutcome], least_images: int) -> float | None:
    """The share of the commonest vector of probabilities among different files: equal files have equal vectors."""
    by_file: Mapping[str, object] = {row.sha256: row.probabilities for row in rows if row.sha256 and row.probabilities}
    if len(by_file) < least_images:
        return None
    return max(Counter(by_file.values()).values()) / len(by_file)
