"""What assets declare in the same way: group, owner, columns, lineage, and keys of metadata that code reads back."""

import base64
import re
from collections.abc import Sequence

import dagster as dg

from c4_assets.pictures.contact_sheet import Tile, contact_sheet
from resources.records import ImageState

GROUP = "drops"
"""All assets are in one group: with several, Dagster's lineage page opens with the groups folded."""

FACILITY = "team:crystallisation-facility"

# Keys of metadata that code reads back. Stored events keep their keys, so a key must not change.
SCORER_VERSION_KEY = "scorer version"
PARTITION_ROWS_KEY = "dagster/partition_row_count"
IMAGES_STAGED_KEY = "images staged"
IMAGES_SCORED_KEY = "images scored"
IMAGES_LEFT_KEY = "images left for the next run"
"""Pending images of a day for which staging had no room."""
IMAGES_PER_SECOND_KEY = "images per second"
MODEL_WAITED_KEY = "seconds the network waited"
MODEL_COMPUTED_KEY = "seconds the network computed"
"""The two keys are of the seconds that the model waited for decoded images and that it computed."""
COMPUTED_BY_KEY = "computed by"
ROWS_WRITTEN_KEY = "rows written"
IMAGES_PENDING_KEY = f"images {ImageState.PENDING}"
PER_CENT_DONE_KEY = "per cent done"
DAYS_LEFT_KEY = "days to the expected end"
IMAGES_GIVEN_UP_KEY = "images given up"
"""Images that nobody tries or waits for any more, and did before this run."""
GIVEN_UP_NAMED_KEY = "images given up, named"
IMAGES_FAILED_KEY = "images failed"


COLUMN_DESCRIPTIONS = {
    "image_id": "Number of the image in the imaging database.",
    "inspection_id": "Number of the inspection: one imaging of one plate.",
    "plate": "Barcode of the plate.",
    "imaged_at": "Time of the inspection.",
    "well": "Row and column on the plate.",
    "drop_number": "Number of the drop in its well.",
    "path": "File below the image store's root.",
    "sha256": "Digest of the file that was scored, or is shown.",
    "image_sha256": "Digest of the file that was scored, or is shown.",
    "image_path": "Where that file was below the image store's root.",
    "p_clear": "Probability that the drop is clear.",
    "p_crystals": "Probability that the drop holds crystals.",
    "p_other": "Probability of anything else.",
    "p_precipitate": "Probability that the drop holds precipitate.",
    "scored_at": "Time of the score, or of the attempt that failed.",
    "error": "Why the image has no score or thumbnail; empty where it has one.",
    "problem": "Whose matter the error is: of the file, of a file that is absent, of the store.",
    "size": "Bytes of the file.",
    "taken_at": "When the file itself says that it was taken (EXIF).",
    "brightness": "Mean level of the central square, 0 to 255.",
    "black": "Share of its pixels that are black.",
    "saturated": "Share of its pixels that are saturated.",
    "sharpness": "Variance of its Laplacian; low is blurred or empty.",
    "perceptual_hash": "256 bits that are alike for images that look alike.",
    "width": "Of the original, in pixels.",
    "height": "Of the original, in pixels.",
    "webp": "The thumbnail; null for an image that has none.",
    "seen_at": "Time at which the file was fetched.",
    "category": "The likeliest of the four categories.",
    "crystal": "Whether the probability of crystals reaches the scorer version's operating point.",
    "rank": "Place within the inspection by the probability of crystals, 1 first.",
    "score_class_id": "The category as a row of score_classes.",
    "scorer": "Who scored: here the scorer version.",
    "scorer_version": "The scorer version, as in c4_scorer_versions.",
    "run_id": "The Dagster run that wrote the row.",
    "human": "Who scored the image.",
    "human_class": "The class that was given.",
    "human_category": "The category that the class belongs to.",
    "human_scored_at": "Time of the newest human score.",
    "left_out": "The blocking check that leaves the label out of what a model learns from; empty for most.",
    "machine_category": "The category that the scorer version gave.",
}


def markdown_cell(text: str) -> str:
    """Escapes text from the database as a cell of a Markdown table, so that it is not taken for Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~])", r"\\\1", " ".join(text.split()))


def column_schema(**columns: str) -> dict[str, dg.TableSchemaMetadataValue]:
    """Metadata that shows a dataset's columns (name: type) on the asset's page, with what they mean."""
    schema = dg.TableSchema(
        columns=[dg.TableColumn(name, kind, COLUMN_DESCRIPTIONS[name]) for name, kind in columns.items()]
    )
    return {"dagster/column_schema": dg.MetadataValue.table_schema(schema)}


def column_lineage(upstream: str, *columns: str, **derived: tuple[str, ...]) -> dict[str, dg.MetadataValue]:
    """Metadata that shows which columns of an upstream asset a dataset's columns come from.

    Args:
        columns: those with the same name in the upstream asset.
        derived: for each other column, the upstream columns that it is computed from.
    """
    made_of = {**{name: (name,) for name in columns}, **derived}
    lineage = dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(upstream), column) for column in sources]
            for name, sources in made_of.items()
        }
    )
    return {"dagster/column_lineage": dg.MetadataValue.column_lineage(lineage)}


def peak_memory() -> float:
    """The most memory that this process has used, in MB: what its step must ask a cluster for."""
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1)


def scorer_version_metadata(name: str) -> dict[str, dg.MetadataValue]:
    """Metadata that names the scorer version that a materialisation belongs to."""
    return {SCORER_VERSION_KEY: dg.MetadataValue.text(name)}


def sheet_metadata(tiles: Sequence[Tile]) -> dg.MetadataValue:
    """A contact sheet that Dagster's UI shows in an asset's metadata, or a sentence if there are no tiles."""
    if not tiles:
        return dg.MetadataValue.md("No image yet.")
    picture = base64.b64encode(contact_sheet(tiles)).decode()
    return dg.MetadataValue.md(f"![contact sheet](data:image/jpeg;base64,{picture})")
