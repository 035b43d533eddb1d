"""Views that a site may add to what C4 needs."""

from sqlalchemy import Connection, Table, false, select
from sqlalchemy.exc import DBAPIError

from resources.imaging_database.faults import LACKING, fault_of
from resources.imaging_database.schema import human_scores, plate_projects

OPTIONAL_VIEWS = (human_scores, plate_projects)


def has_relation(connection: Connection, view: Table) -> bool:
    """Whether the site has a relation of this name and with these columns, perhaps behind a synonym."""
    try:
        with connection.begin_nested():
            connection.execute(select(view).where(false()))
    except DBAPIError as error:
        if fault_of(error) is not LACKING:
            raise
        return False
    return True
