"""The labels report: who agrees with whom, what people and the machine confuse, and how that changes, on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from c4_assets.checks.labels import ASSET
from c4_assets.checks.thresholds import LabelThresholds
from c4_assets.labels.agreement import (
    agreement,
    between_people,
    by_image,
    cohens_kappa,
    fleiss_kappa,
    labeller_agreements,
    newest,
    one_against_the_rest,
    with_the_machine,
)
from c4_assets.pictures.contact_sheet import CATEGORY_COLOURS
from c4_assets.pictures.html_page import write_html
from resources.archive.label_archive import ArchivedLabel
from resources.records import CATEGORIES, HumanLabel

WIDTH, HEIGHT, MARGIN = 640, 180, 44
"""Size and margin of the plot, in its own units; the page scales it."""


@dataclass(frozen=True)
class Pair:
    """Two people: number of images that both have labelled, and Cohen's kappa, ``None`` with too few images."""

    images: int
    kappa: float | None


@dataclass(frozen=True)
class Bias:
    """One person's labels: shares by category, and how far each lies above or below everybody else's."""

    human: str
    labels: int
    shares: Mapping[str, float]
    above: Mapping[str, float | None]
    agreement: float | None
    shared: int
    unlike: bool


def write_report(
    page: Path, weeks: Mapping[date, Sequence[ArchivedLabel]], week: date, thresholds: LabelThresholds
) -> None:
    """Writes the page, which needs no other file.

    Args:
        weeks: labels by week, oldest first; those that are left out are not counted.
        week: the newest week, for the title.
    """
    usable = {day: [each.label for each in labels if not each.left_out] for day, labels in weeks.items()}
    labels = [label for of_week in usable.values() for label in of_week]
    opinions = by_image(labels)
    table = with_the_machine(labels)
    people = sorted({label.human for label in labels if label.category in CATEGORIES})
    write_html(
        page,
        "labels_report.html",
        week=week,
        weeks=len(usable),
        labels=len(labels),
        images=len({label.image_id for label in labels}),
        left_out=sum(each.left_out is not None for of_week in weeks.values() for each in of_week),
        people=people,
        matrix=kappa_matrix(opinions, people, thresholds.least_images),
        fleiss=fleiss_kappa(opinions.values()),
        table=table,
        largest=max(map(max, table)),
        agreement=agreement(table),
        kappa=cohens_kappa(table),
        kappas=[cohens_kappa(one_against_the_rest(table, i)) for i in range(len(CATEGORIES))],
        biases=biases(labels, thresholds),
        days=list(usable),
        line=trend_line([_disagreement(of_week) for of_week in usable.values()]),
        categories=CATEGORIES,
        colours=CATEGORY_COLOURS,
        thresholds=thresholds,
        plot=(WIDTH, HEIGHT, MARGIN),
    )


def report_page(docs: Path, week: str) -> Path:
    """Where the labels report of a week is written."""
    return docs / ASSET / f"{week} labels report.html"


def kappa_matrix(
    opinions: Mapping[int, Mapping[str, str]], people: Sequence[str], least_images: int
) -> list[list[Pair | None]]:
    """One row and one column per person; ``None`` on the diagonal."""
    crossings = between_people(opinions.values())

    def pair(one: str, other: str) -> Pair | None:
        if one == other:
            return None
        table = crossings.get((min(one, other), max(one, other)), [])
        images = sum(map(sum, table))
        return Pair(images, cohens_kappa(table) if images >= least_images else None)

    return [[pair(one, other) for other in people] for one in people]


def biases(labels: Sequence[HumanLabel], thresholds: LabelThresholds) -> list[Bias]:
    """One row per person, those with most labels first."""
    mapped = [label for label in newest(labels) if label.category in CATEGORIES]
    found: list[Bias] = []
    for person in labeller_agreements(list(by_image(labels).values()), thresholds.least_images):
        shares = _shares([label for label in mapped if label.human == person.human])
        others = [label for label in mapped if label.human != person.human]
        rest = _shares(others) if others else None
        found.append(
            Bias(
                person.human,
                person.labels,
                shares,
                {category: shares[category] - rest[category] if rest else None for category in CATEGORIES},
                person.agreement,
                person.shared,
                person.below is not None and person.below > thresholds.below_other_scorers,
            )
        )
    return sorted(found, key=lambda bias: (-bias.labels, bias.human))


def _disagreement(labels: Sequence[HumanLabel]) -> float | None:
    agreed = agreement(with_the_machine(labels))
    return None if agreed is None else 1 - agreed


def _shares(labels: Sequence[HumanLabel]) -> dict[str, float]:
    return {c: sum(label.category == c for label in labels) / max(len(labels), 1) for c in CATEGORIES}


def trend_line(shares: Sequence[float | None]) -> list[tuple[float, float, float]]:
    """Points of the plot: x from the left, y from the top, and the share. Weeks without a share are left out."""
    step = (WIDTH - 2 * MARGIN) / max(len(shares) - 1, 1)
    return [
        (round(MARGIN + i * step, 1), round(MARGIN / 2 + (1 - share) * (HEIGHT - 1.5 * MARGIN), 1), share)
        for i, share in enumerate(shares)
        if share is not None
    ]
