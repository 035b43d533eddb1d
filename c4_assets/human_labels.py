"""A week's human scores as labels: kept as they were, checked before Ashes or a training set makes use of them."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from c4_assets.checks.catalogue import specs_of
from c4_assets.checks.check import Tables, Verdict
from c4_assets.checks.labels import ASSET, label_tables
from c4_assets.checks.labels_report import write_report
from c4_assets.checks.results import DataChecks, trends
from c4_assets.checks.thresholds import Labels
from c4_assets.db_scores import db_scores
from c4_assets.operator_errors import told_to_the_operator
from c4_assets.partitions import WEEKS, week_of
from c4_assets.shared import CPU_RETRIES, FACILITY, GROUP, SCORER, column_schema
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.labels import human_labels as labels_of
from resources.imaging_database.work import scorer_versions
from resources.label_archive import ArchivedLabel, read_labels, write_labels
from resources.score_archive import ScoreArchive
from resources.step_resources import StepResources


def collect_labels(
    start: datetime, end: datetime, database: ImagingDatabase, archive: ScoreArchive, thresholds: Labels
) -> tuple[list[ArchivedLabel], Tables]:
    """The labels that were given in a week, with their images' perceptual hashes, and what checks judge of them.

    Raises:
        Unavailable: the database does not answer.
    """
    found = labels_of(database, archive.scorer, start, end)
    hashes = {day: archive.fingerprints(day) for day in {label.imaged_at.date() for label in found}}
    labels = [ArchivedLabel(label, hashes[label.imaged_at.date()].get(label.image_id), None) for label in found]
    before = read_labels(archive, start.date() - timedelta(weeks=1), thresholds.compared_weeks)
    earlier = [each for week in before.values() for each in week]
    return labels, label_tables(labels, earlier, thresholds, scorer_versions(database))


def without_left_out(labels: list[ArchivedLabel], verdicts: tuple[Verdict, ...]) -> list[ArchivedLabel]:
    """Marks the labels that fail a blocking check with its name."""
    failed = {
        row["score_id"]: verdict.check.name
        for verdict in verdicts
        if verdict.check.stops == "label"
        for row in verdict.rows
    }
    return [replace(each, left_out=failed.get(each.label.score_id)) for each in labels]


def report_page(docs: Path, week: str) -> Path:
    """Where the labels report of a week is written."""
    return docs / ASSET / f"{week} labels report.html"


@dg.asset(
    partitions_def=WEEKS,
    deps=["human_scores", dg.AssetDep(db_scores, partition_mapping=dg.AllPartitionMapping())],
    group_name=GROUP,
    kinds={"parquet"},
    owners=[FACILITY],
    op_tags=StepResources(where="here").as_tag(),
    code_version=SCORER.name,
    retry_policy=CPU_RETRIES,
    metadata=column_schema(
        image_id="int64",
        inspection_id="int64",
        plate="string",
        imaged_at="timestamp[us, UTC]",
        well="string",
        drop_number="int32",
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
    score_archive: dg.ResourceParam[ScoreArchive],
    data_checks: dg.ResourceParam[DataChecks],
) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument] - Dagster knows it bare alone
    """Every score that a person gave in the week: all of them, with the check that leaves one out where one does.

    Ashes and training sets leave out the labels that fail a blocking check. The labels report shows who agrees with
    whom, and what people and the machine confuse.
    """
    with told_to_the_operator():
        start, end = week_of(context)
        thresholds = data_checks.thresholds.labels
        found, tables = collect_labels(start, end, imaging_database, score_archive, thresholds)
        checked = data_checks.evaluate(ASSET, context.partition_key, tables, image_store)
        labels = without_left_out(found, checked.verdicts)
        write_labels(score_archive, start.date(), labels)
        page = report_page(data_checks.docs, context.partition_key)
        write_report(
            page, read_labels(score_archive, start.date(), thresholds.compared_weeks), start.date(), thresholds
        )
    return dg.MaterializeResult(
        metadata={
            "labels report": dg.MetadataValue.path(page),
            "dagster/partition_row_count": len(labels),
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
