"""When a failed image is asked for again, which inspection is withheld, and numbers that SQLite gives only once."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import oracle

from resources.errors import DataError

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime().with_variant(oracle.TIMESTAMP(), "oracle")
NUMBERED = ("plates", "inspections", "images", "score_classes", "scores", "c4_superseded_scores")
ADDED = {
    "c4_image_failures": {
        "problem": sa.String(length=16),
        "first_failed_at": TIME,
        "retry_at": TIME,
        "given_up": sa.Boolean(),
    },
    "c4_withheld_inspections": {"plate": sa.String(length=1024), "imaged_at": TIME},
}


def upgrade() -> None:
    in_sqlite = op.get_context().dialect.name == "sqlite"
    if in_sqlite:
        _begin_without_foreign_keys()
    for table, columns in ADDED.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))
    if in_sqlite:
        _use_numbers_once()


def _begin_without_foreign_keys() -> None:
    """A table is changed by copying and dropping it, which foreign keys forbid; they are checked before the end.

    SQLite turns them off outside of a transaction alone. They stay off on this connection, which ends with the upgrade.
    """
    connection: Any = op.get_bind().connection.driver_connection
    connection.commit()
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("BEGIN IMMEDIATE")


def _use_numbers_once() -> None:
    for table in NUMBERED:
        with op.batch_alter_table(table, recreate="always", table_kwargs={"sqlite_autoincrement": True}):
            pass
    # Images that are gone have left their numbers in what was said of them.
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'images', 0 "
        "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'images')"
    )
    op.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT max(image_id) FROM c4_superseded_scores), 0)) "
        "WHERE name = 'images'"
    )
    broken = op.get_bind().execute(sa.text("PRAGMA foreign_key_check")).all()
    if broken:
        raise DataError(
            f"{len(broken)} rows of the embedded database refer to others that are not there, the first in the table "
            f"{broken[0][0]}: nothing was changed. Remove them, or bring back what they refer to."
        )


def downgrade() -> None:
    # An earlier release works with numbers that are used once as well.
    for table, columns in ADDED.items():
        for name in columns:
            op.drop_column(table, name)
