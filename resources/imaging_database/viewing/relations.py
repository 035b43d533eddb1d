"""Which relations a site has added, and who may see which plates."""

import time
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Connection, false, or_, select, true

from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.optional_views import OPTIONAL_VIEWS, has_relation
from resources.imaging_database.schema import inspections, plate_access
from resources.imaging_database.statements import BATCH, batches

LOOK_AGAIN_S = 60.0
"""A view that a site adds is seen after so many seconds. One that was there is expected for good: queries then fail
rather than show what it would hide."""


@dataclass(frozen=True)
class Viewer:
    """Who looks: ``members`` are this person's names in ``plate_access``; ``None`` sees every plate.

    Where a site has no ``plate_access``, everybody sees every plate.
    """

    members: frozenset[str] | None


EVERYTHING = Viewer(None)


@dataclass
class _Known:
    relations: frozenset[str]
    looked_at: float


_known: WeakKeyDictionary[ImagingDatabase, _Known] = WeakKeyDictionary()
_lock = Lock()


def site_relations(database: ImagingDatabase, connection: Connection) -> frozenset[str]:
    """Names of the optional relations that the site has, looked for once and then now and again."""
    with _lock:
        known = _known.get(database)
    missing = [table for table in OPTIONAL_VIEWS if known is None or table.name not in known.relations]
    if known is not None and (not missing or time.monotonic() - known.looked_at < LOOK_AGAIN_S):
        return known.relations
    found = frozenset(table.name for table in missing if has_relation(connection, table))
    relations = found | known.relations if known else found
    with _lock:
        _known[database] = _Known(relations, time.monotonic())
    return relations


def restricts(relations: frozenset[str], who: Viewer) -> bool:
    """Whether there may be plates that this person may not see."""
    return who.members is not None and plate_access.name in relations


def visible_to(
    who: Viewer, relations: frozenset[str], plate_id: ColumnElement[int] = inspections.c.plate_id
) -> ColumnElement[bool]:
    """For queries over ``inspections``, or with another key of a plate: the person may see the plate."""
    if not restricts(relations, who):
        return true()
    named = sorted(name for name in who.members or () if name)
    if not named:
        return false()
    is_member = or_(*(plate_access.c.member.in_(some) for some in batches(named, BATCH)))
    return plate_id.in_(select(plate_access.c.plate_id).where(is_member))
