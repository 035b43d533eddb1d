"""``c4 checks``: what is checked, what is withheld, and how to let it go on."""

import getpass
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.console import console, errors, progress
from c4_assets.command.site import day_of, open_site, open_site_to_read
from c4_assets.models.classifier import Classifier
from c4_assets.models.scorer_version import ScorerVersion
from resources.archive.score_archive import ScoreArchive
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.models import known_versions
from resources.imaging_database.read_back import stored_scores
from resources.imaging_database.withheld import Withheld, forget_withheld, inspection_day, withheld_inspections
from resources.imaging_database.withheld import release as release_inspection
from resources.settings import Settings
from resources.wording import counted

if TYPE_CHECKING:
    from c4_assets.checks.check import Verdict

app = typer.Typer(help="Data quality: what is checked, and inspections that are withheld.", no_args_is_help=True)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    released: Annotated[bool, typer.Option("--released", help="Also inspections that were released.")] = False,
) -> None:
    """List the checks, and the inspections whose scores are withheld from the database, with the reason."""
    from c4_assets.checks.catalogue import CHECKS, severity_of

    _, database, models = open_site_to_read()
    scorer_version = models.peek()[0].version.name
    withheld = withheld_inspections(database, scorer_version, released)
    if as_json:
        checks = [{"name": c.name, "asset": c.asset, "severity": c.severity, "stops": c.stops} for c in CHECKS]
        held = [{**asdict(each), "remedy": _remedy(each.check)} for each in withheld]
        typer.echo(
            json.dumps({"scorer_version": scorer_version, "checks": checks, "withheld": held}, indent=2, default=str)
        )
        return
    from rich.table import Table

    table = Table("check", "asset", "what holds, and what a failure does", title="Checks", title_justify="left")
    for check in CHECKS:
        table.add_row(check.name, check.asset, f"{check.holds} {severity_of(check)}")
    console.print(table)
    _print_withheld(withheld)


def _print_withheld(withheld: Sequence[Withheld]) -> None:
    from rich.table import Table

    if not withheld:
        console.print("No inspection is withheld.")
        return
    table = Table("inspection", "plate", "day", "images", "check", "why, and what to do", title="Withheld")
    for each in withheld:
        what = f"{each.reason} To do: {_remedy(each.check)}"
        if each.released_at:
            what = f"Released by {each.released_by} on {each.released_at:%Y-%m-%d}: {each.release_reason}"
        table.add_row(
            str(each.inspection_id), each.plate, str(each.day or "undated"), str(each.images), each.check, what
        )
    console.print(table)
    console.print("Score again with `c4 checks rescore`, or let the scores go with `c4 checks release`.")


def _remedy(name: str) -> str:
    from c4_assets.checks.catalogue import CHECKS

    return next((check.remedy for check in CHECKS if check.name == name), "this check is made no longer: release it.")


@app.command()
def run(
    day: Annotated[str | None, typer.Option("--date", help="A day of imaging (UTC).")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="The labels of a week of human scoring.")] = False,
    week: Annotated[str | None, typer.Option(help="A day of that week; by default today.")] = None,
) -> None:
    """Judge a day's data or a week's labels as they are now. Nothing is scored, withheld or released."""
    if labels == bool(day) or (week and not labels):
        raise ConfigurationError("Say what to judge: --date 2026-03-31, or --labels (--week 2026-03-31).")
    settings, database, models = open_site()
    current = models.current
    archive = models.archive(current)
    if day:
        verdicts = _judge_day(day_of("--date", day), settings, database, archive, current)
    else:
        verdicts = _judge_labels(
            day_of("--week", week) if week else datetime.now(UTC).date(), settings, database, archive
        )
    _print_verdicts(verdicts)
    if any(not verdict.passed and verdict.check.severity == "blocking" for verdict in verdicts):
        raise typer.Exit(1)


def _judge_day(
    day: date, settings: Settings, database: ImagingDatabase, archive: ScoreArchive, current: Classifier
) -> "list[Verdict]":
    from c4_assets.checks.data_docs import write_pages
    from c4_assets.checks.day import judge_tables, tables_of_day
    from resources.archive.staging import Staging

    thresholds = settings.checks
    with errors.status(f"judging {day}"):
        staging = Staging(settings.staging)
        tables = tables_of_day(day, database, staging, archive, current, thresholds)
        judged = judge_tables(tables, thresholds)
        pages = [
            page
            for asset, of_asset in judged.items()
            for page in write_pages(settings.data_docs, asset, day, tables[asset], of_asset).values()
        ]
    _print_pages(pages)
    return [verdict for of_asset in judged.values() for verdict in of_asset.verdicts]


