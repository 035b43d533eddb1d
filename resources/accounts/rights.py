"""Roles, and what each may do."""

from collections.abc import Mapping
from enum import StrEnum


class Right(StrEnum):
    """What a page or an address of the API asks for."""

    VIEW = "view"
    """Look at plates, drops and scores; keep favourites."""
    SCORE = "score"
    """Score drops, write notes and tags."""
    CURATE = "curate"
    """Say how classes are shown, and what is to be looked at again."""
    ADMINISTER = "administer"
    """Add people, change their roles, read the audit."""


class Role(StrEnum):
    """What a person is, in ``c4_people.role``."""

    VIEWER = "viewer"
    SCORER = "scorer"
    CURATOR = "curator"
    ADMIN = "admin"


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.VIEW}),
    Role.SCORER: frozenset({Right.VIEW, Right.SCORE}),
    Role.CURATOR: frozenset({Right.VIEW, Right.SCORE, Right.CURATE}),
    Role.ADMIN: frozenset(Right),
}
