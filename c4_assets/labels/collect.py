"""Collects what people scored in a week, with the tables that checks and reports need."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatch
from itertools import groupby

from c4_assets.checks.archive import archive_table
from c4_assets.checks.check import Tables, Verdict
from c4_assets.labels.agreement import (
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
from resources.archive.label_archive import ArchivedLabel, read_labels
from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.labels import human_labels
from resources.imaging_database.work import scorer_versions
from resources.records import CATEGORIES, HumanLabel
from resources.settings.checks import LabelThresholds


def collect_labels(
    start: datetime, end: datetime, database: ImagingDatabase, archive: ScoreArchive, thresholds: LabelThresholds
) -> tuple[list[ArchivedLabel], Tables]:
    """The labels of a week, with their images' perceptual hashes, and the tables that checks judge.

    Raises:
        Unavailable: the database does not answer.
    """
    found = human_labels(database, archive.scorer_version, start, end)
    hashes = {day: archive.fingerprints(day) for day in {label.imaged_at.date() for label in found}}
    labels = [
        ArchivedLabel(label, hashes[label.imaged_at.date()].get((label.image_id, label.path)), None) for label in found
    ]
    before = read_labels(archive, start.date() - timedelta(weeks=1), thresholds.compared_weeks)
    earlier = [each for week in before.values() for each in week]
    weeks = [start.date() - timedelta(weeks=number) for number in range(thresholds.compared_weeks + 1)]
    set_aside = [file for week in weeks for file in archive.set_aside_of_week("labels", week)]
    tables = label_tables(labels, earlier, thresholds, scorer_versions(database))
    return labels, {**tables, **archive_table(set_aside)}


def without_left_out(labels: list[ArchivedLabel], verdicts: Sequence[Verdict]) -> list[ArchivedLabel]:
    """Marks labels that fail a blocking check with the name of the check."""
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
    """The tables that checks of labels judge: labels, changed ones, agreement, categories, near-duplicates, scorers.

    Args:
        labels: all labels of the week.
        earlier: labels of earlier weeks, among which near-duplicates are searched.
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
    """One row per image that a person has labelled with two categories."""

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
    """One row per pair of labelled images that look the same, one of them labelled in the week."""
    # Of several labels of an image the newest counts, as in Ashes.
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
