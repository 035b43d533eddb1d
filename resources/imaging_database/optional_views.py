"""Views that a site may add to what C4 needs."""

from sqlalchemy import Connection, Table, false, literal, select
from sqlalchemy.exc import DBAPIError

from resources.imaging_database.faults import LACKING, fault_of
from resources.imaging_database.schema import (
    human_scores,
    image_details,
    plate_access,
    plate_details,
)

OPTIONAL_VIEWS = (human_scores, plate_access, plate_details, image_details)
"""A site without one goes without what it would tell."""


def has_relation(connection: Connection, view: Table) -> bool:
    """Whether the site has a relation of this name, perhaps behind a synonym.

    One that lacks columns is there: `c4 db check` names what it lacks, and nothing passes it over in silence. Oracle
    says of a relation that C4's login may not read that there is none.
    """
    try:
        with connection.begin_nested():
            connection.execute(select(literal(1)).select_from(view).where(false()))
    except DBAPIError as error:
        if fault_of(error) is not LACKING:
            raise
        return False
    return True
