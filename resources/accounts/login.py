"""Logging in, with a password or by the word of a provider of OpenID Connect."""

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import case, func, select, true

from resources.accounts.passwords import hashed, is_outdated, is_right, password_slot
from resources.accounts.people import Identity, Person, create_person, is_usable_name, lock_active, person_of
from resources.accounts.rights import Role
from resources.accounts.sessions import NewSession, begin_session
from resources.errors import C4Error, ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Action, Actor, write_audit
from resources.imaging_database.people_tables import c4_audit, c4_people

FAILURES_COUNT_FOR = timedelta(minutes=15)

MOST_FAILURES = {"name and address": 10, "address": 50, "name": 100}
"""Wrong passwords in :data:`FAILURES_COUNT_FOR` after which no other is looked at: of one name from one address, of one
address, and of one name from anywhere. The last is high, or anybody could keep a person out.
"""


class LogInRefused(C4Error):
    """Nobody was let in. The message does not say whether there is such a person."""


class TooManyAttempts(LogInRefused):
    """The password was not looked at."""


def log_in(
    database: ImagingDatabase, name: str, password: str, address: str, at: datetime, former: str | None = None
) -> NewSession:
    """Lets a person in who gives their password. A wrong one takes as long as the name of nobody.

    Failures are counted in ``c4_audit``, so for all processes together and beyond their end.

    Args:
        former: the token that the browser had, which is worth nothing from now on.

    Raises:
        LogInRefused: name or password are wrong, or the person may not log in.
        TooManyAttempts: too many were wrong before.
        Unavailable: others log in, and it took too long.
    """
    with password_slot():
        _refuse_too_many(database, name, address, at)
        with database.reading("log in") as connection:
            usable = is_usable_name(name)
            query = select(c4_people).where(c4_people.c.name == (name if usable else ""))
            row = connection.execute(query).one_or_none()
        stored: str | None = row.password_hash if row else None
        if not is_right(password, stored) or row is None or stored is None or not row.active:
            with database.writing("log in") as connection:
                actor = Actor(row.name if row else None, address)
                write_audit(connection, Action.LOG_IN_FAILED, actor, at, _tried(name))
            raise LogInRefused("Name or password are wrong.")
        kept = hashed(password) if is_outdated(stored) else stored
    with database.writing("log in") as connection:
        # Whoever has changed the password since, or taken the right to log in, has ended all sessions before this one.
        as_read = (c4_people.c.name == row.name, c4_people.c.active == true(), c4_people.c.password_hash == stored)
        if not connection.execute(c4_people.update().where(*as_read).values(password_hash=kept)).rowcount:
            raise LogInRefused("Name or password are wrong.")
        return begin_session(connection, person_of(row), address, at, former)


def let_in(database: ImagingDatabase, name: str, address: str, at: datetime, former: str | None = None) -> NewSession:
    """Lets in somebody of whom a provider or a proxy has said who they are.

    Raises:
        LogInRefused: the person may not log in.
    """
    with database.writing("log in") as connection:
        person = lock_active(connection, name)
        if person is None:
            raise LogInRefused(f"{name} may not log in: ask an administrator of C4.")
        return begin_session(connection, person, address, at, former)


def person_of_identity(
    database: ImagingDatabase,
    identity: Identity,
    address: str,
    at: datetime,
    *,
    name: str,
    display_name: str,
    create: bool,
) -> Person:
    """The person whom a provider means, by its own name for them, which never changes or passes to somebody else.

    Args:
        name: what a new person is called, from the provider's claims. It never makes them one who is there already.
        create: somebody new becomes a viewer.

    Raises:
        LogInRefused: there is no such person, and none is made; or the name is another's.
    """
    query = select(c4_people).where(c4_people.c.issuer == identity.issuer, c4_people.c.subject == identity.subject)
    with database.reading("log in") as connection:
        row = connection.execute(query).one_or_none()
    if row is None and create:
        try:
            viewer, nobody = Role.VIEWER, Actor(None, address)
            return create_person(database, nobody, at, name, display_name, viewer, identity=identity)
        except ConfigurationError as error:
            with database.reading("log in") as connection:  # perhaps another browser of theirs was first
                row = connection.execute(query).one_or_none()
            if row is None:
                raise LogInRefused(
                    f"C4 cannot add you as {name!r}: that name is in use, or none that it can use. An administrator "
                    "can link you: `c4 people link`."
                ) from error
    if row is None:
        raise LogInRefused("C4 does not know you yet: ask an administrator of C4 to add you.")
    return person_of(row)


def _refuse_too_many(database: ImagingDatabase, name: str, address: str, at: datetime) -> None:
    failed = (c4_audit.c.action == Action.LOG_IN_FAILED.value, c4_audit.c.happened_at > at - FAILURES_COUNT_FOR)
    of_name = c4_audit.c.subject == _tried(name)
    of_address = select(func.count(), func.count(case((of_name, 1)))).where(c4_audit.c.address == address, *failed)
    with database.reading("log in") as connection:
        from_address, both = connection.execute(of_address).one()
        everywhere = connection.scalar(select(func.count()).where(of_name, *failed)) or 0
    found = {"name and address": both, "address": from_address, "name": everywhere}
    if any(found[what] >= most for what, most in MOST_FAILURES.items()):
        minutes = int(FAILURES_COUNT_FOR.total_seconds() // 60)
        raise TooManyAttempts(f"Too many wrong passwords: try again in {minutes} minutes.")


def _tried(name: str) -> str:
    """A name that somebody has typed, as it may be kept: now and then it is a password in the wrong field."""
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]
