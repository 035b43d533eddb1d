"""The relations of the imaging database that C4 reads and writes.

A site maps its LIMS to ``plates``, ``inspections``, ``images`` and ``score_classes`` with views or tables of these
names; ``scores`` and the ``c4_`` tables are C4's own. The embedded default creates them all. Times are UTC without an
offset. The tables of people and pages are in ``people_tables.py``.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import oracle

from resources.imaging_database import people_tables
from resources.imaging_database.columns import INT64, UtcDateTime
from resources.records import MAX_TEXT_LENGTH

VERSION_TABLE = "c4_schema_version"
"""Where Alembic keeps how far the tables are."""

metadata = people_tables.metadata
"""All of C4's relations, those of people among them."""

_int64 = _key = INT64
# Oracle's FLOAT is a decimal number.
_real = Float().with_variant(oracle.BINARY_DOUBLE(), "oracle")


# Oracle has no index of some rows: there these are of all. SQLite proves that a row is in it by the very same words.
_OF_PEOPLE: dict[str, Any] = {
    "postgresql_where": text("scorer_version IS NULL"),
    "sqlite_where": text("scorer_version IS NULL"),
}
_FLAGGED: dict[str, Any] = {"postgresql_where": text("crystal"), "sqlite_where": text("crystal = 1")}


def _reference(name: str, target: str) -> Column[Any]:
    return Column(name, _key, ForeignKey(target), nullable=False)


plates = Table(
    "plates",
    metadata,
    Column("id", _key, primary_key=True),
    Column("barcode", String(64), nullable=False, unique=True),
    sqlite_autoincrement=True,
)

inspections = Table(
    "inspections",
    metadata,
    Column("id", _key, primary_key=True),
    _reference("plate_id", "plates.id"),
    Column("imaged_at", UtcDateTime(fraction=False), nullable=False, index=True),
    Column("imager", String(64)),
    UniqueConstraint("plate_id", "imaged_at"),
    sqlite_autoincrement=True,
)

images = Table(
    "images",
    metadata,
    Column("id", _key, primary_key=True),
    _reference("inspection_id", "inspections.id"),
    Column("well", String(8), nullable=False),
    Column("drop_number", _int64, nullable=False),
    # Relative to the image store's root, with forward slashes.
    Column("path", String(1024), nullable=False),
    UniqueConstraint("inspection_id", "path"),
    # It alone answers which images an inspection has: the poll reads no row.
    Index("ix_images_inspection_id_id", "inspection_id", "id"),
    sqlite_autoincrement=True,
)

