"""Checks of labels: what people say about drops, before a model learns from it."""

from c4_assets.checks.archive import readable_check
from c4_assets.checks.check import Check, between, one_of
from resources.records import CATEGORIES

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
    readable_check("label_archive_readable", ASSET, "week's and earlier labels", "materialise those weeks again"),
)
