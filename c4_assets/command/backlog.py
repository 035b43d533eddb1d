"""``c4 backlog``: how far history is scored, what limits it, and the backfills that score it."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.backlog.coverage import Coverage, Throughput, by_year
from c4_assets.backlog.limits import NO_RUN_WORKS
from c4_assets.backlog.report import COUNTS, Report, report
from c4_assets.command.console import console, errors, progress
from c4_assets.command.site import day_of, open_site_to_read
from c4_assets.deployment_home import dagster_instance, dagster_instance_to_read, ready
from c4_assets.models.active import ActiveModels
from c4_assets.pictures.backlog_page import describe_backfill, share, write_page
from resources.archive.staging import Staging
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.throughput import scores_by_hour
from resources.imaging_database.work import day_bounds, pending_by_day
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

app = typer.Typer(help="Score all of history: how far it is, and the backfills that do it.")

From = Annotated[str | None, typer.Option("--from", help="The first day of imaging (UTC).")]
To = Annotated[str | None, typer.Option("--to", help="The last day of imaging (UTC).")]


@app.callback(invoke_without_command=True)
def backlog(
    context: typer.Context,
    since: From = None,
    until: To = None,
    months: Annotated[bool, typer.Option("--months", help="A row a month.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with a heat map of the months.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show how many images of history are scored, how fast it goes on, when it ends, and what limits it now.

    A database with fifty million images counts for minutes; --from and --to count less of it.
    """
    if context.invoked_subcommand:
        return
    counted = _count(day_of("--from", since) if since else None, day_of("--to", until) if until else None)
    if html:
        write_page(counted, html)
    if as_json:
        typer.echo(json.dumps(counted.as_json(), indent=2))
        return
    _print_coverage(counted, months)
    _print_state(counted)
    if html:
        console.print(f"Written: {html}", soft_wrap=True)


def _count(since: date | None, until: date | None) -> Report:
    from c4_assets.runs.backfills import backfills
    from c4_assets.runs.observed import observe

    settings, database, models = open_site_to_read()
    scorer_version = models.peek()[0].version.name
    staging = Staging(settings.staging)
    with dagster_instance_to_read(settings) as instance, progress() as bar:
        task = bar.add_task("counting", total=None)

        def counted(done: int, pieces: int) -> None:
            bar.update(task, completed=done, total=pieces)

        known = backfills(instance)
        seen = partial(observe, instance, settings, staging, known)
        return report(settings, database, scorer_version, known, seen, since, until, counted)


def _current_version(settings: Settings) -> tuple[ImagingDatabase, str]:
    database = ready(settings)
    return database, ActiveModels(settings, database).current.version.name


def _print_coverage(counted: Report, months: bool) -> None:
    from rich.table import Table

    table = Table(title=f"Backlog of {counted.scorer_version}", title_justify="left")
    table.add_column("year" if not months else "month")
    for column in ("images", *COUNTS[1:], "done"):
        table.add_column(column, justify="right")
    if not months:
        table.add_column("Jan to Dec")
    for row in counted.months if months else by_year(counted.months):
        name = f"{row.year}-{row.month:02}" if months else str(row.year)
        table.add_row(name, *_numbers(row), *([] if months else [_strip(counted.months, row.year)]))
    table.add_section()
    table.add_row("all", *_numbers(counted.total))
    console.print(table)


def _numbers(row: Coverage) -> tuple[str, ...]:
    return (*(f"{getattr(row, name):,}" for name in COUNTS), share(row))


def _strip(months: Sequence[Coverage], year: int) -> str:
    """The months of a year as a bar each: full where nothing is pending, a dot where nothing was imaged."""
    found = {month.month: month for month in months if month.year == year}
    return "".join(_bar(found.get(number)) for number in range(1, 13))


def _bar(month: Coverage | None) -> str:
    if month is None:
        return "·"
    return "█" if not month.pending else "▁▂▃▄▅▆▇"[min(6, int(7 * month.done))]


def _print_state(counted: Report) -> None:
    console.print(counted.throughput.describe())
    if counted.observed.pending:
        console.print(f"Expected end: {_expected_end(counted)}.")
    for each in counted.backfills:
        console.print(describe_backfill(each), soft_wrap=True)
    observed = counted.observed
    if observed.backfills:
        limit = f" of at most {observed.share}" if observed.share is not None else ""
        console.print(f"Runs of backfills: {observed.runs_started}{limit} started, {observed.runs_queued} queued.")
    console.print(f"What limits it now: {counted.limit.name}. {counted.limit.why}", soft_wrap=True)
    if counted.pending_outside_partitions:
        console.print(
            f"{counted.pending_outside_partitions:,} pending images lie before C4_RUNS_START_DATE or in the "
            "future, where no run reaches: set an earlier one, or correct the inspections.",
            soft_wrap=True,
        )


def _expected_end(counted: Report) -> str:
    if counted.limit.name in NO_RUN_WORKS:
        return "none, as no run works on the backlog"
    if counted.end is None:
        return "unknown, as nothing was scored of late"
    return f"{counted.end:%Y-%m-%d %H:%M} UTC, if it goes on like this"


