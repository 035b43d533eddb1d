"""Ashes: images whose newest human category differs from the machine's."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from resources.archive.label_archive import left_out, read_labels
from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.human_scores import newest_human_scores
from resources.records import CATEGORIES, ScorePair


@dataclass(frozen=True)
class ScoredWeek:
    """The images whose newest human score is of one week, sorted by how it compares with the machine's."""

    disagreements: tuple[ScorePair, ...]
    agreements: tuple[ScorePair, ...]
    left_out: tuple[ScorePair, ...]
    """The newest human score fails a blocking check of `human_labels`."""
    unmapped: tuple[ScorePair, ...]
    """The human class belongs to none of the four categories."""
    without_machine_score: tuple[ScorePair, ...]


def compare(scored: Sequence[ScorePair], left_out: Collection[tuple[int, str, datetime]] = frozenset()) -> ScoredWeek:
    """Sorts images by comparing human and machine score. Every image lands in exactly one group.

    Args:
        left_out: image, person and time of the human scores that fail a blocking check.
    """
    with_category = [row for row in scored if row.human_category in CATEGORIES]
    failed = {row for row in with_category if (row.image_id, row.human, row.human_scored_at) in left_out}
    mapped = [row for row in with_category if row not in failed]
    both = [row for row in mapped if row.machine_category in CATEGORIES]
    return ScoredWeek(
        disagreements=tuple(row for row in both if row.human_category != row.machine_category),
        agreements=tuple(row for row in both if row.human_category == row.machine_category),
        left_out=tuple(row for row in with_category if row in failed),
        unmapped=tuple(row for row in scored if row.human_category not in CATEGORIES),
        without_machine_score=tuple(row for row in mapped if row.machine_category not in CATEGORIES),
    )


def collect_week(start: datetime, end: datetime, database: ImagingDatabase, archive: ScoreArchive) -> ScoredWeek:
    """Replaces a week's disagreements in the archive, and returns all images that were compared.

    Raises:
        Unavailable: the database does not answer; the archive is unchanged.
    """
    labels = read_labels(archive, start.date()).get(start.date(), [])
    week = compare(newest_human_scores(database, archive.scorer_version, start, end), left_out(labels))
    archive.write_disagreements(start.date(), week.disagreements)
    return week


def confusion(week: ScoredWeek) -> str:
    """A Markdown table of human (rows) against machine categories (columns), in images."""
    counts = Counter((row.human_category, row.machine_category) for row in (*week.agreements, *week.disagreements))
    lines = [f"| human ↓ machine → | {' | '.join(CATEGORIES)} |", "| --- |" + " --- |" * len(CATEGORIES)]
    lines += [
        f"| {human} | {' | '.join(str(counts[human, machine]) for machine in CATEGORIES)} |" for human in CATEGORIES
    ]
    return "\n".join(lines)


def missed_crystals_first(disagreements: Sequence[ScorePair]) -> list[ScorePair]:
    """Sorts disagreements: crystals that the machine missed come first, because users mind them most."""
    return sorted(disagreements, key=lambda row: (row.human_category != "crystals", -row.human_scored_at.timestamp()))
