"""Drop numbers of 64 bits: a LIMS may put the drop's own key there."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _change(sa.Integer(), sa.BigInteger())


def downgrade() -> None:
    _change(sa.BigInteger(), sa.Integer())


def _change(old: "sa.types.TypeEngine[int]", new: "sa.types.TypeEngine[int]") -> None:
    # Oracle's whole numbers have 38 digits, whatever they are called, and SQLite's 64 bits.
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("images", "drop_number", existing_type=old, type_=new, existing_nullable=False)