@app.command()
def start(
    since: Annotated[str, typer.Option("--from", help="The first day of imaging (UTC).")],
    until: Annotated[str, typer.Option("--to", help="The last day of imaging (UTC).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be started, and start nothing.")] = False,
) -> None:
    """Start a backfill over the days of a span that have pending images."""
    from c4_assets.runs.backfills import days_a_run, refuse_where_running, runs_of
    from c4_assets.runs.backfills import start as start_backfill
    from c4_assets.runs.own_runs import STARTED_BY_TAG

    settings = Settings.from_environment()
    first, last = day_of("--from", since), day_of("--to", until)
    _check_span(first, last, settings)
    with dagster_instance(settings) as instance:
        pending = _pending(settings, first, last)
        if not pending:
            raise ConfigurationError(
                f"Nothing is pending from {first} to {last}: every image is scored, failed or withheld."
            )
        refuse_where_running(instance, pending)
        runs = runs_of(pending, days_a_run())
        what = f"{len(pending):,} days, {sum(pending.values()):,} images, {runs:,} runs of up to {days_a_run()} days"
        if dry_run:
            console.print(f"Would be started: {what}. {_expected(settings, pending)}", soft_wrap=True)
            return
        number = start_backfill(instance, pending, {STARTED_BY_TAG: "c4 backlog start"})
        console.print(f"Started backfill {number}: {what}. {_expected(settings, pending)}", soft_wrap=True)
        _say_where_the_daemon_is_missing(instance)


def _check_span(first: date, last: date, settings: Settings) -> None:
    if last < first:
        raise ConfigurationError(f"--from {first} lies after --to {last}: exchange them.")
    if first < settings.runs.start_date:
        raise ConfigurationError(
            f"--from {first} lies before C4_RUNS_START_DATE ({settings.runs.start_date}), where there are no "
            "partitions: begin then, or set an earlier C4_RUNS_START_DATE and restart the services."
        )
    if last > datetime.now(UTC).date():
        raise ConfigurationError(f"--to {last} lies in the future, where there are no partitions yet: end today.")


def _pending(settings: Settings, first: date, last: date) -> dict[date, int]:
    span = day_bounds(first)[0], day_bounds(last)[1]
    with errors.status("asking which days have pending images"):
        return pending_by_day(*_current_version(settings), settings.runs.max_attempts, *span)


def _expected(settings: Settings, pending: dict[date, int]) -> str:
    now = datetime.now(UTC)
    throughput = Throughput(scores_by_hour(*_current_version(settings), now))
    if end := throughput.end(sum(pending.values()), now):
        return f"Expected end, at the {throughput.per_second:.1f} images a second of late: {end:%Y-%m-%d %H:%M} UTC."
    return "When it ends `c4 backlog` tells once it runs: nothing was scored in the last day."


def _say_where_the_daemon_is_missing(instance: "dg.DagsterInstance") -> None:
    from c4_assets.backlog.limits import MAX_DAEMON_SILENCE
    from c4_assets.runs.observed import daemon_silent

    silent = daemon_silent(instance, datetime.now(UTC))
    if silent is None or silent > MAX_DAEMON_SILENCE:
        console.print("Dagster's daemon is not running, and it does the work: start `c4 ui`, or the service.")


@app.command()
def pause() -> None:
    """Pause the running backfills: their runs end, what is finished stays, and the rest can be resumed."""
    from c4_assets.runs.backfills import pause as pause_backfills

    with dagster_instance(Settings.from_environment()) as instance, errors.status("pausing"):
        paused = pause_backfills(instance)
        for each in paused:
            console.print(
                f"Paused backfill {each.backfill_id}, {len(each.days):,} days ({each.span}). Its runs are ending; the "
                "inspections that they have finished stay. `c4 backlog resume` goes on.",
                soft_wrap=True,
            )
        if paused:
            _say_where_the_daemon_is_missing(instance)
        else:
            console.print("No backfill is running: there is nothing to pause.")


@app.command()
def resume() -> None:
    """Go on with the paused backfills, over what is still pending of their days."""
    from c4_assets.runs.backfills import backfills
    from c4_assets.runs.backfills import resume as resume_backfill

    settings = Settings.from_environment()
    with dagster_instance(settings) as instance:
        known = backfills(instance)
        paused = [each for each in known if each.state == "paused"]
        pausing = [each for each in known if each.state == "pausing"]
        taken = {day for each in known if each.state == "running" for day in each.days}
        for each in paused:
            free = {day: n for day, n in _pending(settings, min(each.days), max(each.days)).items() if day not in taken}
            number = resume_backfill(instance, each, free)
            taken |= each.days
            left = each.days & free.keys()
            what = f"{len(left):,} of {len(each.days):,} days, {sum(free[day] for day in left):,} pending images"
            resumed = f"Resumed as {number}: {what}." if number else "Nothing is left of it for a new one: it is over."
            console.print(f"Backfill {each.backfill_id}: {resumed}", soft_wrap=True)
        for each in pausing:
            console.print(f"Backfill {each.backfill_id}: its runs are still ending; resume it in a minute.")
        if not paused and not pausing:
            console.print("No backfill is paused: there is nothing to resume.")
            return
        _say_where_the_daemon_is_missing(instance)
        if not paused:
            raise typer.Exit(1)
