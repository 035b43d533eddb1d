"""Indexes for what one person has said, and for the likeliest crystals of a span of time."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

OF_PERSON = "ix_scores_scorer_scored_at"
OF_CRYSTALS = "ix_scores_scorer_version_crystal_scored_at"


def upgrade() -> None:
    human = sa.text("scorer_version IS NULL")
    op.create_index(OF_PERSON, "scores", ["scorer", "scored_at"], postgresql_where=human, sqlite_where=human)
    op.create_index(
        OF_CRYSTALS,
        "scores",
        ["scorer_version", "crystal", "scored_at", "p_crystals", "image_id"],
        postgresql_where=sa.text("crystal"),
        sqlite_where=sa.text("crystal = 1"),
    )


def downgrade() -> None:
    op.drop_index(OF_CRYSTALS, table_name="scores")
    op.drop_index(OF_PERSON, table_name="scores")
