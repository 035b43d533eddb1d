"""Whether a backfill has done exactly what it was to do: what must hold at its end, whatever happened meanwhile."""

import json
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import Connection, distinct, func, select

from resources.imaging_database.schema import c4_image_failures, images, scores
from resources.imaging_database.work import progress_by_day
from testing.trial.site import Site


@dataclass(frozen=True)
class Verdict:
    """Counts of images and files at the end of a trial. What must be is in :meth:`problems`."""

    listed: int
    not_there: int
    scores: int
    images_scored: int
    failures: int
    failures_without_reason: int
    scored_and_failed: int
    pending: int
    staged_files: int
    checkpoints: int
    archive_rows: int
    archived_images: int
    done_by_c4_backlog: float
    """Percent of the images that ``c4 backlog`` says are not pending."""

    def problems(self) -> list[str]:
        """What does not hold, in words; nothing if every image has exactly one score, or a failure with its reason."""
        must_be = {
            "scores": self.listed - self.not_there,
            "images_scored": self.listed - self.not_there,
            "failures": self.not_there,
            "failures_without_reason": 0,
            "scored_and_failed": 0,
            "pending": 0,
            "staged_files": 0,
            "checkpoints": 0,
            "archive_rows": self.listed,
            "archived_images": self.listed,
            "done_by_c4_backlog": 100.0,
        }
        return [
            f"{name.replace('_', ' ')}: {getattr(self, name)} and not {wanted}"
            for name, wanted in must_be.items()
            if getattr(self, name) != wanted
        ]

    def __str__(self) -> str:
        return ", ".join(f"{field.name.replace('_', ' ')} {getattr(self, field.name)}" for field in fields(self))


def verdict(site: Site) -> Verdict:
    """Counts at the end of a trial, over all days that the database lists."""
    progress = progress_by_day(site.database, site.scorer_version, site.settings.runs.max_attempts)
    with site.database.reading() as connection:
        counted = _counted(connection, site.scorer_version)
    rows = [row.image.image_id for day in progress for row in site.archive.rows(day.day)]
    return Verdict(
        listed=sum(day.listed for day in progress),
        not_there=site.plan.history.missing,
        **counted,
        pending=sum(day.pending for day in progress),
        staged_files=_files(site.settings.staging),
        checkpoints=_files(site.settings.archive / "checkpoints"),
        archive_rows=len(rows),
        archived_images=len(set(rows)),
        done_by_c4_backlog=_told_by_c4_backlog(site),
    )


def _told_by_c4_backlog(site: Site) -> float:
    told = subprocess.run(
        [Path(sys.executable).with_name("c4"), "backlog", "--json"],
        env=site.deployment.environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    total = json.loads(told.stdout)["total"]
    return 100 * (1 - total["pending"] / total["listed"])


def scored(site: Site) -> int:
    """Images that have a score."""
    with site.database.reading() as connection:
        count = select(func.count()).select_from(scores).where(scores.c.scorer_version == site.scorer_version)
        return connection.scalar(count) or 0


def _counted(connection: Connection, scorer: str) -> dict[str, int]:
    of_scorer = scores.c.scorer_version == scorer
    failed = c4_image_failures.c.scorer_version == scorer
    queries = {
        "scores": select(func.count()).select_from(scores).where(of_scorer),
        "images_scored": select(func.count(distinct(scores.c.image_id))).where(of_scorer),
        "failures": select(func.count()).select_from(c4_image_failures).where(failed),
        "failures_without_reason": select(func.count())
        .select_from(c4_image_failures)
        .where(failed, func.coalesce(func.length(c4_image_failures.c.reason), 0) == 0),
        "scored_and_failed": select(func.count())
        .select_from(images)
        .join(scores, scores.c.image_id == images.c.id)
        .join(c4_image_failures, c4_image_failures.c.image_id == images.c.id)
        .where(of_scorer, failed),
    }
    return {name: connection.scalar(query) or 0 for name, query in queries.items()}


def _files(folder: Path) -> int:
    return sum(file.is_file() for file in folder.rglob("*"))
