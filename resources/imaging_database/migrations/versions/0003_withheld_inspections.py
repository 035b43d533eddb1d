"""Inspections whose scores a data quality check keeps out of the database."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import oracle

revision = "0003"
down_revision = "0002"

TIME = sa.DateTime().with_variant(oracle.TIMESTAMP(), "oracle")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "c4_withheld_inspections",
        sa.Column("inspection_id", KEY, autoincrement=False, nullable=False),
        sa.Column("scorer_version", sa.String(length=64), nullable=False),
        sa.Column("check_name", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("withheld_at", TIME, nullable=False),
        sa.Column("released_by", sa.String(length=64), nullable=True),
        sa.Column("released_at", TIME, nullable=True),
        sa.Column("release_reason", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["inspections.id"], name=op.f("fk_c4_withheld_inspections_inspection_id")
        ),
        sa.ForeignKeyConstraint(
            ["scorer_version"], ["c4_scorer_versions.name"], name=op.f("fk_c4_withheld_inspections_scorer_version")
        ),
        sa.PrimaryKeyConstraint(
            "inspection_id", "scorer_version", "check_name", name=op.f("pk_c4_withheld_inspections")
        ),
    )


def downgrade() -> None:
    op.drop_table("c4_withheld_inspections")
