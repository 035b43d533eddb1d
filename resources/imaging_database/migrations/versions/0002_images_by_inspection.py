"""An index that alone answers which images an inspection has: the poll then reads no image's row."""

from alembic import op

revision = "0002"
down_revision = "0001"

NAME = "ix_images_inspection_id_id"


def upgrade() -> None:
    op.create_index(NAME, "images", ["inspection_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(NAME, table_name="images")
