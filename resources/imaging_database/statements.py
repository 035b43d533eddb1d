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

_ON_CONFLICT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_KEEP_GOOD_ROWS = "c4_keep_good_rows"
_DUPLICATE = 1  # ORA-00001


def insert_absent(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Inserts the rows that violate no unique constraint and returns how many those were.

    A row that another transaction is inserting is waited for. Give rows in the order of their keys: two transactions
    can then not wait for each other.

    Raises:
        ConfigurationError: the database is of a kind that C4 cannot write to.
    """
    dialect = connection.dialect.name
    if dialect == "oracle":
        absent = table.insert().inline().execution_options(**{_KEEP_GOOD_ROWS: True, "preserve_rowcount": True})
        return sum(connection.execute(absent, batch).rowcount for batch in batches(rows))
    if dialect not in _ON_CONFLICT:
        known = ", ".join([*_ON_CONFLICT, "oracle"])
        raise ConfigurationError(f"C4 cannot write to a {dialect} database: it knows {known}.")
    statement = _ON_CONFLICT[dialect](table).on_conflict_do_nothing().returning(next(iter(table.primary_key)))
    return sum(len(connection.execute(statement, batch).all()) for batch in batches(rows))


def keep_good_rows(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Executes :func:`insert_absent` in Oracle: one array bind that leaves out the rows that are there already.

    Oracle has no ``ON CONFLICT``; of its ways to the same end, ``MERGE`` fails when two sessions insert the same row,
    and batch errors do not. This is a handler of SQLAlchemy's ``do_execute`` and ``do_executemany`` events.

    Returns:
        Whether the statement was one of :func:`insert_absent` and has been executed.
    """
    if not context.execution_options.get(_KEEP_GOOD_ROWS):
        return False
    driver = context.dialect.dbapi
    try:
        cursor.executemany(statement, parameters if isinstance(parameters, list) else [parameters], batcherrors=True)
        errors = cursor.getbatcherrors()
    except driver.IntegrityError as error:
        errors = [error.args[0]]  # a single row may be refused outright
    for error in errors:
        if error.code != _DUPLICATE:
            raise driver.DatabaseError(error)
    return True


def batches(rows: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """The rows in lists of ``size``."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
