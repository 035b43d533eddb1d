"""The job that keeps the Dagster instance from growing for ever, and its schedule."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from c4_assets.runs.executors import EXECUTORS
from c4_assets.runs.jobs import schedule
from c4_assets.runs.pruning import prune
from c4_assets.runs.step_failures import translate_errors
from resources.settings import Settings


@dg.op
def forget_old_runs(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Deletes runs that ended long ago (C4_RUNS_KEEP_DAYS) and that nothing which Dagster shows depends on.

    Thumbnails that were made more than C4_THUMBNAILS_DAYS ago go as well, where that is set.
    """
    before = datetime.now(UTC) - timedelta(days=settings.runs.keep_days)
    with translate_errors(context):
        done = prune(
            context.instance,
            settings,
            before,
            own_run=context.run_id,
            shown=lambda runs, of: context.log.info(f"{runs} of {of} runs are gone"),
        )
    for note in done.notes:
        context.log.warning(note)
    context.add_output_metadata(
        {
            "runs deleted": done.runs,
            "old runs kept": done.old - done.runs,
            "megabytes deleted": round(done.bytes / 1e6, 1),
            "megabytes given back by SQLite": round(done.returned / 1e6, 1),
            "files of thumbnails removed": done.thumbnails.files,
            "megabytes of thumbnails removed": round(done.thumbnails.bytes / 1e6, 1),
            "megabytes of thumbnails left": round(done.thumbnails_left.bytes / 1e6, 1),
        }
    )


prune_runs = dg.JobDefinition(
    graph_def=dg.GraphDefinition("prune_runs", node_defs=[forget_old_runs]),
    executor_def=EXECUTORS["in_process"],
    description="Deletes runs that ended long ago and that nothing needs any more. Runs where the run worker does.",
)


@schedule(prune_runs, "0 3 * * 0")
def weekly_pruning() -> dg.RunRequest:
    """In the night to Sunday, deletes runs that Dagster need not keep any longer."""
    return dg.RunRequest()
