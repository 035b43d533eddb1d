"""``c4 prune``: does what the scheduled job ``prune_runs`` does, now and with other limits."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from c4_assets.command.console import console, progress
from c4_assets.deployment_home import dagster_instance
from resources.settings import Settings


def prune(
    days: Annotated[
        int | None, typer.Option(min=1, help="Keep the runs of so many days instead of C4_RUNS_KEEP_DAYS.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete old runs from Dagster that nothing needs any more. No partition loses what it shows.

    Thumbnails go that were made more than C4_THUMBNAILS_DAYS ago, where that is set.
    """
    from c4_assets.runs.pruning import prune as prune_instance

    settings = Settings.from_environment()
    kept = days or settings.runs.keep_days
    before = datetime.now(UTC) - timedelta(days=kept)
    with dagster_instance(settings) as instance, progress() as bar:
        task = bar.add_task("counting runs" if dry_run else "deleting runs", total=0)
        done = prune_instance(
            instance, settings, before, dry_run, shown=lambda runs, of: bar.update(task, completed=runs, total=of)
        )
    console.print(
        f"{done.runs} of {done.old} runs that ended more than {kept} days ago {'would go' if dry_run else 'are gone'}, "
        f"about {done.bytes / 1e6:,.1f} MB. The others are a partition's newest, or of a backfill that is not over."
    )
    if done.returned:
        console.print(f"SQLite's files are {done.returned / 1e6:,.0f} MB shorter.")
    left = done.thumbnails_left
    console.print(f"Thumbnails of {left.files} inspections take {left.bytes / 1e9:,.2f} GB in {settings.thumbnails}.")
    if settings.thumbnails_days:
        console.print(
            f"Those of {done.thumbnails.files}, made more than {settings.thumbnails_days} days ago, "
            f"{'would go' if dry_run else 'are gone'}: {done.thumbnails.bytes / 1e6:,.1f} MB."
        )
    for note in done.notes:
        console.print(note)
