"""``c4 score``: image files to scores, without a database."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from c4_assets.command.console import console, errors, progress
from c4_assets.command.model import models_at_hand
from c4_assets.importing.names import NamedImage, from_names
from c4_assets.importing.patterns import NamePattern, patterns_of
from c4_assets.models.active import model_without_database
from c4_assets.models.classifier import Classifier
from c4_assets.scoring.image_files import ImageFile, is_utf8, readable, summary
from c4_assets.scoring.kept_scores import KeptScores, keeping_scores
from c4_assets.scoring.score_files import (
    OUTPUT_FORMATS,
    FileScore,
    FilesToScore,
    common_folder,
    files_of,
    ranked,
    score_files,
    write_scores,
)
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.settings.checks import ExposureThresholds

STOPPED = 130
"""The status of a command that Ctrl-C has ended, as shells have it."""


def score(
    paths: Annotated[list[Path], typer.Argument(help="Image files, and folders and zip or tar archives of them.")],
    out: Annotated[Path, typer.Option(help="Where the scores go: a .csv, .parquet or .json file.")] = Path(
        "scores.csv"
    ),
    html: Annotated[
        bool, typer.Option("--html", help="Also write a contact sheet as a page beside the scores.")
    ] = False,
) -> None:
    """Score image files, ranked by the probability of crystals. No database is needed.

    Stopped and started again with the same --out, it goes on where it was.
    """
    if out.suffix not in OUTPUT_FORMATS:  # said before the work, not after it
        raise ConfigurationError(f"--out {readable(out)} must end in {', '.join(OUTPUT_FORMATS)}.")
    found = files_of(paths)
    settings = Settings.from_environment()
    patterns = patterns_of(settings.importing.patterns)  # said before the work as well
    classifier = model_without_database(settings)
    models_at_hand(settings, [classifier])
    with keeping_scores(out, classifier.version.name) as kept:
        try:
            rows = _scored(found, kept, classifier, settings.checks.exposure)
        except KeyboardInterrupt:
            errors.print(f"Stopped. What is scored is in {readable(kept.place)}: the same command goes on from there.")
            raise typer.Exit(STOPPED) from None
        names = _names(found, patterns)
        rows = [_named(row, names.get(row.path)) for row in rows]
        write_scores(rows, out)
    if html:
        from c4_assets.pictures.score_page import write_page

        title = ", ".join(readable(path.name or path.resolve()) for path in paths)
        write_page(rows, out.with_suffix(".html"), title, {file.path: file.read for file in found.files})
    _print_likeliest(rows)
    _print_summary(rows, found, f"{readable(out)}" + (f" and {readable(out.with_suffix('.html'))}" if html else ""))
    if all(row.error is not None for row in rows):
        raise typer.Exit(1)


def _scored(
    found: FilesToScore, kept: KeptScores, classifier: Classifier, thresholds: ExposureThresholds
) -> list[FileScore]:
    known = {file.path: row for file in found.files if (row := kept.row_of(file))}
    if known:
        errors.print(f"{len(known)} of {len(found.files)} images were scored before, and are not scored again.")
    rest = [file for file in found.files if file.path not in known]
    with progress() as bar:
        task = bar.add_task("loading MARCO", total=len(rest))
        engine = classifier.engine
        bar.update(task, description="scoring")

        def done(file: ImageFile, row: FileScore) -> None:
            kept.keep(file, row)
            bar.advance(task)

        rows = score_files(rest, engine, classifier.version, thresholds, done)
    return ranked([*known.values(), *rows])


def _names(found: FilesToScore, patterns: Sequence[NamePattern]) -> dict[str, NamedImage]:
    """What the names of the files tell, by path."""
    by_place: dict[Path, dict[PurePosixPath, str]] = {}
    for path, (place, below) in found.below.items():
        if is_utf8(below):
            by_place.setdefault(place, {})[below] = path
    return {
        files[image.file]: image
        for place, files in by_place.items()
        for image in from_names(files, str(place.absolute()), patterns).images
    }


def _named(row: FileScore, image: NamedImage | None) -> FileScore:
    if image is None:
        return row
    return replace(row, plate=readable(image.plate), well=image.well, drop=image.drop_number)


def _print_likeliest(rows: Iterable[FileScore], most: int = 10) -> None:
    from rich.table import Table

    shown = [row for row in rows if row.error is None and row.warning is None][:most]
    if not shown:
        return
    table = Table()
    table.add_column("likeliest crystals", overflow="fold")
    for heading in ("drop", "category"):
        table.add_column(heading, no_wrap=True)
    table.add_column("crystals", justify="right", no_wrap=True)
    prefix = len(common_folder([row.path for row in shown]))
    for row in shown:
        drop = f"{row.plate} {row.well}.{row.drop}" if row.well else ""
        table.add_row(row.path[prefix:], drop, row.category, f"{row.p_crystals:.3f}")
    console.print(table)


def _print_summary(rows: Sequence[FileScore], found: FilesToScore, written: str) -> None:
    failed = [row for row in rows if row.error is not None]
    flagged = sum(bool(row.crystal) and row.warning is None for row in rows)
    for reason, count in Counter(str(row.warning) for row in rows if row.warning).most_common():
        errors.print(f"{count} image{'s' if count > 1 else ''}: {reason}.", soft_wrap=True)
    for line in summary(found.left_out):
        errors.print(line, soft_wrap=True)
    for row in failed[:3]:
        errors.print(f"Not scored: {row.path}: {row.error}.", soft_wrap=True)
    left_out = f", {len(found.left_out)} left out" if found.left_out else ""
    console.print(
        f"{len(rows) - len(failed)} images scored, {flagged} flagged as possible crystals, {len(failed)} failed"
        f"{left_out}: {written}.",
        soft_wrap=True,
    )
