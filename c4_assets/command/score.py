"""``c4 score``: image files to scores, without a database."""

from pathlib import Path
from typing import Annotated

import typer

from c4_assets.command.console import console, progress
from c4_assets.command.model import models_at_hand
from c4_assets.models.active import model_without_database
from c4_assets.scoring.score_files import OUTPUT_FORMATS, FileScore, files_of, score_files, write_scores
from resources.errors import ConfigurationError
from resources.settings import Settings


def score(
    paths: Annotated[list[Path], typer.Argument(help="Image files, and folders, which are walked.")],
    out: Annotated[Path, typer.Option(help="Where the scores go: a .csv, .parquet or .json file.")] = Path(
        "scores.csv"
    ),
    html: Annotated[
        bool, typer.Option("--html", help="Also write a contact sheet as a page beside the scores.")
    ] = False,
) -> None:
    """Score image files, ranked by the probability of crystals. No database is needed."""
    if out.suffix not in OUTPUT_FORMATS:  # said before the work, not after it
        raise ConfigurationError(f"--out {out} must end in {', '.join(OUTPUT_FORMATS)}.")
    files = files_of(paths)
    settings = Settings.from_environment()
    classifier = model_without_database(settings)
    models_at_hand(settings, [classifier])
    with progress() as bar:
        task = bar.add_task("loading MARCO", total=len(files))
        engine = classifier.engine
        bar.update(task, description="scoring")
        rows = score_files(files, engine, classifier.version, lambda: bar.advance(task))
    write_scores(rows, out)
    if html:
        from c4_assets.pictures.score_page import write_page

        write_page(rows, out.with_suffix(".html"), ", ".join(path.name or str(path.resolve()) for path in paths))
    _print_likeliest(rows)
    failed = sum(row.error is not None for row in rows)
    flagged = sum(bool(row.crystal) for row in rows)
    console.print(
        f"{len(rows) - failed} images scored, {flagged} flagged as possible crystals, {failed} failed: {out}"
        + (f" and {out.with_suffix('.html')}." if html else "."),
        soft_wrap=True,
    )


def _print_likeliest(rows: list[FileScore], most: int = 10) -> None:
    from rich.table import Table

    table = Table("likeliest crystals", "category", "crystals")
    for row in rows[:most]:
        if row.error is None:
            table.add_row(row.path, row.category, f"{row.p_crystals:.3f}")
    console.print(table)
