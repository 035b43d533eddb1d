"""People: who they are, what they may do, and what the LIMS calls them."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, true

from resources.accounts.passwords import hashed, password_slot, refuse_weak
from resources.accounts.rights import RIGHTS, Right, Role
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Action, Actor, write_audit
from resources.imaging_database.people_tables import (
    LONGEST_NAME,
    c4_api_tokens,
    c4_people,
    c4_person_aliases,
    c4_sessions,
)
from resources.imaging_database.schema import c4_scorer_versions
from resources.imaging_database.statements import insert_absent


@dataclass(frozen=True)
class Identity:
    """Who a provider of OpenID Connect says somebody is: its address, and its name for them, for ever the same."""

    issuer: str
    subject: str


@dataclass(frozen=True)
class Person:
    """Somebody who may log in.

    Attributes:
        name: as in ``scores.scorer``.
        has_password: they can log in with one.
    """

    name: str
    display_name: str
    role: Role
    active: bool
    created_at: datetime
    identity: Identity | None
    has_password: bool

    def may(self, right: Right) -> bool:
        """Whether the person has a right now."""
        return self.active and right in RIGHTS[self.role]


def person_of(row: Row[Any]) -> Person:
    """Of a row with the columns of ``c4_people``.

    Raises:
        ConfigurationError: the role is none that this release knows.
    """
    if row.role not in list(Role):
        raise ConfigurationError(f"The role of {row.name} is {row.role!r}, which is none: `c4 people role` changes it.")
    identity = Identity(row.issuer, row.subject) if row.issuer and row.subject else None
    active, has_password = bool(row.active), bool(row.password_hash)
    return Person(row.name, row.display_name, Role(row.role), active, row.created_at, identity, has_password)


def people(database: ImagingDatabase) -> dict[Person, tuple[str, ...]]:
    """All people by name, each with what the LIMS calls them as well."""
    aliases: dict[str, list[str]] = {}
    with database.reading("people") as connection:
        found = connection.execute(select(c4_people).order_by(c4_people.c.name)).all()
        for row in connection.execute(select(c4_person_aliases).order_by(c4_person_aliases.c.scorer)):
            aliases.setdefault(row.person, []).append(row.scorer)
    return {person_of(row): tuple(aliases.get(row.name, ())) for row in found}


def create_person(
    database: ImagingDatabase,
    actor: Actor,
    at: datetime,
    name: str,
    display_name: str,
    role: Role,
    *,
    password: str | None = None,
    identity: Identity | None = None,
) -> Person:
    """Adds a person.

    Args:
        actor: who does it, for the audit.

    Raises:
        ConfigurationError: name, password or identity are taken or none that can be used. Nobody was added.
    """
    _refuse_odd_name(name)
    password_hash = _new_hash(password, name) if password is not None else None
    with database.writing("people") as connection:
        row = {
            "name": name,
            "display_name": (display_name.strip() or name)[:255],
            "role": role.value,
            "issuer": identity.issuer if identity else None,
            "subject": identity.subject if identity else None,
            "password_hash": password_hash,
            "active": True,
            "created_at": at,
        }
        _refuse_taken_name(connection, name)
        if not insert_absent(connection, c4_people, [row]):
            raise ConfigurationError(f"{name!r}, or whom the provider says they are, is known already.")
        write_audit(connection, Action.ADD_PERSON, actor, at, name, {"role": role.value})
        return person_of(connection.execute(select(c4_people).where(c4_people.c.name == name)).one())


def set_role(database: ImagingDatabase, actor: Actor, at: datetime, name: str, role: Role) -> None:
    """Changes what a person may do, from their next request on.

    Raises:
        ConfigurationError: nobody has the name.
    """
    with database.writing("people") as connection:
        _change(connection, name, {"role": role.value})
        write_audit(connection, Action.CHANGE_PERSON, actor, at, name, {"role": role.value})


def set_active(database: ImagingDatabase, actor: Actor, at: datetime, name: str, active: bool) -> None:
    """Lets a person log in, or no longer: then sessions and tokens end as well. What they said stays.

    Raises:
        ConfigurationError: nobody has the name.
    """
    with database.writing("people") as connection:
        _change(connection, name, {"active": active})
        if not active:
            connection.execute(c4_sessions.delete().where(c4_sessions.c.person == name))
            tokens = c4_api_tokens.update().where(c4_api_tokens.c.person == name, c4_api_tokens.c.revoked_at.is_(None))
            connection.execute(tokens.values(revoked_at=at))
        write_audit(connection, Action.CHANGE_PERSON, actor, at, name, {"active": active})


def set_password(database: ImagingDatabase, actor: Actor, at: datetime, name: str, password: str) -> None:
    """Gives a person a password, and ends all of their sessions.

    Raises:
        ConfigurationError: nobody has the name, or the password is too weak.
    """
    new = _new_hash(password, name)
    with database.writing("people") as connection:
        _change(connection, name, {"password_hash": new})
        connection.execute(c4_sessions.delete().where(c4_sessions.c.person == name))
        write_audit(connection, Action.CHANGE_PASSWORD, actor, at, name)


def set_identity(database: ImagingDatabase, actor: Actor, at: datetime, name: str, identity: Identity) -> None:
    """Says whom a provider means by a person who is known already.

    Raises:
        ConfigurationError: nobody has the name, or somebody else is who the provider says.
    """
    same = select(c4_people.c.name).where(
        c4_people.c.issuer == identity.issuer, c4_people.c.subject == identity.subject, c4_people.c.name != name
    )
    with database.writing("people") as connection:
        if other := connection.scalar(same):
            raise ConfigurationError(f"The provider says that of {other} already.")
        _change(connection, name, {"issuer": identity.issuer, "subject": identity.subject})
        write_audit(connection, Action.CHANGE_PERSON, actor, at, name, {"issuer": identity.issuer})


def add_alias(database: ImagingDatabase, actor: Actor, at: datetime, name: str, scorer: str) -> None:
    """Says what the LIMS calls a person: scores under that name are theirs from now on, earlier ones as well.

    Raises:
        ConfigurationError: nobody has the name; or the other one is a person's, or somebody else's in the LIMS.
    """
    _refuse_odd_name(scorer)
    with database.writing("people") as connection:
        _change(connection, name, {})
        if connection.scalar(select(c4_people.c.name).where(c4_people.c.name == scorer)):
            raise ConfigurationError(f"{scorer!r} is a person of their own.")
        if insert_absent(connection, c4_person_aliases, [{"scorer": scorer, "person": name}]):
            write_audit(connection, Action.ADD_ALIAS, actor, at, name, {"scorer": scorer})
            return
        of = connection.scalar(select(c4_person_aliases.c.person).where(c4_person_aliases.c.scorer == scorer))
        if of != name:
            raise ConfigurationError(f"{scorer!r} is what the LIMS calls {of}.")


def remove_alias(database: ImagingDatabase, actor: Actor, at: datetime, scorer: str) -> None:
    """Takes back what :func:`add_alias` said.

    Raises:
        ConfigurationError: it is nobody's other name.
    """
    with database.writing("people") as connection:
        gone = connection.execute(c4_person_aliases.delete().where(c4_person_aliases.c.scorer == scorer))
        if not gone.rowcount:
            raise ConfigurationError(f"{scorer!r} is nobody's other name.")
        write_audit(connection, Action.REMOVE_ALIAS, actor, at, scorer)


def lock_active(connection: Connection, name: str) -> Person | None:
    """A person who may log in. Nobody takes that from them, or changes their password, before the transaction's end."""
    active = (c4_people.c.name == name, c4_people.c.active == true())
    if not connection.execute(c4_people.update().where(*active).values(active=c4_people.c.active)).rowcount:
        return None
    return person_of(connection.execute(select(c4_people).where(c4_people.c.name == name)).one())


