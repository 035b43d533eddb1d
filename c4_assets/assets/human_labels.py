"""A week's human scores as labels: kept as they were, checked before Ashes or a training set makes use of them."""

from contextlib import closing

import dagster as dg

from c4_assets.assets.db_scores import db_scores
from c4_assets.checks.data_checks import DataChecks
from c4_assets.checks.labels import ASSET
from c4_assets.checks.pictures import pictures_in
from c4_assets.labels.collect import collect_labels, without_left_out
from c4_assets.labels.people import People
from c4_assets.labels.report import report_page, write_report
from c4_assets.models.active import ActiveModels
from c4_assets.runs.check_results import evaluate, trends
from c4_assets.runs.check_specs import specs_of
from c4_assets.runs.days import Events
from c4_assets.runs.metadata import FACILITY, GROUP, PARTITION_ROWS_KEY, column_schema
from c4_assets.runs.partitions import WEEKS, week_of
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from resources.archive.label_archive import read_labels, write_labels
from resources.executors.step_resources import StepResources
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings


@dg.asset(
    partitions_def=WEEKS,
    deps=["human_scores", dg.AssetDep(db_scores, partition_mapping=dg.AllPartitionMapping())],
    pool="image_store",
    group_name=GROUP,
    kinds={"parquet"},
    owners=[FACILITY],
    op_tags=StepResources(where="here").as_tag(),
    retry_policy=CPU_RETRIES,
    metadata=column_schema(
        image_id="int64",
        inspection_id="int64",
        plate="string",
        imaged_at="timestamp[us, UTC]",
        well="string",
        drop_number="int64",
        path="string",
        human="string",
        human_class="string",
        category="string",
        scored_at="timestamp[us, UTC]",
        machine_category="string",
        left_out="string",
    ),
    check_specs=specs_of(ASSET, WEEKS),
)
def human_labels(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    image_store: dg.ResourceParam[ImageStore],
    models: dg.ResourceParam[ActiveModels],
    data_checks: dg.ResourceParam[DataChecks],
    settings: dg.ResourceParam[Settings],
) -> Events:
    """Every score that a person gave in the week: all of them, with the check that leaves one out where one does.

    Ashes and training sets leave out the labels that fail a blocking check. The labels report shows who agrees with
    whom, and what people and the machine confuse.
    """
    with translate_errors(context), closing(image_store):
        start, end = week_of(context)
        score_archive = models.archive(models.current)
        thresholds = data_checks.thresholds.labels
        found, tables = collect_labels(start, end, imaging_database, score_archive, thresholds)
        people = People(settings)
        checked = evaluate(data_checks, ASSET, start.date(), people.in_tables(tables), pictures_in(image_store))
        labels = without_left_out(found, checked.verdicts)
        write_labels(score_archive, start.date(), labels)
        page = report_page(data_checks.docs, context.partition_key)
        weeks = read_labels(score_archive, start.date(), thresholds.compared_weeks)
        write_report(page, people.in_labels(weeks), start.date(), thresholds)
    yield dg.MaterializeResult(
        metadata={
            "labels report": page,
            PARTITION_ROWS_KEY: len(labels),
            "people": len({each.label.human for each in labels}),
            "labels left out": sum(each.left_out is not None for each in labels),
            "images labelled again otherwise": len(tables["changed"]),
            "near-duplicate pairs": len(tables["pairs"]),
            **{f"people {name}": value for name, value in trends(tables["people"], "images", "kappa").items()},
            **{f"machine {name}": v for name, v in trends(tables["machine"], "images", "kappa", "agreement").items()},
            **checked.metadata,
        },
        check_results=checked.check_results,
    )
