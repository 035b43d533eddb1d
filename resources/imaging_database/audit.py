"""What people did, as rows that are only ever added."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from resources.imaging_database.people_tables import LONGEST_NAME, LONGEST_REMARK, c4_audit


class Action(StrEnum):
    """What somebody did."""

    LOG_IN = "log in"
    LOG_IN_FAILED = "log in failed"
    LOG_OUT = "log out"
    SCORE = "score"
    UNDO = "undo"
    ADD_PERSON = "add person"
    CHANGE_PERSON = "change person"
    CHANGE_PASSWORD = "change password"  # noqa: S105 - no password
    ADD_ALIAS = "add alias"
    REMOVE_ALIAS = "remove alias"
    ADD_API_TOKEN = "add token"  # noqa: S105 - no token
    REVOKE_API_TOKEN = "revoke token"  # noqa: S105 - no token


@dataclass(frozen=True)
class Actor:
    """Who does something, and from where. Of somebody who has not logged in, the name is not known."""

    person: str | None
    address: str | None


def write_audit(
    connection: Connection,
    action: Action,
    actor: Actor,
    at: datetime,
    subject: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Adds a row, in the transaction of what it tells of.

    Args:
        subject: whom or what it was done to, cut where it is longer than the column.
        detail: values that JSON knows, never secrets; left out where they do not fit into the column.
    """
    text = json.dumps(detail, ensure_ascii=False) if detail else None
    if text and len(text.encode()) > LONGEST_REMARK:
        text = json.dumps({"left out": len(text)})
    row = {
        "happened_at": at,
        "person": actor.person,
        "address": actor.address[:LONGEST_NAME] if actor.address else None,
        "action": action.value,
        "subject": subject[:255] if subject else None,
        "detail": text,
    }
    connection.execute(c4_audit.insert().inline().values(row))