score_classes = Table(
    "score_classes",
    metadata,
    Column("id", _key, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # One of the four categories; empty for a class that says nothing of the drop («bad image»).
    Column("category", String(16)),
    sqlite_autoincrement=True,
)

c4_scorer_versions = Table(
    "c4_scorer_versions",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("preprocessing", String(64), nullable=False),
    Column("engine", String(64), nullable=False),
    Column("precision", String(16), nullable=False),
    Column("crystal_threshold", _real, nullable=False),
    Column("first_used_at", UtcDateTime(), nullable=False),
)

scores = Table(
    "scores",
    metadata,
    Column("id", _key, primary_key=True),
    _reference("image_id", "images.id"),
    _reference("score_class_id", "score_classes.id"),
    # A person's name, or the scorer version's.
    Column("scorer", String(64), nullable=False),
    Column("scored_at", UtcDateTime(), nullable=False),
    # Only machine scores have what follows.
    Column("scorer_version", String(64), ForeignKey("c4_scorer_versions.name")),
    Column("crystal", Boolean),
    Column("p_clear", _real),
    Column("p_crystals", _real),
    Column("p_other", _real),
    Column("p_precipitate", _real),
    Column("run_id", String(64)),
    # What was scored: the digest of the file and its place in the image store. Empty in rows of release 0.1.
    Column("image_sha256", String(64)),
    Column("image_path", String(1024)),
    # Only scores that people give on C4's pages have one: of ``c4_score_requests``.
    Column("request_id", String(36)),
    # An image may have many human scores: they have no scorer version, and NULLs do not collide. In Oracle they do:
    # ``ddl.py`` has what stands there in place of this constraint.
    UniqueConstraint("image_id", "scorer_version"),
    Index("ix_scores_scorer_version_scored_at", "scorer_version", "scored_at"),
    # What one person has said.
    Index("ix_scores_scorer_scored_at", "scorer", "scored_at", **_OF_PEOPLE),
    # The likeliest crystals of a span of time. Few scores are flagged: it alone answers which those are.
    Index(
        "ix_scores_scorer_version_crystal_scored_at",
        "scorer_version",
        "crystal",
        "scored_at",
        "p_crystals",
        "image_id",
        **_FLAGGED,
    ),
    sqlite_autoincrement=True,
)

c4_image_failures = Table(
    "c4_image_failures",
    metadata,
    Column("image_id", _key, ForeignKey("images.id"), primary_key=True, autoincrement=False),
    Column("scorer_version", String(64), ForeignKey("c4_scorer_versions.name"), primary_key=True),
    Column("reason", String(1000), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failed_at", UtcDateTime(), nullable=False),
    Column("image_path", String(1024)),
    # Whose matter the last failure was (``resources.records.Problem``). Rows of earlier releases do not say.
    Column("problem", String(16)),
    Column("first_failed_at", UtcDateTime()),
    # The image is not asked for before; without a time it is, as long as attempts are left.
    Column("retry_at", UtcDateTime()),
    Column("given_up", Boolean),
)

c4_models = Table(
    "c4_models",
    metadata,
    Column("name", String(64), primary_key=True),
    # A published model, or the path of a SavedModel.
    Column("source", String(1024), nullable=False),
    Column("scorer_version", String(64), ForeignKey("c4_scorer_versions.name"), nullable=False),
    Column("active", Boolean, nullable=False),
    # The active model that was made current last is the current one.
    Column("made_current_at", UtcDateTime(), nullable=False),
)

c4_superseded_scores = Table(
    "c4_superseded_scores",
    metadata,
    Column("id", _key, primary_key=True),
    # The image as it was when it was scored. Its number may be another image's by now.
    Column("image_id", _key, nullable=False, index=True),
    Column("image_path", String(1024)),
    Column("image_sha256", String(64)),
    Column("score_class_id", _key, nullable=False),
    Column("scorer_version", String(64), nullable=False),
    Column("scored_at", UtcDateTime(), nullable=False),
    Column("crystal", Boolean),
    Column("p_clear", _real),
    Column("p_crystals", _real),
    Column("p_other", _real),
    Column("p_precipitate", _real),
    Column("run_id", String(64)),
    Column("superseded_at", UtcDateTime(), nullable=False),
    sqlite_autoincrement=True,
)

c4_withheld_inspections = Table(
    "c4_withheld_inspections",
    metadata,
    Column("inspection_id", _key, ForeignKey("inspections.id"), primary_key=True, autoincrement=False),
    Column("scorer_version", String(64), ForeignKey("c4_scorer_versions.name"), primary_key=True),
    Column("check_name", String(64), primary_key=True),
    Column("reason", String(1000), nullable=False),
    # Images that were judged: where the database lists more by now, the inspection is judged again.
    Column("images", Integer, nullable=False),
    Column("withheld_at", UtcDateTime(), nullable=False),
    Column("released_by", String(64)),
    Column("released_at", UtcDateTime()),
    Column("release_reason", String(1000)),
    # The inspection as it was judged. Its number may be another one's by now.
    Column("plate", String(MAX_TEXT_LENGTH)),
    Column("imaged_at", UtcDateTime()),
)

human_scores = Table(
    "human_scores",
    MetaData(),
    Column("id", _key, primary_key=True),
    Column("image_id", _key, nullable=False),
    Column("score_class_id", _key, nullable=False),
    Column("scorer", String(64), nullable=False),
    Column("scored_at", UtcDateTime(), nullable=False),
)
"""A view that a site may add, where its LIMS keeps what people say in a table of its own.

Where it is there, it tells all human scores beside those that people give on C4's pages.
"""

plate_access = Table(
    "plate_access",
    MetaData(),
    Column("plate_id", _key, nullable=False),
    Column("member", String(64), nullable=False),
)
"""A view that a site may add: which people may see a plate. Where it is there, others see nothing of the plate."""

plate_details = Table(
    "plate_details",
    MetaData(),
    Column("plate_id", _key, nullable=False),
    Column("project", String(64)),
    Column("owner", String(64)),
    Column("name", String(64)),
)
"""A view that a site may add: whose a plate is, and for what.

A plate of several projects has a row for each. Mails of new crystals and the search for plates ask for it.
"""

image_details = Table(
    "image_details",
    MetaData(),
    Column("image_id", _key, nullable=False),
    Column("microns_per_pixel", _real),
    # Such as visible, uv, polarised.
    Column("light", String(64)),
    # Where the focal plane lies, in micrometres or as a number of the plane: what the site has.
    Column("focus", _real),
)
"""A view that a site may add: how an image was taken."""
