"""Statements that every supported database understands."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from resources.errors import ConfigurationError

T = TypeVar("T")

BATCH = 500
"""Rows a statement. Oracle takes at most 1,000 values in an IN list; SQLite 32,766 variables in all."""

_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_absent(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Inserts the rows that violate no unique constraint and returns how many those were.

    Raises:
        ConfigurationError: the database is of a kind that C4 cannot write to.
    """
    dialect = connection.dialect.name
    if dialect not in _INSERT:
        raise ConfigurationError(f"C4 cannot write to a {dialect} database: it knows {' and '.join(_INSERT)}.")
    statement = _INSERT[dialect](table).on_conflict_do_nothing().returning(next(iter(table.primary_key)))
    return sum(len(connection.execute(statement, batch).all()) for batch in batches(rows))


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """The rows in lists of :data:`BATCH`."""
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