def _judge_labels(day: date, settings: Settings, database: ImagingDatabase, archive: ScoreArchive) -> "list[Verdict]":
    from c4_assets.checks.catalogue import checks_of
    from c4_assets.checks.data_docs import write_pages
    from c4_assets.checks.expectations import judge
    from c4_assets.checks.labels import ASSET
    from c4_assets.labels.collect import collect_labels, without_left_out
    from c4_assets.labels.people import People
    from c4_assets.labels.report import report_page, write_report
    from resources.archive.label_archive import read_labels

    thresholds = settings.checks
    monday = day - timedelta(days=day.weekday())
    start = datetime.combine(monday, datetime.min.time(), UTC)
    with errors.status(f"judging the labels of the week of {monday}"):
        found, tables = collect_labels(start, start + timedelta(weeks=1), database, archive, thresholds.labels)
        people = People(settings)
        tables = people.in_tables(tables)
        judged = judge(checks_of(ASSET), tables, thresholds)
        pages = write_pages(settings.data_docs, ASSET, monday, tables, judged)
        weeks = read_labels(archive, monday, thresholds.labels.compared_weeks)
        page = report_page(settings.data_docs, monday.isoformat())
        weeks = people.in_labels({**weeks, monday: without_left_out(found, judged.verdicts)})
        write_report(page, weeks, monday, thresholds.labels)
    _print_pages([page, *pages.values()])
    return list(judged.verdicts)


def _print_pages(pages: Sequence[Path]) -> None:
    for page in pages:
        console.print(f"Written: {page}", soft_wrap=True)


def _print_verdicts(verdicts: "Sequence[Verdict]") -> None:
    from rich.table import Table

    table = Table("check", "asset", "severity", "result", "what was found")
    for verdict in verdicts:
        check, result = verdict.check, "passed" if verdict.passed else "FAILED"
        style = None if verdict.passed else "bold red" if check.severity == "blocking" else "yellow"
        table.add_row(check.name, check.asset, check.severity, result, verdict.sentence, style=style)
    console.print(table)


@app.command()
def release(
    inspection: Annotated[int, typer.Argument(help="Number of the inspection, as `c4 checks list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why its scores may be trusted; kept with it.")],
    by: Annotated[str | None, typer.Option(help="Who decides; by default who is logged in.")] = None,
) -> None:
    """Let a withheld inspection's scores into the database. The next run of its day writes them."""
    _, database, models = open_site()
    scorer_version = models.current.version.name
    names = release_inspection(database, scorer_version, inspection, by or getpass.getuser(), reason)
    day = inspection_day(database, inspection)
    console.print(
        f"Inspection {inspection} is released from {', '.join(names)}. The next run of {day} writes its scores and "
        f"classifies nothing again: `c4 run --date {day}`, or the sensor."
    )


@app.command()
def rescore(
    inspection: Annotated[int | None, typer.Argument(help="Number of the inspection.")] = None,
    day: Annotated[str | None, typer.Option("--date", help="All inspections of a day of imaging (UTC).")] = None,
) -> None:
    """Forget what was classified but never reached the database, so that the next run scores it anew."""
    if (inspection is None) == (day is None):
        raise ConfigurationError("Say what to score anew: an inspection's number, or --date 2026-03-31.")
    _, database, models = open_site()
    imaged = day_of("--date", day) if day else inspection_day(database, inspection or 0)
    chosen = [i for i in inspections_of_day(database, imaged) if inspection in (None, i.inspection_id)]
    forgotten: set[int] = set()
    versions = [ScorerVersion.from_row(row) for row in known_versions(database)]
    for archive in map(models.archive, models.read()):
        image_ids = {image.image_id for each in chosen for image in each.images}
        # What is in the database stays in the archive: its probabilities are kept for ever.
        for version in versions:
            if version.model_version == archive.model_version:
                image_ids -= {score.image_id for score in stored_scores(database, version.name, image_ids)}
        forgotten |= image_ids if archive.forget(imaged, image_ids) else set()
        for each in chosen:
            forget_withheld(database, archive.scorer_version, each.inspection_id)
    console.print(f"The next run of {imaged} scores {counted(len(forgotten), 'image')} anew: `c4 run --date {imaged}`.")


@app.command()
def files(
    day: Annotated[str, typer.Option("--date", help="A day of imaging (UTC).")],
    rescore_changed: Annotated[
        bool, typer.Option("--rescore", help="Have images scored anew whose file is another one.")
    ] = False,
) -> None:
    """Read a day's scored images again and say which are not the files that were scored."""
    from c4_assets.checks.files import changed_files
    from resources.image_store import open_image_store
    from resources.imaging_database.superseded import retire_scores

    settings, database, _ = open_site()
    imaged = day_of("--date", day)
    with progress() as bar, closing(open_image_store(settings.store.url, settings.ssh)) as store:
        task = bar.add_task("comparing files", total=None)
        changed = list(changed_files(imaged, database, store, lambda images: bar.advance(task, images)))
    for each in changed:
        place = f"{each.image.plate} {each.image.well}.{each.image.drop_number} ({each.image.path})"
        console.print(f"{place}: {each.error or 'another file than the one that was scored'}", soft_wrap=True)
    others = [each.image.image_id for each in changed if each.error is None]
    if others and rescore_changed:
        retire_scores(database, others)
        console.print(
            f"The next run of {imaged} scores {counted(len(others), 'image')} anew: `c4 run --date {imaged}`."
        )
    elif others:
        console.print(f"Of another file: {counted(len(others), 'image')}. `c4 checks files --date {imaged} --rescore`.")
    if not changed:
        console.print(f"Every scored image of {imaged} has the file that was scored.")
    elif not rescore_changed:
        raise typer.Exit(1)
