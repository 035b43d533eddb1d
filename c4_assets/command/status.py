"""``c4 status`` and ``c4 retry``: the states of images, and failed images tried again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from c4_assets.command.console import console
from c4_assets.command.site import day_of, open_site, open_site_to_read
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.odd_rows import Undated, undated
from resources.imaging_database.work import (
    ImageFailure,
    Progress,
    count_failures,
    failures,
    forget_failures,
    newest_days,
    progress_by_day,
    scorer_versions,
)
from resources.records import ImageState
from resources.settings import Settings
from resources.wording import counted

SHOWN_DAYS = 30

LISTED_FAILURES = 100

COUNTS = {
    "inspections": "inspections",
    "listed": "images",
    **{state: state for state in (ImageState.SCORED, ImageState.FAILED, ImageState.WITHHELD, ImageState.PENDING)},
    ImageState.RETRYING: f"of them\n{ImageState.RETRYING}",
}
"""What :class:`~resources.imaging_database.work.Progress` counts, and the title of each column."""


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Only images of the last so many days.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every day of history. A large database counts for minutes.")
    ] = False,
    show_failures: Annotated[
        bool, typer.Option("--failures", help="List the images that are failed or retrying, with the reason.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="How many of these are listed, the newest first.")] = LISTED_FAILURES,
) -> None:
    """Show how many images are in which state, for each scorer version and day of imaging.

    Without an option it shows the 30 newest days on which anything was imaged.
    """
    settings, database, models = open_site_to_read()
    active = [model.version.name for model in models.peek()]
    since = None if everything else _since(database, days)
    others = [name for name in scorer_versions(database) if name not in active]
    progress = {name: progress_by_day(database, name, settings.runs.max_attempts, since) for name in (*active, *others)}
    listed = most if show_failures or as_json else 0
    failed = {name: Failed(database, name, settings.runs.max_attempts, listed) for name in active}
    without_time = undated(database)
    if as_json:
        report = {name: _as_json(progress[name], failed.get(name), name == active[0]) for name in progress}
        typer.echo(json.dumps({"scorer_versions": report, "undated": asdict(without_time)}, indent=2))
        return
    for name in active:
        _print_progress(name, progress[name], name == active[0])
        if show_failures:
            _print_failures(failed[name], settings.runs.max_attempts)
    for name in others:
        scored = sum(day.scored for day in progress[name])
        console.print(f"{name}: {scored:,} images scored on these days. No active model is of this scorer version.")
    _print_hints(progress[active[0]], failed[active[0]], settings, show_failures)
    _print_undated(without_time)
    if not (everything or days) and len(progress[active[0]]) == SHOWN_DAYS:
        console.print(f"These are the {SHOWN_DAYS} newest days; --all counts all of history.")


class Failed:
    """The failed and retrying images of a scorer version: how many there are, and the newest ones."""

    def __init__(self, database: ImagingDatabase, scorer_version: str, max_attempts: int, most: int) -> None:
        self.count = count_failures(database, scorer_version)
        self.newest = failures(database, scorer_version, max_attempts, most=most) if most else []


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
    console.print(f"Tried again by the next run: {counted(count, 'image')}.")


def _as_json(progress: Sequence[Progress], failed: Failed | None, current: bool) -> dict[str, Any]:
    """Of a scorer version that no active model has, nothing is pending: nobody asks for it."""
    active = failed is not None

    def counts(days: Sequence[Progress]) -> dict[str, int]:
        asked = COUNTS if active else COUNTS.keys() - {ImageState.PENDING, ImageState.RETRYING}
        return {name: sum(getattr(day, name) for day in days) if name in asked else 0 for name in COUNTS}

    return {
        "current": current,
        "active": active,
        "total": counts(progress),
        "days": {day.day.isoformat(): counts([day]) for day in progress},
        "failures_in_all": failed.count if failed else 0,
        "failures": [_failure_as_json(failure) for failure in (failed.newest if failed else ())],
    }


def _failure_as_json(failure: ImageFailure) -> dict[str, Any]:
    return {
        **asdict(failure.image),
        "day": failure.day and failure.day.isoformat(),
        "reason": failure.reason,
        "attempts": failure.attempts,
        "failed_at": failure.failed_at.isoformat(),
        "problem": failure.problem,
        "state": ImageState.FAILED if failure.failed else ImageState.RETRYING,
        "retry_at": failure.retry_at.isoformat() if failure.retry_at else None,
    }


def _print_progress(name: str, progress: Sequence[Progress], current: bool) -> None:
    from rich.table import Table

    # No lines between the columns: they would not fit into the 80 columns of a terminal.
    table = Table(title=f"{name}{' (current)' if current else ''}", title_justify="left", box=None, padding=(0, 1))
    table.add_column("day")
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


def _print_failures(failed: Failed, max_attempts: int) -> None:
    from rich.table import Table

    title = f"Images that are {ImageState.FAILED} or {ImageState.RETRYING}"
    table = Table(title=title, title_justify="left")
    for heading in ("image", "plate", "well", "attempts", "tried again", "reason"):
        table.add_column(heading, overflow="fold")
    for each in failed.newest:
        image, attempts = each.image, f"{each.attempts} of {max_attempts}"
        place = f"{image.well}.{image.drop_number}"
        table.add_row(str(image.image_id), image.plate, place, attempts, _tried_again(each), each.reason)
    if failed.newest:
        console.print(table)
    if failed.count > len(failed.newest):
        console.print(f"These are the newest {len(failed.newest):,} of {failed.count:,}: --most lists more.")


def _tried_again(failure: ImageFailure) -> str:
    if failure.retry_at is None:
        return "no" if failure.failed else "by the next run"
    return f"from {failure.retry_at:%Y-%m-%d %H:%M}"


def _print_hints(progress: Sequence[Progress], failed: Failed, settings: Settings, shown: bool) -> None:
    oldest = datetime.now(UTC).date() - timedelta(days=settings.runs.window_days)
    outside = sum(day.pending for day in progress if day.day < oldest)
    if outside:
        console.print(
            f"{outside} pending images are older than the sensor's window of {settings.runs.window_days} days: score "
            "them with `c4 run --pending` or a backfill.",
        )
    if failed.count and not shown:
        console.print(f"{failed.count:,} images are failed or retrying: `c4 status --failures` lists them.")
    if any(day.failed or day.retrying for day in progress):
        console.print(
            "When the cause is mended, `c4 retry` has them tried again at once (all, or those of --date, --plate, "
            "--reason)."
        )
    if withheld := sum(day.withheld for day in progress):
        console.print(f"{withheld} images belong to inspections that are withheld: `c4 checks list` says why.")
    if not progress:
        console.print("The imaging database lists no image: `c4 import FOLDER`, or `c4 demo`.")


def _print_undated(found: Undated) -> None:
    if found.images:
        console.print(f"Undated, and so on no day: {found}. Nobody asks for these images until imaged_at is corrected.")
