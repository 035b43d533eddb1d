"""People and what they do on C4's pages, the requests that scores belong to, and the class that takes a score back."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import oracle

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime().with_variant(oracle.TIMESTAMP(), "oracle")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME, DIGEST, PATH = sa.String(length=64), sa.String(length=64), sa.String(length=1024)

Table = dict[str, tuple[Any, bool]]
"""Columns: type, and whether they may be empty."""

TABLES: dict[str, Table] = {
    "c4_people": {
        "name": (NAME, False),
        "display_name": (sa.String(length=255), False),
        "role": (sa.String(length=16), False),
        "issuer": (sa.String(length=255), True),
        "subject": (sa.String(length=255), True),
        "password_hash": (sa.String(length=255), True),
        "active": (sa.Boolean(), False),
        "created_at": (TIME, False),
    },
    "c4_person_aliases": {"scorer": (NAME, False), "person": (NAME, False)},
    "c4_sessions": {
        "token_sha256": (DIGEST, False),
        "person": (NAME, False),
        "created_at": (TIME, False),
        "expires_at": (TIME, False),
        "last_seen_at": (TIME, False),
    },
    "c4_api_tokens": {
        "token_sha256": (DIGEST, False),
        "person": (NAME, False),
        "name": (sa.String(length=64), False),
        "created_at": (TIME, False),
        "expires_at": (TIME, False),
        "last_used_at": (TIME, True),
        "revoked_at": (TIME, True),
    },
    "c4_score_requests": {
        "request_id": (sa.String(length=36), False),
        "person": (NAME, False),
        "made_at": (TIME, False),
        "undoes": (sa.String(length=36), True),
    },
    "c4_class_display": {
        "score_class_id": (KEY, False),
        "rank": (sa.Integer(), False),
        "colour": (sa.String(length=16), False),
        "key": (sa.String(length=16), True),
        "is_hit": (sa.Boolean(), False),
    },
    "c4_favourites": {
        "person": (NAME, False),
        "image_id": (KEY, False),
        "image_path": (PATH, True),
        "created_at": (TIME, False),
    },
    "c4_notes": {
        "id": (KEY, False),
        "image_id": (KEY, False),
        "image_path": (PATH, True),
        "person": (NAME, False),
        "note": (sa.String(length=1000), False),
        "written_at": (TIME, False),
        "withdrawn_at": (TIME, True),
    },
    "c4_tags": {
        "image_id": (KEY, False),
        "tag": (sa.String(length=64), False),
        "image_path": (PATH, True),
        "person": (NAME, False),
        "created_at": (TIME, False),
    },
    "c4_audit": {
        "id": (KEY, False),
        "happened_at": (TIME, False),
        "person": (NAME, True),
        "address": (sa.String(length=64), True),
        "action": (sa.String(length=32), False),
        "subject": (sa.String(length=255), True),
        "detail": (sa.String(length=1000), True),
    },
}

PRIMARY_KEYS = {
    "c4_people": ["name"],
    "c4_person_aliases": ["scorer"],
    "c4_sessions": ["token_sha256"],
    "c4_api_tokens": ["token_sha256"],
    "c4_score_requests": ["request_id"],
    "c4_class_display": ["score_class_id"],
    "c4_favourites": ["person", "image_id"],
    "c4_notes": ["id"],
    "c4_tags": ["image_id", "tag"],
    "c4_audit": ["id"],
}

UNIQUE = {"c4_people": ["issuer", "subject"], "c4_score_requests": ["undoes"]}

REFERENCES = {
    "c4_person_aliases": {"person": "c4_people.name"},
    "c4_sessions": {"person": "c4_people.name"},
    "c4_api_tokens": {"person": "c4_people.name"},
    "c4_class_display": {"score_class_id": "score_classes.id"},
    "c4_favourites": {"person": "c4_people.name", "image_id": "images.id"},
    "c4_notes": {"image_id": "images.id", "person": "c4_people.name"},
    "c4_tags": {"image_id": "images.id", "person": "c4_people.name"},
}

INDEXES = {
    "c4_sessions": [["person"]],
    "c4_api_tokens": [["person"]],
    "c4_favourites": [["image_id"]],
    "c4_notes": [["image_id"]],
    "c4_tags": [["tag"]],
    "c4_audit": [
        ["happened_at"],
        ["address", "happened_at"],
        ["subject", "happened_at"],
        ["person", "happened_at"],
    ],
}


def upgrade() -> None:
    for table in TABLES:
        _create(table)
    op.add_column("scores", sa.Column("request_id", sa.String(length=36), nullable=True))
    # Where no class is there yet, `c4 db seed-classes` adds it with the others.
    op.execute(
        "INSERT INTO score_classes (name) SELECT 'withdrawn' FROM score_classes "
        "WHERE name = 'crystals' AND NOT EXISTS (SELECT 1 FROM score_classes WHERE name = 'withdrawn')"
    )


def _create(table: str) -> None:
    key, unique = PRIMARY_KEYS[table], UNIQUE.get(table)
    numbered = key == ["id"]
    identity = [sa.Identity()] if numbered and op.get_context().dialect.name == "oracle" else []
    columns = [
        sa.Column(name, kind, *(identity if name == "id" else []), nullable=nullable, autoincrement=name == "id")
        for name, (kind, nullable) in TABLES[table].items()
    ]
    references = [
        sa.ForeignKeyConstraint([name], [target], name=op.f(f"fk_{table}_{name}"))
        for name, target in REFERENCES.get(table, {}).items()
    ]
    op.create_table(
        table,
        *columns,
        *references,
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
        *([sa.UniqueConstraint(*unique, name=op.f(f"uq_{table}_{'_'.join(unique)}"))] if unique else []),
        **({"sqlite_autoincrement": True} if numbered else {}),
    )
    for index in INDEXES.get(table, []):
        op.create_index(op.f(f"ix_{table}_{'_'.join(index)}"), table, index)


def downgrade() -> None:
    op.drop_column("scores", "request_id")
    for table in reversed(TABLES):
        op.drop_table(table)
