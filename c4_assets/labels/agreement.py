"""Statistics over labels: how far people agree with each other and with the machine."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from statistics import median
from typing import Any

from resources.records import CATEGORIES, HumanLabel

Counts = Sequence[Sequence[int]]
"""A 4 x 4 table of numbers of images: rows and columns are the categories, in their order."""


def newest(labels: Iterable[HumanLabel]) -> list[HumanLabel]:
    """The newest label of every person and image; of labels of one moment, the one entered last."""
    ordered = sorted(labels, key=lambda label: (label.scored_at, label.score_id))
    return list({(label.human, label.image_id): label for label in ordered}.values())


def by_image(labels: Iterable[HumanLabel]) -> dict[int, dict[str, str]]:
    """The category that each person gave each image; labels without a category are left out."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for label in newest(labels):
        if label.category in CATEGORIES:
            found[label.image_id][label.human] = label.category
    return dict(found)


def cohens_kappa(table: Counts) -> float | None:
    """Cohen's kappa of two raters (Cohen, 1960), 1 for full agreement, 0 for that of chance.

    Returns:
        ``None`` if it is undefined: without images, or if both raters name only one and the same category.
    """
    import numpy as np
    from statsmodels.stats import inter_rater

    if not any(any(row) for row in table):
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Any = inter_rater.cohens_kappa(np.array(table), return_results=False)
    kappa = float(kappa)
    return kappa if isfinite(kappa) else None


def fleiss_kappa(opinions: Iterable[Mapping[str, str]]) -> float | None:
    """Fleiss' kappa (Fleiss, 1971) over images that equally many people have labelled; ``None`` if it is not defined.

    Args:
        opinions: for each image, category by person. Only images with the commonest number of people count.
    """
    import numpy as np
    from statsmodels.stats import inter_rater

    several = [tuple(each.values()) for each in opinions if len(each) > 1]
    if not several:
        return None
    usual = Counter(map(len, several)).most_common(1)[0][0]
    table = np.array([[each.count(category) for category in CATEGORIES] for each in several if len(each) == usual])
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = float(inter_rater.fleiss_kappa(table))
    return kappa if isfinite(kappa) else None


def crossed(pairs: Iterable[tuple[str, str]]) -> list[list[int]]:
    """Counts pairs of categories: the first is the row, the second the column."""
    counts = Counter(pairs)
    return [[counts[row, column] for column in CATEGORIES] for row in CATEGORIES]


def one_against_the_rest(table: Counts, category: int) -> list[list[int]]:
    """Reduces the table of two raters to 2 x 2: this category, or any other."""
    total = sum(map(sum, table))
    both = table[category][category]
    first, second = sum(table[category]), sum(row[category] for row in table)
    return [[both, first - both], [second - both, total - first - second + both]]


def agreement(table: Counts) -> float | None:
    """The share of images on the table's diagonal."""
    total = sum(map(sum, table))
    return sum(table[i][i] for i in range(len(table))) / total if total else None


def with_the_machine(labels: Iterable[HumanLabel]) -> list[list[int]]:
    """Human (rows) against machine categories (columns), a count for every person and image."""
    return crossed(
        (label.category, label.machine_category)
        for label in newest(labels)
        if label.category in CATEGORIES and label.machine_category in CATEGORIES
    )


def between_people(opinions: Iterable[Mapping[str, str]]) -> dict[tuple[str, str], list[list[int]]]:
    """For each two people who have labelled the same images, the table of their categories."""
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for each in opinions:
        for one, other in combinations(sorted(each), 2):
            pairs[one, other].append((each[one], each[other]))
    return {people: crossed(categories) for people, categories in sorted(pairs.items())}


@dataclass(frozen=True)
class LabellerAgreement:
    """How one person labels: number of images shared with others, share of agreement with their majority, and how far
    that share lies below the median person's (``None`` with too few images in common).
    """

    human: str
    labels: int
    shared: int
    agreement: float | None
    below: float | None


def labeller_agreements(opinions: Sequence[Mapping[str, str]], least_images: int) -> list[LabellerAgreement]:
    """How each person agrees with the others, by name. In a tie among the others, each tied category agrees."""
    agreed: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    for each in opinions:
        for human, category in each.items():
            labelled[human] += 1
            others = Counter(said for other, said in each.items() if other != human)
            if others:
                shared[human] += 1
                agreed[human] += others[category] == max(others.values())
    shares = {human: agreed[human] / n for human, n in shared.items() if n >= least_images}
    typical = median(shares.values()) if len(shares) > 1 else None
    return [
        LabellerAgreement(
            human,
            labelled[human],
            shared[human],
            shares.get(human),
            typical - shares[human] if typical is not None and human in shares else None,
        )
        for human in sorted(labelled)
    ]


def near_duplicates(new: Mapping[int, bytes], all_: Mapping[int, bytes], bits: int) -> list[tuple[int, int, int]]:
    """Pairs of images, one of them new, whose perceptual hashes differ in few bits: both ids, and how many bits."""
    import numpy as np

    keys = sorted(all_)
    if not new or len(keys) < 2:
        return []
    matrix = np.unpackbits(np.frombuffer(b"".join(all_[key] for key in keys), np.uint8).reshape(len(keys), -1), axis=1)
    signs = matrix.astype(np.float32) * 2 - 1
    place = {key: i for i, key in enumerate(keys)}
    pairs: set[tuple[int, int, int]] = set()
    for key in sorted(new):
        apart = np.rint((signs.shape[1] - signs @ signs[place[key]]) / 2).astype(int)
        for other in np.flatnonzero(apart <= bits):
            if keys[other] != key:
                first, second = sorted((key, keys[other]))
                pairs.add((first, second, int(apart[other])))
    return sorted(pairs)
