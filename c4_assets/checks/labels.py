"""Labels: what people say of drops, before a model learns from it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatch
from itertools import groupby

from c4_assets.checks.agreement import (
    agreement,
    between_people,
    by_image,
    cohens_kappa,
    fleiss_kappa,
    labeller_agreements,
    near_duplicates,
    newest,
    one_against_the_rest,
    with_the_machine,
)
from c4_assets.checks.check import Check, Tables, Verdict, between, one_of
from c4_assets.checks.thresholds import LabelThresholds
from resources.categories import CATEGORIES
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.labels import HumanLabel, human_labels
from resources.imaging_database.work import scorer_versions
from resources.label_archive import ArchivedLabel, read_labels
from resources.score_archive import ScoreArchive

ASSET = "human_labels"

LABEL_COLUMNS = ("human", "human_class", "plate", "well", "drop", "image_id")
PAIR_COLUMNS = ("plate", "well", "drop", "other_plate", "other_well", "other_drop", "bits")

EXPERT_AGREEMENT = "Experts agree on fewer than 85 % of images (C4's 2019 paper)."

CHECKS = (
    Check(
        name="label_class_known",
        asset=ASSET,
        table="labels",
        severity="blocking",
        stops="label",
        holds="Every label's class is listed in score_classes, and mapped to one of the four categories or to none.",
        remedy="list the class, or correct its category, in `score_classes`; then materialise the week again.",
        expectations=lambda _: [one_of("class_known", [True]), one_of("category", CATEGORIES)],
        shown=(*LABEL_COLUMNS, "category"),
    ),
    Check(
        name="label_class_mapped",
        asset=ASSET,
        table="labels",
        severity="information",
        holds="Every label's class is mapped to a category.",
        remedy="classes like «bad image» are mapped to none on purpose; for another one, set `score_classes.category`.",
        expectations=lambda _: [one_of("mapped", [True])],
        shown=LABEL_COLUMNS,
    ),
    Check(
        name="label_scorer_known",
        asset=ASSET,
        table="labels",
        severity="warning",
        holds="Every label has a scorer who may label: a person, and one of the site's list where there is one.",
        remedy="find out who or what wrote these rows; a machine's scores need their scorer_version.",
        expectations=lambda _: [one_of("known_scorer", [True])],
        shown=LABEL_COLUMNS,
    ),
    Check(
        name="label_after_imaging",
        asset=ASSET,
        table="labels",
        severity="blocking",
        stops="label",
        holds="Every image was labelled after it was taken.",
        remedy="a clock is wrong, or the label belongs to an earlier inspection: correct it, then materialise the week "
        "again.",
        expectations=lambda _: [between("hours_after_imaging", least=0)],
        shown=(*LABEL_COLUMNS, "hours_after_imaging"),
    ),
    Check(
        name="labels_not_contradictory",
        asset=ASSET,
        table="changed",
        severity="warning",
        holds="Where somebody has labelled an image twice and otherwise, one label is the newer and counts.",
        remedy="the two labels are of the same moment: ask the person, and remove the wrong one.",
        expectations=lambda _: [one_of("newest_is_one", [True])],
        shown=("human", "plate", "well", "drop", "image_id", "categories"),
    ),
    Check(
        name="people_agree",
        asset=ASSET,
        table="people",
        severity="warning",
        holds=f"People agree with each other (Fleiss' kappa). {EXPERT_AGREEMENT}",
        remedy="look at the labels report: which categories are confused, and by whom? Talk about them.",
        expectations=lambda t: [between("kappa", least=t.labels.least_kappa)],
        shown=("images", "kappa"),
    ),
    Check(
        name="people_agree_with_the_machine",
        asset=ASSET,
        table="machine",
        severity="warning",
        holds=f"People agree with the machine (Cohen's kappa). {EXPERT_AGREEMENT}",
        remedy="look at the labels report and at Ashes: a new kind of drop, a new label, or a model that has to learn.",
        expectations=lambda t: [between("kappa", least=t.labels.least_kappa)],
        shown=("images", "kappa", "agreement", *(f"kappa {category}" for category in CATEGORIES)),
    ),
    Check(
        name="categories_balanced",
        asset=ASSET,
        table="categories",
        severity="information",
        holds="Every category has enough of the week's labels to be learnt from.",
        remedy="label more drops of the category before a model is trained on these weeks.",
        expectations=lambda t: [between("share", least=t.labels.least_category_share)],
        shown=("category", "labels", "share"),
    ),
    Check(
        name="near_duplicates_labelled_alike",
        asset=ASSET,
        table="pairs",
        severity="warning",
        holds="Images that look the same carry the same label.",
        remedy="look at both images: one label is wrong, or one image lies under two names.",
        expectations=lambda _: [one_of("same_category", [True])],
        shown=(*PAIR_COLUMNS, "category", "other_category"),
    ),
    Check(
        name="near_duplicates_on_one_side",
        asset=ASSET,
        table="pairs",
        severity="warning",
        holds="Images that look the same are not both in the training and in the held-out set.",
        remedy="a model would be tested on what it has learnt: move one of the plates (labels.held_out_plates).",
        expectations=lambda _: [one_of("same_side", [True])],
        shown=PAIR_COLUMNS,
    ),
    Check(
        name="nobody_labels_alone",
        asset=ASSET,
        table="scorers",
        severity="warning",
        holds="Nobody's labels differ from the majority of the others' much more often than is usual.",
        remedy="look at the labels report: has the person another understanding of a category, or a good eye?",
        expectations=lambda t: [between("below", most=t.labels.below_other_scorers)],
        shown=("human", "shared", "agreement", "below"),
    ),
)


def collect_labels(
    start: datetime, end: datetime, database: ImagingDatabase, archive: ScoreArchive, thresholds: LabelThresholds
) -> tuple[list[ArchivedLabel], Tables]:
    """The labels that were given in a week, with their images' perceptual hashes, and what checks judge of them.

    Raises:
        Unavailable: the database does not answer.
    """
    found = human_labels(database, archive.scorer_version, start, end)
    hashes = {day: archive.fingerprints(day) for day in {label.imaged_at.date() for label in found}}
    labels = [ArchivedLabel(label, hashes[label.imaged_at.date()].get(label.image_id), None) for label in found]
    before = read_labels(archive, start.date() - timedelta(weeks=1), thresholds.compared_weeks)
    earlier = [each for week in before.values() for each in week]
    return labels, label_tables(labels, earlier, thresholds, scorer_versions(database))


def without_left_out(labels: list[ArchivedLabel], verdicts: Sequence[Verdict]) -> list[ArchivedLabel]:
    """Marks the labels that fail a blocking check with its name."""
    failed = {
        row["score_id"]: verdict.check.name
        for verdict in verdicts
        if verdict.check.stops == "label"
        for row in verdict.rows
    }
    return [replace(each, left_out=failed.get(each.label.score_id)) for each in labels]


def label_tables(
    labels: Sequence[ArchivedLabel],
    earlier: Sequence[ArchivedLabel],
    thresholds: LabelThresholds,
    machines: Sequence[str],
) -> Tables:
    """What the checks of labels judge: labels, changed ones, agreements, categories, near-duplicates and scorers.

    Args:
        labels: all of the week.
        earlier: of weeks before, to find near-duplicates among.
        machines: names of scorer versions.
    """
    import pandas as pd

    plain = [each.label for each in labels]
    opinions = by_image(plain)
    people = labeller_agreements(list(opinions.values()), thresholds.least_images)
    return {
        "labels": pd.DataFrame([_label_row(label, thresholds, machines) for label in plain]),
        "changed": pd.DataFrame(_changed(plain)),
        "people": pd.DataFrame(_people_row(opinions, thresholds.least_images)),
        "machine": pd.DataFrame(_machine_row(plain, thresholds.least_images)),
        "categories": pd.DataFrame(_categories(plain, thresholds.least_images)),
        "pairs": pd.DataFrame(_pairs(labels, earlier, thresholds)),
        "scorers": pd.DataFrame([vars(person) for person in people]),
    }


def _label_row(label: HumanLabel, thresholds: LabelThresholds, machines: Sequence[str]) -> dict[str, object]:
    person = label.human.strip() and label.human not in machines
    return {
        **_drop(label),
        "score_id": label.score_id,
        "human": label.human,
        "human_class": label.human_class,
        "class_known": label.class_known,
        "category": label.category,
        "mapped": label.category is not None,
        "known_scorer": bool(person and (not thresholds.scorers or label.human in thresholds.scorers)),
        "hours_after_imaging": (label.scored_at - label.imaged_at).total_seconds() / 3600,
    }


def _drop(label: HumanLabel) -> dict[str, object]:
    return {
        "image_id": label.image_id,
        "inspection_id": label.inspection_id,
        "plate": label.plate,
        "well": label.well,
        "drop": label.drop_number,
        "path": label.path,
    }


def _changed(labels: Sequence[HumanLabel]) -> list[dict[str, object]]:
    """A row for every image that somebody has labelled with two categories."""

    def person_and_image(label: HumanLabel) -> tuple[str, int]:
        return label.human, label.image_id

    rows: list[dict[str, object]] = []
    mapped = [label for label in labels if label.category in CATEGORIES]
    for _, group in groupby(sorted(mapped, key=person_and_image), key=person_and_image):
        same = list(group)
        last = max(label.scored_at for label in same)
        categories = sorted({str(label.category) for label in same})
        if len(categories) > 1:
            newest_ones = {label.category for label in same if label.scored_at == last}
            row = {"human": same[0].human, "categories": ", ".join(categories), "newest_is_one": len(newest_ones) == 1}
            rows.append({**_drop(same[0]), **row})
    return rows


def _people_row(opinions: Mapping[int, Mapping[str, str]], least_images: int) -> list[dict[str, object]]:
    shared = [each for each in opinions.values() if len(each) > 1]
    if len(shared) < least_images:
        return []
    crossings = between_people(shared)
    kappa = cohens_kappa(next(iter(crossings.values()))) if len(crossings) == 1 else fleiss_kappa(shared)
    return [{"images": len(shared), "kappa": kappa}]


def _machine_row(labels: Sequence[HumanLabel], least_images: int) -> list[dict[str, object]]:
    table = with_the_machine(labels)
    images = sum(map(sum, table))
    if images < least_images:
        return []
    of_category = {
        f"kappa {category}": cohens_kappa(one_against_the_rest(table, i)) for i, category in enumerate(CATEGORIES)
    }
    return [{"images": images, "kappa": cohens_kappa(table), "agreement": agreement(table), **of_category}]


def _categories(labels: Sequence[HumanLabel], least_images: int) -> list[dict[str, object]]:
    mapped = [label.category for label in newest(labels) if label.category in CATEGORIES]
    if len(mapped) < least_images:
        return []
    return [
        {"category": category, "labels": mapped.count(category), "share": mapped.count(category) / len(mapped)}
        for category in CATEGORIES
    ]


def _pairs(
    labels: Sequence[ArchivedLabel], earlier: Sequence[ArchivedLabel], thresholds: LabelThresholds
) -> list[dict[str, object]]:
    """A row for every two labelled images that look the same, one of them labelled in the week."""
    # Of several labels of an image the newest stands for it, as in Ashes.
    ordered = sorted((*earlier, *labels), key=lambda each: (each.label.scored_at, each.label.score_id))
    known = {each.label.image_id: each for each in ordered if each.label.category in CATEGORIES}
    hashes = {key: each.perceptual_hash for key, each in known.items() if each.perceptual_hash}
    new = {key: hashes[key] for key in {each.label.image_id for each in labels} & set(hashes)}
    rows: list[dict[str, object]] = []
    for one, other, bits in near_duplicates(new, hashes, thresholds.near_duplicate_bits):
        first, second = known[one].label, known[other].label
        rows.append(
            {
                **_drop(first),
                **{f"other_{name}": value for name, value in _drop(second).items()},
                "bits": bits,
                "category": first.category,
                "other_category": second.category,
                "same_category": first.category == second.category,
                "same_side": _held_out(first, thresholds) == _held_out(second, thresholds),
            }
        )
    return rows


def _held_out(label: HumanLabel, thresholds: LabelThresholds) -> bool:
    return any(fnmatch(label.plate, pattern) for pattern in thresholds.held_out_plates)
