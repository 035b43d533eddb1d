"""Sessions: from a person's log-in until they log out, lose the right to, or have not been seen for twelve hours."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from resources.accounts.people import Person, person_of
from resources.accounts.tokens import NOTED_EVERY, digest_of, new_token
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Action, Actor, write_audit
from resources.imaging_database.people_tables import c4_people, c4_sessions

SESSION_IDLE_TIME = timedelta(hours=12)
"""A session that is not used for so long is over."""

MAX_SESSION_TIME = timedelta(days=7)
"""A session is over after so long, however much it is used."""


@dataclass(frozen=True)
class NewSession:
    """A session that has just begun. The token goes into the browser's cookie and nowhere else."""

    token: str = field(repr=False)
    person: Person
    expires_at: datetime


@dataclass(frozen=True)
class Session:
    """A session that is on."""

    person: Person
    created_at: datetime
    expires_at: datetime


def begin_session(
    connection: Connection, person: Person, address: str | None, at: datetime, former: str | None
) -> NewSession:
    """Begins a session, in the transaction that has found out that the person may log in.

    Its token is always a new one, and that of the session before is worth nothing from now on: a token that somebody
    has put into the browser never becomes a person's.

    Args:
        former: the token that the browser had.
    """
    token, expires_at = new_token(), at + SESSION_IDLE_TIME
    sessions = c4_sessions.c
    over = c4_sessions.delete().where(sessions.person == person.name, sessions.expires_at <= at)
    connection.execute(over)
    if digest := digest_of(former or ""):
        connection.execute(c4_sessions.delete().where(sessions.token_sha256 == digest))
    row = {
        "token_sha256": digest_of(token),
        "person": person.name,
        "created_at": at,
        "expires_at": expires_at,
        "last_seen_at": at,
    }
    connection.execute(c4_sessions.insert().values(row))
    write_audit(connection, Action.LOG_IN, Actor(person.name, address), at)
    return NewSession(token, person, expires_at)


def session_of(database: ImagingDatabase, token: str, at: datetime) -> Session | None:
    """The session of a token, if it is on and its person may log in. It goes on for :data:`SESSION_IDLE_TIME` from now.

    One query; once a minute the database is told that the session is used.
    """
    digest = digest_of(token)
    if digest is None:
        return None
    sessions = c4_sessions.c
    query = (
        select(c4_people, sessions.created_at.label("began_at"), sessions.expires_at, sessions.last_seen_at)
        .join(c4_sessions, sessions.person == c4_people.c.name)
        .where(sessions.token_sha256 == digest, sessions.expires_at > at)
    )
    with database.reading("session") as connection:
        row = connection.execute(query).one_or_none()
    if row is None or not row.active:
        return None
    expires_at = row.expires_at
    if at - row.last_seen_at >= NOTED_EVERY:
        expires_at = min(at + SESSION_IDLE_TIME, row.began_at + MAX_SESSION_TIME)
        seen = c4_sessions.update().where(sessions.token_sha256 == digest, sessions.last_seen_at == row.last_seen_at)
        with database.writing("session") as connection:
            connection.execute(seen.values(last_seen_at=at, expires_at=expires_at))
    return Session(person_of(row), row.began_at, expires_at)


def end_session(database: ImagingDatabase, actor: Actor, at: datetime, token: str) -> None:
    """Logs out. A token of no session changes nothing."""
    with database.writing("session") as connection:
        gone = connection.execute(c4_sessions.delete().where(c4_sessions.c.token_sha256 == digest_of(token)))
        if gone.rowcount:
            write_audit(connection, Action.LOG_OUT, actor, at)
