"""The contract's tables and C4's own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import oracle

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime().with_variant(oracle.TIMESTAMP(), "oracle")
ONE_SCORE = "uq_scores_image_id_scorer_version"
DOUBLE = sa.Float().with_variant(oracle.BINARY_DOUBLE(), "oracle")


def _numbered(in_oracle: bool) -> "sa.Column[int]":
    # The others number rows by themselves.
    return sa.Column("id", KEY, *([sa.Identity()] if in_oracle else []), nullable=False)


def upgrade() -> None:
    in_oracle = op.get_context().dialect.name == "oracle"
    op.create_table(
        "c4_scorer_versions",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("preprocessing", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(length=64), nullable=False),
        sa.Column("precision", sa.String(length=16), nullable=False),
        sa.Column("crystal_threshold", DOUBLE, nullable=False),
        sa.Column("first_used_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_c4_scorer_versions")),
    )
    op.create_table(
        "plates",
        _numbered(in_oracle),
        sa.Column("barcode", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plates")),
        sa.UniqueConstraint("barcode", name=op.f("uq_plates_barcode")),
    )
    op.create_table(
        "score_classes",
        _numbered(in_oracle),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_score_classes")),
        sa.UniqueConstraint("name", name=op.f("uq_score_classes_name")),
    )
    op.create_table(
        "inspections",
        _numbered(in_oracle),
        sa.Column("plate_id", KEY, nullable=False),
        sa.Column("imaged_at", sa.DateTime(), nullable=False),
        sa.Column("imager", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["plate_id"], ["plates.id"], name=op.f("fk_inspections_plate_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspections")),
        sa.UniqueConstraint("plate_id", "imaged_at", name=op.f("uq_inspections_plate_id_imaged_at")),
    )
    op.create_index(op.f("ix_inspections_imaged_at"), "inspections", ["imaged_at"], unique=False)
    op.create_table(
        "images",
        _numbered(in_oracle),
        sa.Column("inspection_id", KEY, nullable=False),
        sa.Column("well", sa.String(length=8), nullable=False),
        sa.Column("drop_number", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name=op.f("fk_images_inspection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint("inspection_id", "path", name=op.f("uq_images_inspection_id_path")),
    )
    op.create_table(
        "c4_image_failures",
        sa.Column("image_id", KEY, autoincrement=False, nullable=False),
        sa.Column("scorer_version", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_c4_image_failures_image_id")),
        sa.ForeignKeyConstraint(
            ["scorer_version"], ["c4_scorer_versions.name"], name=op.f("fk_c4_image_failures_scorer_version")
        ),
        sa.PrimaryKeyConstraint("image_id", "scorer_version", name=op.f("pk_c4_image_failures")),
    )
    op.create_table(
        "scores",
        _numbered(in_oracle),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("score_class_id", KEY, nullable=False),
        sa.Column("scorer", sa.String(length=64), nullable=False),
        sa.Column("scored_at", TIME, nullable=False),
        sa.Column("scorer_version", sa.String(length=64), nullable=True),
        sa.Column("crystal", sa.Boolean(), nullable=True),
        sa.Column("p_clear", DOUBLE, nullable=True),
        sa.Column("p_crystals", DOUBLE, nullable=True),
        sa.Column("p_other", DOUBLE, nullable=True),
        sa.Column("p_precipitate", DOUBLE, nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_scores_image_id")),
        sa.ForeignKeyConstraint(["score_class_id"], ["score_classes.id"], name=op.f("fk_scores_score_class_id")),
        sa.ForeignKeyConstraint(["scorer_version"], ["c4_scorer_versions.name"], name=op.f("fk_scores_scorer_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
        *([] if in_oracle else [sa.UniqueConstraint("image_id", "scorer_version", name=op.f(ONE_SCORE))]),
    )
    if in_oracle:  # where a human score's NULL would collide with the next one's
        of_machine = sa.text("nvl2(scorer_version, image_id, NULL)")
        op.create_index(ONE_SCORE, "scores", [of_machine, sa.text("scorer_version")], unique=True)
        op.create_index("ix_scores_image_id_scorer_version", "scores", ["image_id", "scorer_version"], unique=False)
    op.create_index("ix_scores_scorer_version_scored_at", "scores", ["scorer_version", "scored_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_scores_scorer_version_scored_at", table_name="scores")
    op.drop_table("scores")
    op.drop_table("c4_image_failures")
    op.drop_table("images")
    op.drop_index(op.f("ix_inspections_imaged_at"), table_name="inspections")
    op.drop_table("inspections")
    op.drop_table("score_classes")
    op.drop_table("plates")
    op.drop_table("c4_scorer_versions")
