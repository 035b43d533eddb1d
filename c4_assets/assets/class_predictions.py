"""From probabilities to what people look at: category, crystal flag and rank."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date

import dagster as dg

from c4_assets.assets.marco_probabilities import marco_probabilities
from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.pictures import thumbnails_in
from c4_assets.checks.predictions import ASSET, mix_table, prediction_tables
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier
from c4_assets.pictures.tiles import likeliest_crystals
from c4_assets.runs.by_model import ModelDay, by_model
from c4_assets.runs.check_results import trends
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events, process_days
from c4_assets.runs.metadata import (
    FACILITY,
    GROUP,
    PARTITION_ROWS_KEY,
    column_lineage,
    column_schema,
    markdown_cell,
    sheet_metadata,
)
from c4_assets.runs.partitions import DAYS, SEVERAL_DAYS
from c4_assets.runs.step_failures import translate_errors
from c4_assets.scoring.predict import predict_day
from resources.executors.step_resources import StepResources
from resources.records import (
    CATEGORIES,
    PROBABILITY_COLUMNS,
    Prediction,
    crystal_probability,
)


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
    "image_id",
    "sha256",
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
    metadata=column_schema(image_id="int64", sha256="string", category="string", crystal="bool", rank="int32"),
    check_specs=specs_of(ASSET, DAYS),
)
def class_predictions(
    context: dg.AssetExecutionContext,
    models: dg.ResourceParam[ActiveModels],
    data_checks: dg.ResourceParam[DataChecks],
) -> Events:
    """Category (the likeliest), crystal flag (at the operating point) and rank within the inspection, by each model.

    The contact sheet shows the day's likeliest crystals.
    """

    def predict(day: date, model: Classifier) -> ModelDay:
        archive = models.archive(model)
        predictions = predict_day(day, archive, model.version.crystal_threshold)
        mix = mix_table(day, predictions, archive, data_checks.thresholds.predictions)
        metadata = {
            **_prediction_metadata(predictions),
            "crystal threshold": model.version.crystal_threshold,
            **trends(mix["day"], "stability_index", "jensen_shannon", "crystals"),
            **LINEAGE,
        }
        judged = data_checks.judge(ASSET, day, {**prediction_tables(predictions), **mix}, model.name)
        return ModelDay(model, metadata, judged, thumbnails_in(archive, day))

    with translate_errors(context):
        active = models.published()
        yield from process_days(context, lambda day: by_model([predict(day, model) for model in active]))


def _prediction_metadata(predictions: Sequence[Prediction]) -> dict[str, int | dg.MetadataValue]:
    histogram = Counter(p.category for p in predictions)
    return {
        "likeliest crystals": sheet_metadata(likeliest_crystals(predictions)),
        "interesting drops": interesting_drops(predictions),
        PARTITION_ROWS_KEY: len(predictions),
        **{f"images {category}": histogram[category] for category in CATEGORIES},
        "images flagged": sum(p.crystal for p in predictions),
    }