def is_usable_name(name: str) -> bool:
    """Whether a person may be called so: a text without control characters, spaces around it, or more than 64."""
    return bool(name) and name == name.strip() and len(name) <= LONGEST_NAME and name.isprintable()


def _refuse_odd_name(name: str) -> None:
    if not is_usable_name(name):
        raise ConfigurationError(
            f"{name!r} is no name: it has 1 to {LONGEST_NAME} characters that can be printed, no spaces around them."
        )


def _refuse_taken_name(connection: Connection, name: str) -> None:
    """Names that only differ in capital letters, or in how letters are written, look like one person."""
    likeness = unicodedata.normalize("NFKC", name).casefold()
    known = [
        *connection.scalars(select(c4_people.c.name).where(func.lower(c4_people.c.name).in_({likeness, name.lower()}))),
        *connection.scalars(select(c4_person_aliases.c.scorer).where(c4_person_aliases.c.scorer == name)),
        *connection.scalars(select(c4_scorer_versions.c.name).where(c4_scorer_versions.c.name == name)),
    ]
    if known:
        raise ConfigurationError(f"{name!r} cannot be a new person's name: there is {known[0]!r} already.")


def _new_hash(password: str, name: str) -> str:
    refuse_weak(password, name)
    with password_slot():
        return hashed(password)


def _change(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    """Changes a person's row, which is locked from now on: what is decided by it holds until the transaction's end."""
    changed = c4_people.update().where(c4_people.c.name == name).values(values or {"active": c4_people.c.active})
    if not connection.execute(changed).rowcount:
        raise ConfigurationError(f"Nobody is called {name!r}: `c4 people list` shows who there is.")
