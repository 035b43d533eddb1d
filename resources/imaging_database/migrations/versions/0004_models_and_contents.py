"""Which models are active, and what file a score belongs to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import oracle

revision = "0004"
down_revision = "0003"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime().with_variant(oracle.TIMESTAMP(), "oracle")
DOUBLE = sa.Float().with_variant(oracle.BINARY_DOUBLE(), "oracle")
VERSION_KEY = "fk_c4_models_scorer_version"


def upgrade() -> None:
    in_oracle = op.get_context().dialect.name == "oracle"
    op.add_column("scores", sa.Column("image_sha256", sa.String(length=64), nullable=True))
    op.add_column("scores", sa.Column("image_path", sa.String(length=1024), nullable=True))
    op.add_column("c4_image_failures", sa.Column("image_path", sa.String(length=1024), nullable=True))
    op.create_table(
        "c4_models",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=1024), nullable=False),
        sa.Column("scorer_version", sa.String(length=64), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("made_current_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["scorer_version"], ["c4_scorer_versions.name"], name=op.f(VERSION_KEY)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_c4_models")),
    )
    op.create_table(
        "c4_superseded_scores",
        sa.Column("id", KEY, *([sa.Identity()] if in_oracle else []), nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("image_path", sa.String(length=1024), nullable=True),
        sa.Column("image_sha256", sa.String(length=64), nullable=True),
        sa.Column("score_class_id", KEY, nullable=False),
        sa.Column("scorer_version", sa.String(length=64), nullable=False),
        sa.Column("scored_at", TIME, nullable=False),
        sa.Column("crystal", sa.Boolean(), nullable=True),
        sa.Column("p_clear", DOUBLE, nullable=True),
        sa.Column("p_crystals", DOUBLE, nullable=True),
        sa.Column("p_other", DOUBLE, nullable=True),
        sa.Column("p_precipitate", DOUBLE, nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("superseded_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_c4_superseded_scores")),
    )
    op.create_index("ix_c4_superseded_scores_image_id", "c4_superseded_scores", ["image_id"], unique=False)


def downgrade() -> None:
    op.drop_table("c4_superseded_scores")
    op.drop_table("c4_models")
    op.drop_column("c4_image_failures", "image_path")
    op.drop_column("scores", "image_path")
    op.drop_column("scores", "image_sha256")
