"""Checks of images: as many as expected, one per drop, each a file of its own that belongs to its inspection."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

from c4_assets.checks.check import Check, Tables, absent, between, unique
from c4_assets.checks.thresholds import ImageThresholds
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedFile, Staging
from resources.records import ImageOutcome, Inspection

ASSET = "raw_inspection_images"

DROP_COLUMNS = ("plate", "well", "drop", "image_id")
INSPECTION_COLUMNS = ("plate", "inspection_id")

CHECKS = (
    Check(
        name="images_as_promised",
        asset=ASSET,
        table="inspections",
        severity="warning",
        holds="Each inspection has as many images as its plate's format and its earlier inspections promise.",
        remedy="look whether the imager has stopped or still uploads; images that arrive are scored by the next run.",
        expectations=lambda _: [between("missing", most=0)],
        shown=(*INSPECTION_COLUMNS, "images", "promised"),
    ),
    Check(
        name="one_image_a_drop",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="No two images of an inspection show the same drop.",
        remedy="find out which image is the drop's; both are scored.",
        expectations=lambda _: [unique("inspection_id", "well", "drop")],
        shown=(*DROP_COLUMNS, "path"),
    ),
    Check(
        name="images_in_the_store",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="Every image that the database lists could be fetched.",
        remedy="see `c4 status --failures`; mend the store or the listing, then `c4 retry`.",
        expectations=lambda _: [absent("not_fetched")],
        shown=(*DROP_COLUMNS, "not_fetched"),
    ),
    Check(
        name="images_of_plausible_size",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="Every file is as large as a photograph, and not much smaller than others of its inspection.",
        remedy="look at the images; copy those that were cut off again from the imager.",
        expectations=lambda t: [
            between("kilobytes", least=t.images.least_kilobytes),
            between("of_median", least=t.images.least_of_median),
        ],
        shown=(*DROP_COLUMNS, "kilobytes", "of_median"),
    ),
    Check(
        name="no_image_twice",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="No two images of an inspection are the same file, byte for byte.",
        remedy="find out which drop each picture shows: the scores of the others belong to another drop.",
        expectations=lambda _: [between("copies", most=1)],
        shown=(*DROP_COLUMNS, "copies", "sha256"),
    ),
    Check(
        name="inspection_is_not_one_frame",
        asset=ASSET,
        table="inspections",
        severity="blocking",
        stops="inspection",
        holds="An inspection's images are not one and the same frame.",
        remedy="the imager has sent one picture again and again. Image the plate anew, or copy the images again and "
        "`c4 checks rescore` the inspection.",
        expectations=lambda t: [between("one_frame_share", most=t.images.one_frame_share)],
        shown=(*INSPECTION_COLUMNS, "images", "one_frame_share"),
    ),
    Check(
        name="images_of_their_inspection",
        asset=ASSET,
        table="images",
        severity="warning",
        holds="Every image was taken about when its inspection was, as far as the file tells (EXIF).",
        remedy="check the imager's clock, and whether files of another inspection lie under these names.",
        expectations=lambda t: [between("hours_away", most=t.images.hours_from_inspection)],
        shown=(*DROP_COLUMNS, "taken_at", "hours_away"),
    ),
)


@dataclass(frozen=True)
class File:
    """What is known about an image's file, staged or scored."""

    sha256: str | None
    size: int | None
    taken_at: datetime | None
    error: str | None

    @classmethod
    def of(cls, known: StagedFile | ImageOutcome) -> "File":
        """The file of a staged image or of an outcome."""
        return cls(known.sha256, known.size, known.taken_at, known.error)


def known_files(day: date, listed: Iterable[Inspection], staging: Staging, archive: ScoreArchive) -> dict[int, File]:
    """What is known about the files of a day, by image. A staged file takes precedence over a scored one."""
    files = {outcome.image.image_id: File.of(outcome) for outcome in archive.outcomes(day)}
    for inspection in listed:
        files |= {file.image_id: File.of(file) for file in staging.files(day, inspection.inspection_id)}
    return files


def image_tables(
    listed: Sequence[Inspection], files: Mapping[int, File], thresholds: ImageThresholds, now: datetime
) -> Tables:
    """One row per image that the database lists, and one per inspection.

    Unknown values are missing, and so not judged: those of an image that has not been fetched, the time of a file that
    has none in it, the number of images of an inspection that may still be uploaded.
    """
    import pandas as pd

    images = [row for inspection in listed for row in _image_rows(inspection, files)]
    inspections = [_inspection_row(inspection, files, thresholds, now) for inspection in listed]
    return {"images": pd.DataFrame(images), "inspections": pd.DataFrame(inspections)}


def _image_rows(inspection: Inspection, files: Mapping[int, File]) -> Iterable[dict[str, object]]:
    known = [file for image in inspection.images if (file := files.get(image.image_id))]
    copies = Counter(file.sha256 for file in known if file.sha256)
    sizes = [file.size for file in known if file.size is not None]
    typical = median(sizes) if sizes else 0
    for image in inspection.images:
        file = files.get(image.image_id) or File(None, None, None, None)
        taken = file.taken_at
        away = None if taken is None else abs(taken - inspection.imaged_at).total_seconds() / 3600
        yield {
            "image_id": image.image_id,
            "inspection_id": inspection.inspection_id,
            "plate": inspection.plate,
            "well": image.well,
            "drop": image.drop_number,
            "path": image.path,
            "sha256": file.sha256,
            "copies": float(copies[file.sha256]) if file.sha256 else None,
            "kilobytes": None if file.size is None else file.size / 1000,
            "of_median": None if file.size is None or not typical else file.size / typical,
            "taken_at": taken.isoformat() if taken else None,
            "hours_away": away,
            "not_fetched": file.error if file.sha256 is None else None,
        }


def _inspection_row(
    inspection: Inspection, files: Mapping[int, File], thresholds: ImageThresholds, now: datetime
) -> dict[str, object]:
    known = [file.sha256 for image in inspection.images if (file := files.get(image.image_id)) and file.sha256]
    images, form = len(inspection.images), thresholds.plate_format
    promised = max(-(-images // form) * form, inspection.most_images_before)
    young = now - inspection.imaged_at < timedelta(hours=thresholds.settling_hours)
    return {
        "inspection_id": inspection.inspection_id,
        "plate": inspection.plate,
        "path": inspection.images[0].path,
        "images": images,
        "promised": promised,
        "missing": None if young else float(promised - images),
        # A single image repeats nothing.
        "one_frame_share": max(Counter(known).values()) / len(known) if len(known) > 1 else None,
    }
