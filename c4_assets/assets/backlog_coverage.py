"""Count once a day how far history is scored, so that Dagster plots it over time."""

import base64
from functools import partial
from typing import Any

import dagster as dg

from c4_assets.assets.db_scores import db_scores
from c4_assets.backlog.coverage import by_year
from c4_assets.backlog.report import COUNTS, Report, report
from c4_assets.models.active import ActiveModels
from c4_assets.pictures.backlog_page import describe_backfill, share
from c4_assets.pictures.backlog_plots import heat_map, rate_plot
from c4_assets.runs.backfills import backfills
from c4_assets.runs.freshness import POLICIES
from c4_assets.runs.metadata import DAYS_LEFT_KEY, FACILITY, GROUP, PER_CENT_DONE_KEY, scorer_version_metadata
from c4_assets.runs.observed import observe
from c4_assets.runs.step_failures import CPU_RETRIES, translate_errors
from resources.archive.staging import Staging
from resources.executors.step_resources import StepResources
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings


@dg.asset(
    deps=[db_scores],
    pool="imaging_database",
    group_name=GROUP,
    kinds={"sql"},
    owners=[FACILITY],
    op_tags=StepResources(where="here").as_tag(),
    retry_policy=CPU_RETRIES,
    freshness_policy=POLICIES["backlog_coverage"],
)
def backlog_coverage(
    context: dg.AssetExecutionContext,
    imaging_database: dg.ResourceParam[ImagingDatabase],
    staging: dg.ResourceParam[Staging],
    models: dg.ResourceParam[ActiveModels],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[Any]:
    """How much of history is scored, by month, how fast it goes on and what limits it: what `c4 backlog` prints."""

    def counted(done: int, pieces: int) -> None:
        context.log.info(f"counted {done} of {pieces} pieces of history")

    with translate_errors(context):
        known = backfills(context.instance)
        look = partial(observe, context.instance, settings, staging, known)
        found = report(settings, imaging_database, models.current.version.name, known, look, counted=counted)
    return dg.MaterializeResult(metadata=_coverage_metadata(found))


def _coverage_metadata(found: Report) -> dict[str, float | dg.MetadataValue]:
    left = found.end and (found.end - found.counted_at).total_seconds() / 86_400
    return {
        "months": _picture("share of each month that is done", heat_map(found.months)),
        "scores of the last day": _picture("scores of each hour", rate_plot(found.throughput.hours)),
        "years": dg.MetadataValue.md(_table(found)),
        "limit": dg.MetadataValue.text(f"{found.limit.name}: {found.limit.why}"),
        "backfills": dg.MetadataValue.md(
            "\n".join(f"- {describe_backfill(each)}" for each in found.backfills) or "None."
        ),
        **{f"images {name}": getattr(found.total, name) for name in COUNTS},
        "images pending outside the partitions": found.pending_outside_partitions,
        PER_CENT_DONE_KEY: round(100 * found.total.done, 3),
        "scores of the last hour": found.throughput.last_hour,
        "scores a second over the last day": round(found.throughput.last_day / 86_400, 3),
        **({} if left is None else {DAYS_LEFT_KEY: round(left, 2)}),
        **scorer_version_metadata(found.scorer_version),
    }


def _picture(what: str, png: bytes) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"![{what}](data:image/png;base64,{base64.b64encode(png).decode()})")


def _table(found: Report) -> str:
    lines = [f"| year | {' | '.join(COUNTS)} | done |", "| --- |" + " --- |" * (len(COUNTS) + 1)]
    for year in (*by_year(found.months), found.total):
        counts = " | ".join(f"{getattr(year, name):,}" for name in COUNTS)
        lines.append(f"| {year.year or 'all'} | {counts} | {share(year)} |")
    return "\n".join(lines)
