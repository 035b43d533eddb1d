"""From probabilities to what people look at: category, crystal flag and rank."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date

import dagster as dg

from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.predictions import mix_table, prediction_tables
from c4_assets.checks.results import DataChecks, trends
from c4_assets.checks.specs import specs_of
from c4_assets.contact_sheet import Tile, sheet_metadata
from c4_assets.days import Events, Result, process_days
from c4_assets.marco.classifier import Classifier
from c4_assets.marco_probabilities import marco_probabilities
from c4_assets.operator_errors import translate_errors
from c4_assets.partitions import DAYS, SEVERAL_DAYS
from c4_assets.shared import (
    FACILITY,
    GROUP,
    OUTCOME_COLUMNS,
    PARTITION_ROWS_KEY,
    SCORER,
    column_lineage,
    column_schema,
    markdown_cell,
    scorer_version_metadata,
)
from resources.categories import CATEGORIES, CRYSTALS, PROBABILITY_COLUMNS, likeliest
from resources.score_archive import ImageOutcome, Prediction, ScoreArchive, crystal_probability
from resources.step_resources import StepResources


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


def interesting_drops(predictions: Iterable[Prediction], most: int = 50) -> dg.MetadataValue:
    """A table of the flagged drops, likeliest crystals first."""
    flagged = sorted((p for p in predictions if p.crystal), key=lambda p: -crystal_probability(p.outcome))
    lines = ["| plate | well | drop | category | crystals | rank |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {markdown_cell(image.plate)} | {markdown_cell(image.well)} | {image.drop_number} | {p.category} "
        f"| {crystal_probability(p.outcome):.3f} | {p.rank} |"
        for p in flagged[:most]
        for image in [p.outcome.image]
    ]
    if len(flagged) > most:
        lines.append(f"\nand {len(flagged) - most} more")
    return dg.MetadataValue.md("\n".join(lines) if flagged else "No drop was flagged.")


LINEAGE = column_lineage(
    "marco_probabilities",
    *OUTCOME_COLUMNS,
    category=PROBABILITY_COLUMNS,
    crystal=("p_crystals",),
    rank=("inspection_id", "p_crystals"),
)


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=SEVERAL_DAYS,
    deps=[marco_probabilities],
    group_name=GROUP,
    kinds={"parquet"},
    owners=[FACILITY],
    op_tags=StepResources(cpus=1, memory_gb=4, minutes=30).as_tag(),
    code_version=SCORER.name,
    metadata=column_schema(**OUTCOME_COLUMNS, category="string", crystal="bool", rank="int32"),
    check_specs=specs_of("class_predictions", DAYS),
)
def class_predictions(
    context: dg.AssetExecutionContext,
    score_archive: dg.ResourceParam[ScoreArchive],
    classifier: dg.ResourceParam[Classifier],
    data_checks: dg.ResourceParam[DataChecks],
) -> Events:
    """Category (the likeliest), crystal flag (at the scorer version's operating point) and rank within the inspection.

    The contact sheet shows the day's likeliest crystals.
    """

    def process_day(day: date) -> Result:
        predictions = predict_day(day, score_archive, classifier.version.crystal_threshold)
        mix = mix_table(day, predictions, score_archive, data_checks.thresholds.predictions)
        tables = {**prediction_tables(predictions), **mix}
        checked = data_checks.evaluate("class_predictions", day, tables, thumbnails_in(score_archive, day))
        return dg.MaterializeResult(
            metadata={
                **_prediction_metadata(predictions),
                "crystal threshold": classifier.version.crystal_threshold,
                **scorer_version_metadata(score_archive.scorer_version),
                **trends(mix["day"], "stability_index", "jensen_shannon", "crystals"),
                **checked.metadata,
                **LINEAGE,
            },
            check_results=checked.check_results,
        )

    with translate_errors(context):
        yield from process_days(context, process_day)


def _prediction_metadata(predictions: Sequence[Prediction]) -> dict[str, int | dg.MetadataValue]:
    histogram = Counter(p.category for p in predictions)
    return {
        "likeliest crystals": sheet_metadata(likeliest_crystals(predictions)),
        "interesting drops": interesting_drops(predictions),
        PARTITION_ROWS_KEY: len(predictions),
        **{f"images {category}": histogram[category] for category in CATEGORIES},
        "images flagged": sum(p.crystal for p in predictions),
    }
