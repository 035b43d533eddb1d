"""``c4 demo``: rendered plates through the whole graph, with the real model."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from c4_assets.command.console import console, progress
from c4_assets.command.model import models_at_hand
from c4_assets.command.run import execute, failure_reason, score_days
from c4_assets.command.run_in_progress import RunInProgress
from c4_assets.command.signals import run_until_signalled
from c4_assets.deployment_home import dagster_instance, ready
from c4_assets.models.active import ActiveModels
from resources.errors import C4Error
from resources.image_store import LocalStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.work import pending_of_all
from resources.records import CATEGORIES
from resources.settings import Settings
from resources.wording import counted

if TYPE_CHECKING:
    import dagster as dg


def demo(
    plates: Annotated[int, typer.Option(min=1, max=3, help="How many plates are rendered and scored.")] = 3,
) -> None:
    """Render plates of drops, score them with MARCO through the Dagster asset graph, and show what came out.

    All of it is in a home of its own: the folder demo in C4's home, or what C4_DEMO_HOME says.
    """
    current = RunInProgress()
    run_until_signalled(lambda: _demo(plates, current), current.cancel)


def _demo(plates: int, current: RunInProgress) -> None:
    from c4_assets.demo.home import enter_demo_home, refuse_other_plates
    from c4_assets.demo.plates import register

    started = time.monotonic()
    settings = enter_demo_home()
    database = ready(settings)
    refuse_other_plates(database)
    models = ActiveModels(settings, database).read()
    models_at_hand(settings, models)
    _render(LocalStore.at(settings.store.url), plates)
    register(database, plates, datetime.now(UTC))
    waiting = pending_of_all(database, [model.version.name for model in models], settings.runs.max_attempts)
    if not waiting:
        console.print("Every image has its score already: nothing was scored twice.")
    written = score_days(settings, waiting, current) if waiting else {}
    if None in written.values():
        raise C4Error("A day of the demo failed; the reason is above. Run the demo again: it carries on.")
    disagreements = _ashes(settings, current)
    rows = sum(count or 0 for count in written.values())
    _show(database, models[0].version.name, disagreements, rows, time.monotonic() - started)


def _render(store: LocalStore, plates: int) -> None:
    from c4_assets.demo.plates import MIX, inspections_of, render_missing

    with progress() as bar:
        task = bar.add_task("rendering drops", total=len(inspections_of(plates)) * len(MIX))
        if not render_missing(store, plates, lambda: bar.advance(task)):
            bar.remove_task(task)


def _ashes(settings: Settings, current: RunInProgress) -> int:
    """Runs Ashes for the weeks in which the demo's people scored. Returns the disagreements."""
    from c4_assets.definitions import defs

    job = defs.resolve_job_def("collect_disagreements")
    total = 0
    with dagster_instance(settings) as instance:
        for week in _scored_weeks(settings):
            result = execute(job, week.isoformat(), instance, current)
            if not result.success:
                raise C4Error(f"Ashes failed: {failure_reason(result)}")
            total += _rows(result)
    return total


def _scored_weeks(settings: Settings) -> list[date]:
    from sqlalchemy import select

    from resources.imaging_database.schema import scores

    with ImagingDatabase.of(settings).reading() as connection:
        times = connection.scalars(select(scores.c.scored_at).where(scores.c.scorer_version.is_(None)).distinct())
        return sorted({at.date() - timedelta(days=at.weekday()) for at in times})


def _rows(result: "dg.ExecuteInProcessResult") -> int:
    from c4_assets.runs.metadata import PARTITION_ROWS_KEY

    for event in result.get_asset_materialization_events():
        if not event.asset_key or event.asset_key.path[-1] != "ashes_disagreements":
            continue
        value = event.materialization.metadata[PARTITION_ROWS_KEY].value
        return value if isinstance(value, int) else 0
    return 0


def _show(database: ImagingDatabase, scorer_version: str, disagreements: int, rows: int, seconds: float) -> None:
    from c4_assets.demo.plates import demo_images, drawn_categories, known_inspections

    found, drawn = _categories(database, scorer_version), drawn_categories()
    paths = demo_images(database)
    seen = {paths[image_id]: category for image_id, category in found.items() if image_id in paths}
    table = Table("drawn as", "drops", *(f"→ {category}" for category in CATEGORIES), "agree", title="What MARCO saw")
    for category in CATEGORIES:
        counts = Counter(seen[path] for path in seen if drawn[path] == category)
        drops = sum(counts.values())
        agreement = f"{counts[category] / drops:.0%}" if drops else "–"
        table.add_row(category, str(drops), *(str(counts[c]) for c in CATEGORIES), agreement)
    console.print(table)
    known = known_inspections(database)
    summary: Mapping[str, Any] = {
        "plates": f"{len({plate for plate, _ in known})}, imaged {counted(len(known), 'time')}",
        "drops scored": len(seen),
        "crystals found": sum(category == "crystals" for category in seen.values()),
        "disagreements with people": f"{disagreements} (the people are invented, as the drops are)",
        "rows written now": rows,
        "seconds": round(seconds),
    }
    for name, value in summary.items():
        console.print(f"  {name}: {value}")
    program = "c4" if shutil.which("c4") else sys.argv[0]  # as `make demo` calls it
    console.print(
        f"\nLook at it: `{program} ui --demo` (lineage, contact sheets, runs). Then your own images: "
        f"`{program} import FOLDER` and `{program} run --pending`.",
        soft_wrap=True,
    )


def _categories(database: ImagingDatabase, scorer_version: str) -> dict[int, str]:
    from sqlalchemy import select

    from resources.imaging_database.schema import score_classes, scores

    query = (
        select(scores.c.image_id, score_classes.c.name)
        .join(score_classes, score_classes.c.id == scores.c.score_class_id)
        .where(scores.c.scorer_version == scorer_version)
    )
    with database.reading() as connection:
        return {row.image_id: row.name for row in connection.execute(query)}
