"""``c4 status`` and ``c4 retry``: the states of images, and failed images tried again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from c4_assets.command.console import console
from c4_assets.command.site import day_of, open_site
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import (
    ImageFailure,
    Progress,
    failures,
    forget_failures,
    newest_days,
    progress_by_day,
    scorer_versions,
)
from resources.records import ImageState
from resources.settings import Settings

SHOWN_DAYS = 30

COUNTS = {
    "inspections": "inspections",
    "listed": "images",
    **{state: state for state in (ImageState.SCORED, ImageState.FAILED, ImageState.WITHHELD, ImageState.PENDING)},
    ImageState.RETRYING: f"of them {ImageState.RETRYING}",
}
"""What :class:`~resources.imaging_database.work.Progress` counts, and the title of each column."""


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    days: Annotated[int | None, typer.Option(help="Only images of the last so many days.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every day of history. A large database counts for minutes.")
    ] = False,
    show_failures: Annotated[
        bool, typer.Option("--failures", help="List the images that are failed or retrying, with the reason.")
    ] = False,
) -> None:
    """Show how many images are in which state, for each scorer version and day of imaging.

    Without an option it shows the 30 newest days on which anything was imaged.
    """
    settings, database, models = open_site()
    current = models.current.version.name
    since = None if everything else _since(database, days)
    versions = sorted({*scorer_versions(database), current}, key=lambda name: (name != current, name))
    progress = {name: progress_by_day(database, name, settings.runs.max_attempts, since) for name in versions}
    failed = {name: failures(database, name, settings.runs.max_attempts) for name in versions}
    if as_json:
        report = {name: _as_json(progress[name], failed[name], name == current) for name in versions}
        typer.echo(json.dumps({"scorer_versions": report}, indent=2))
        return
    for name in versions:
        _print_progress(name, progress[name], name == current)
        if show_failures:
            _print_failures(failed[name], settings.runs.max_attempts)
    _print_hints(progress[current], failed[current], settings, show_failures)
    if not (everything or days) and len(progress[current]) == SHOWN_DAYS:
        console.print(f"These are the {SHOWN_DAYS} newest days; --all counts all of history.")


def _since(database: ImagingDatabase, days: int | None) -> datetime | None:
    return datetime.now(UTC) - timedelta(days=days) if days else newest_days(database, SHOWN_DAYS)


def retry(
    date: Annotated[str | None, typer.Option("--date", help="Only images of this day of imaging (UTC).")] = None,
    plate: Annotated[str | None, typer.Option(help="Only images of this plate.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only images with this text in the reason.")] = None,
) -> None:
    """Give failed images their attempts back and end the waits of others, after what was wrong has been mended."""
    day = day_of("--date", date) if date else None
    _, database, models = open_site()
    versions = [model.version.name for model in models.read()]
    count = sum(forget_failures(database, version, day, plate, reason) for version in versions)
    console.print(f"{count} images are tried again by the next run.")


def _as_json(progress: Sequence[Progress], failed: Sequence[ImageFailure], current: bool) -> dict[str, Any]:
    return {
        "current": current,
        "total": {name: sum(getattr(day, name) for day in progress) for name in COUNTS},
        "days": {day.day.isoformat(): {name: getattr(day, name) for name in COUNTS} for day in progress},
        "failures": [
            {
                **asdict(failure.image),
                "day": failure.day.isoformat(),
                "reason": failure.reason,
                "attempts": failure.attempts,
                "failed_at": failure.failed_at.isoformat(),
                "problem": failure.problem,
                "state": ImageState.FAILED if failure.failed else ImageState.RETRYING,
                "retry_at": failure.retry_at.isoformat() if failure.retry_at else None,
            }
            for failure in failed
        ],
    }


def _print_progress(name: str, progress: Sequence[Progress], current: bool) -> None:
    from rich.table import Table

    table = Table(title=f"{name}{' (current)' if current else ''}", title_justify="left")
    table.add_column("day of imaging")
    for column in COUNTS.values():
        table.add_column(column, justify="right")
    rows = [(str(day.day), day) for day in progress]
    for title, day in rows:
        table.add_row(title, *map(str, _numbers(day)))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", *(str(sum(column)) for column in zip(*(_numbers(day) for day in progress), strict=True)))
    console.print(table)


def _numbers(day: Progress) -> tuple[int, ...]:
    return tuple(getattr(day, name) for name in COUNTS)


def _print_failures(failed: Sequence[ImageFailure], max_attempts: int) -> None:
    from rich.table import Table

    title = f"Images that are {ImageState.FAILED} or {ImageState.RETRYING}"
    table = Table("image", "plate", "well", "attempts", "tried again", "reason", title=title, title_justify="left")
    for each in failed:
        image, attempts = each.image, f"{each.attempts} of {max_attempts}"
        place = f"{image.well}.{image.drop_number}"
        table.add_row(str(image.image_id), image.plate, place, attempts, _tried_again(each), each.reason)
    if failed:
        console.print(table)


def _tried_again(failure: ImageFailure) -> str:
    if failure.retry_at is None:
        return "no" if failure.failed else "by the next run"
    return f"from {failure.retry_at:%Y-%m-%d %H:%M}"


def _print_hints(progress: Sequence[Progress], failed: Sequence[ImageFailure], settings: Settings, shown: bool) -> None:
    oldest = datetime.now(UTC).date() - timedelta(days=settings.runs.window_days)
    outside = sum(day.pending for day in progress if day.day < oldest)
    if outside:
        console.print(
            f"{outside} pending images are older than the sensor's window of {settings.runs.window_days} days: score "
            "them with `c4 run --pending` or a backfill.",
        )
    if failed and not shown:
        console.print(f"{len(failed)} images are failed or retrying: `c4 status --failures` lists them.")
    if any(day.failed or day.retrying for day in progress):
        console.print(
            "When the cause is mended, `c4 retry` has them tried again at once (all, or those of --date, --plate, "
            "--reason)."
        )
    if withheld := sum(day.withheld for day in progress):
        console.print(f"{withheld} images belong to inspections that are withheld: `c4 checks list` says why.")
    if not progress:
        console.print("The imaging database lists no image: `c4 import FOLDER`, or `c4 demo`.")
