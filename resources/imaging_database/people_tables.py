"""The tables of people, and of what they do on C4's pages. They are C4's own; the pages' login alone writes to them."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, UniqueConstraint

from resources.imaging_database.columns import INT64, UtcDateTime, metadata
from resources.records import MAX_TEXT_LENGTH

PERSON = "c4_people.name"
LONGEST_NAME = 64
"""Characters of a person's name: as many as ``scores.scorer`` has."""

LONGEST_REMARK = 1000
"""Characters of a note. Oracle's texts have 4,000 bytes."""

c4_people = Table(
    "c4_people",
    metadata,
    # As it stands in ``scores.scorer``.
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("display_name", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    # Who says who the person is (OIDC). Both or none: in Oracle, half a key would collide.
    Column("issuer", String(255)),
    Column("subject", String(255)),
    # Argon2id; empty where the person has no password.
    Column("password_hash", String(255)),
    Column("active", Boolean, nullable=False),
    Column("created_at", UtcDateTime(), nullable=False),
    UniqueConstraint("issuer", "subject"),
)

c4_person_aliases = Table(
    "c4_person_aliases",
    metadata,
    # What the LIMS calls the person.
    Column("scorer", String(LONGEST_NAME), primary_key=True),
    Column("person", String(LONGEST_NAME), ForeignKey(PERSON), nullable=False),
)

c4_sessions = Table(
    "c4_sessions",
    metadata,
    # The token itself is in the browser alone.
    Column("token_sha256", String(64), primary_key=True),
    Column("person", String(LONGEST_NAME), ForeignKey(PERSON), nullable=False, index=True),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("expires_at", UtcDateTime(), nullable=False),
    Column("last_seen_at", UtcDateTime(), nullable=False),
)

c4_api_tokens = Table(
    "c4_api_tokens",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("person", String(LONGEST_NAME), ForeignKey(PERSON), nullable=False, index=True),
    # What it is for.
    Column("name", String(64), nullable=False),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("expires_at", UtcDateTime(), nullable=False),
    Column("last_used_at", UtcDateTime()),
    Column("revoked_at", UtcDateTime()),
)

c4_score_requests = Table(
    "c4_score_requests",
    metadata,
    # Made by the page: the same request, sent again, is the same row.
    Column("request_id", String(36), primary_key=True),
    Column("person", String(LONGEST_NAME), nullable=False),
    Column("made_at", UtcDateTime(), nullable=False),
    # The request that this one takes back: each can be taken back once.
    Column("undoes", String(36), unique=True),
)

c4_class_display = Table(
    "c4_class_display",
    metadata,
    Column("score_class_id", INT64, ForeignKey("score_classes.id"), primary_key=True, autoincrement=False),
    # The order of the classes, best first; 1 is the best.
    Column("rank", Integer, nullable=False),
    Column("colour", String(16), nullable=False),
    Column("key", String(16)),
    Column("is_hit", Boolean, nullable=False),
)

c4_favourites = Table(
    "c4_favourites",
    metadata,
    Column("person", String(LONGEST_NAME), ForeignKey(PERSON), primary_key=True),
    Column("image_id", INT64, ForeignKey("images.id"), primary_key=True, autoincrement=False, index=True),
    # As in ``scores``: the number may be another image's by now.
    Column("image_path", String(MAX_TEXT_LENGTH)),
    Column("created_at", UtcDateTime(), nullable=False),
)

c4_notes = Table(
    "c4_notes",
    metadata,
    Column("id", INT64, primary_key=True),
    Column("image_id", INT64, ForeignKey("images.id"), nullable=False, index=True),
    Column("image_path", String(MAX_TEXT_LENGTH)),
    Column("person", String(LONGEST_NAME), ForeignKey(PERSON), nullable=False),
    Column("note", String(LONGEST_REMARK), nullable=False),
    Column("written_at", UtcDateTime(), nullable=False),
    # The only column that changes.
    Column("withdrawn_at", UtcDateTime()),
    sqlite_autoincrement=True,
)

c4_tags = Table(
    "c4_tags",
    metadata,
    Column("image_id", INT64, ForeignKey("images.id"), primary_key=True, autoincrement=False),
    Column("tag", String(64), primary_key=True),
    Column("image_path", String(MAX_TEXT_LENGTH)),
    Column("person", String(LONGEST_NAME), ForeignKey(PERSON), nullable=False),
    Column("created_at", UtcDateTime(), nullable=False),
    Index("ix_c4_tags_tag", "tag"),
)

c4_audit = Table(
    "c4_audit",
    metadata,
    Column("id", INT64, primary_key=True),
    Column("happened_at", UtcDateTime(), nullable=False, index=True),
    # Empty where nobody had logged in. No foreign key: what was done stays when a person goes.
    Column("person", String(LONGEST_NAME)),
    Column("address", String(64)),
    Column("action", String(32), nullable=False),
    Column("subject", String(255)),
    # JSON.
    Column("detail", String(LONGEST_REMARK)),
    Index("ix_c4_audit_address_happened_at", "address", "happened_at"),
    Index("ix_c4_audit_subject_happened_at", "subject", "happened_at"),
    Index("ix_c4_audit_person_happened_at", "person", "happened_at"),
    sqlite_autoincrement=True,
)
