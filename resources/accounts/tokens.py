"""Tokens: 256 random bits that their holder alone has. The database keeps their digest, which opens nothing."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select

from resources.accounts.people import Person, lock_active, person_of
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Action, Actor, write_audit
from resources.imaging_database.people_tables import c4_api_tokens, c4_people

API_PREFIX = "c4_"
"""By it, scanners of secrets and C4's own logs know a token of the API."""

NOTED_EVERY = timedelta(minutes=1)
"""How often it is written down that a token or a session is in use."""

LONGEST_DAYS = 366

_RANDOM = re.compile(r"[\w-]{43}", re.ASCII)


@dataclass(frozen=True)
class ApiToken:
    """A token of the API, as it is listed: without the token."""

    person: str
    name: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class NewApiToken:
    """A token that was just made. It is shown once."""

    token: str = field(repr=False)
    expires_at: datetime


def new_token() -> str:
    """A token that nobody guesses, for a cookie or a header."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str | None:
    """What the database keeps of a token; ``None`` of what is none."""
    return hashlib.sha256(token.encode()).hexdigest() if _RANDOM.fullmatch(token) else None


def add_api_token(
    database: ImagingDatabase, actor: Actor, at: datetime, person: str, name: str, days: int
) -> NewApiToken:
    """Makes a token with which a program may do what its person may do.

    Args:
        name: what it is for.

    Raises:
        ConfigurationError: nobody who may log in is called so, or it would be good for less than a day or too long.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise ConfigurationError(f"A token is good for 1 to {LONGEST_DAYS} days.")
    token, expires_at = new_token(), at + timedelta(days=days)
    row = {
        "token_sha256": digest_of(token),
        "person": person,
        "name": name.strip()[:64] or "token",
        "created_at": at,
        "expires_at": expires_at,
    }
    with database.writing("people") as connection:
        if not lock_active(connection, person):
            raise ConfigurationError(f"Nobody who may log in is called {person!r}: `c4 people list`.")
        connection.execute(c4_api_tokens.insert().values(row))
        write_audit(connection, Action.ADD_API_TOKEN, actor, at, person, {"name": row["name"], "days": days})
    return NewApiToken(API_PREFIX + token, expires_at)


def person_of_api_token(database: ImagingDatabase, token: str, at: datetime) -> Person | None:
    """Whose token it is, if it is good and its person may log in."""
    digest = digest_of(token.removeprefix(API_PREFIX)) if token.startswith(API_PREFIX) else None
    if digest is None:
        return None
    tokens = c4_api_tokens.c
    query = (
        select(c4_people, tokens.last_used_at)
        .join(c4_api_tokens, tokens.person == c4_people.c.name)
        .where(tokens.token_sha256 == digest, tokens.expires_at > at, tokens.revoked_at.is_(None))
    )
    with database.reading("api token") as connection:
        row = connection.execute(query).one_or_none()
    if row is None or not row.active:
        return None
    if row.last_used_at is None or at - row.last_used_at >= NOTED_EVERY:
        with database.writing("api token") as connection:
            connection.execute(c4_api_tokens.update().where(tokens.token_sha256 == digest).values(last_used_at=at))
    return person_of(row)


def api_tokens(database: ImagingDatabase, person: str) -> list[ApiToken]:
    """A person's tokens, the newest first, those that are over as well."""
    names = ("person", "name", "created_at", "expires_at", "last_used_at", "revoked_at")
    columns = [c4_api_tokens.c[name] for name in names]
    query = select(*columns).where(c4_api_tokens.c.person == person).order_by(c4_api_tokens.c.created_at.desc())
    with database.reading("people") as connection:
        return [ApiToken(*row) for row in connection.execute(query)]


def revoke_api_tokens(database: ImagingDatabase, actor: Actor, at: datetime, person: str, name: str) -> int:
    """Ends a person's tokens of that name. Returns how many there were."""
    tokens = c4_api_tokens.c
    good = (tokens.person == person, tokens.name == name, tokens.revoked_at.is_(None))
    with database.writing("people") as connection:
        ended = connection.execute(c4_api_tokens.update().where(*good).values(revoked_at=at)).rowcount
        if ended:
            write_audit(connection, Action.REVOKE_API_TOKEN, actor, at, person, {"name": name})
    return ended
