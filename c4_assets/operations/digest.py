"""The daily digest: one message on what was imaged, found, given up and is left, with the likeliest crystals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from c4_assets.operations.alerts.records import Change, Event, Message, Picture, Severity, Subject
from resources.imaging_database.crystals import Crystal
from resources.imaging_database.day_numbers import DayNumbers
from resources.wording import counted, duration

DIGEST_SPAN = timedelta(days=1)

MOST_PICTURES = 12

MOST_REASONS = 5


@dataclass(frozen=True)
class Backlog:
    """How far history is scored, as it was counted last; ``days_left`` is None where nobody works on it."""

    pending: int
    per_cent_done: float
    counted_at: datetime
    days_left: float | None = None


@dataclass(frozen=True)
class Work:
    """What the span's runs did.

    Attributes:
        step_seconds: time that steps took, by step, from Dagster's step statistics.
        network_seconds: of the classifying step, the time in which the network computed.
        computed_by: what computed, as the classifying step says it.
        runs, runs_failed: runs of C4 that ended.
        is_cut: there were more runs than were read.
    """

    step_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    network_seconds: float = 0.0
    computed_by: str = ""
    runs: int = 0
    runs_failed: int = 0
    is_cut: bool = False


@dataclass(frozen=True)
class DigestFacts:
    """What a digest tells of. ``waiting`` are images pending in the days that the sensor looks at."""

    numbers: DayNumbers
    waiting: int
    work: Work
    backlog: Backlog | None = None
    likeliest: Sequence[tuple[Crystal, bytes | None]] = ()


CLASSIFYING = "marco_probabilities"


def digest(facts: DigestFacts, until: datetime, zone: tzinfo, ui_url: str | None = None) -> Message:
    """The digest of the day that ends at a time. It has the same id however often it is made that day.

    Args:
        until: the end of the day that it tells of, aware.
        zone: the time zone of its dates.
        ui_url: where Dagster's UI is, for links.
    """
    there, since = until.astimezone(zone), (until - DIGEST_SPAN).astimezone(zone)
    day = there.date().isoformat()
    numbers, reasons = facts.numbers, facts.numbers.reasons[:MOST_REASONS]
    return Message(
        id=f"digest-{day}",
        thread=f"digest-{day}",
        change=Change.TOLD,
        event=Event.DIGEST,
        severity=Severity.PROGRESS,  # what is wrong has a message of its own
        at=until,
        title=f"{day}: {counted(numbers.scored, 'image')} scored, {counted(numbers.crystals, 'likely crystal')}",
        lines=(
            f"From {since:%Y-%m-%d %H:%M} to {there:%Y-%m-%d %H:%M} {there:%Z}: "
            f"{counted(numbers.inspections, 'inspection')} with {counted(numbers.listed, 'image')} imaged.",
            *([] if numbers.inspections else ["Nothing was imaged."]),
            *(f"{counted(count, 'image')} given up: {reason}" for reason, count in reasons),
            *_more_reasons(numbers.failed - sum(count for _, count in reasons)),
            *_backlog_lines(facts.backlog, zone),
        ),
        subjects=(Subject("Runs in Dagster", f"{ui_url.rstrip('/')}/runs"),) if ui_url else (),
        page=Event.DIGEST.value,
        facts=_facts(facts),
        pictures=tuple(
            Picture(
                name=f"{number:02}-{each.image.plate[:40]}-{each.image.well}.{each.image.drop_number}.jpg",
                data=jpeg,
                caption=f"{each.image.plate} {each.image.well} drop {each.image.drop_number}: {each.probability:.2f}",
            )
            for number, (each, jpeg) in enumerate(facts.likeliest[:MOST_PICTURES], 1)
            if jpeg
        ),
    )


def _facts(facts: DigestFacts) -> dict[str, str]:
    numbers, work = facts.numbers, facts.work
    of_steps = {name: timedelta(seconds=seconds) for name, seconds in work.step_seconds.items()}
    classifying = of_steps.pop(CLASSIFYING, timedelta())
    others, computing = sum(of_steps.values(), timedelta()), timedelta(seconds=work.network_seconds)
    cut = " at least" if work.is_cut else ""
    by = f" by {work.computed_by}" if work.computed_by else ""
    return {
        "inspections": f"{numbers.inspections:,}",
        "images listed": f"{numbers.listed:,}",
        "images scored": f"{numbers.scored:,}",
        "likely crystals": f"{numbers.crystals:,}",
        "images failed": f"{numbers.failed:,}",
        "images waiting": f"{facts.waiting:,}",
        "runs": f"{work.runs:,}{cut}, {work.runs_failed:,} failed",
        "classifying (GPU or CPU)": f"{duration(classifying)}{cut}, of it {duration(computing)} computing{by}",
        "other steps": f"{duration(others)}{cut}",
        **({"backlog": f"{facts.backlog.pending:,} images pending"} if facts.backlog else {}),
    }


def _backlog_lines(backlog: Backlog | None, zone: tzinfo) -> list[str]:
    if backlog is None or not backlog.pending:
        return []
    done = f"Of history, {backlog.per_cent_done:g} % is done; {counted(backlog.pending, 'image')} pending"
    if backlog.days_left is None:
        return [f"{done}. No backfill works on it."]
    end = (backlog.counted_at + timedelta(days=backlog.days_left)).astimezone(zone)
    return [f"{done}, to be done by about {end:%Y-%m-%d}."]


def _more_reasons(count: int) -> list[str]:
    return [f"{counted(count, 'image')} given up for other reasons: `c4 status --failures`."] if count else []
