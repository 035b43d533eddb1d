"""Statements that every supported database understands."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, String, Table, Text, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from resources.errors import ConfigurationError

T = TypeVar("T")

Rows: TypeAlias = list[dict[str, Any]]

BATCH = 1000
"""Rows a statement. Oracle takes at most 1,000 values in an IN list; SQLite 32,766 variables in all."""

_KEEP_GOOD_ROWS = "c4_keep_good_rows"
_DUPLICATE = 1  # ORA-00001


def insert_absent(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Inserts the rows that violate no unique constraint and returns how many those were.

    A row that another transaction is inserting is waited for. Give rows in the order of their keys: two transactions
    can then not wait for each other.

    Raises:
        ConfigurationError: the database is of a kind that C4 cannot write to.
    """
    insert = _INSERTS.get(connection.dialect.name)
    if insert is None:
        raise ConfigurationError(
            f"C4 cannot write to a {connection.dialect.name} database: it knows {', '.join(_INSERTS)}."
        )
    return sum(insert(connection, table, batch) for batch in batches(rows))


def _into_sqlite(connection: Connection, table: Table, rows: Rows) -> int:
    absent = sqlite.insert(table).on_conflict_do_nothing().returning(next(iter(table.primary_key)))
    return len(connection.execute(absent, rows).all())


def _into_postgresql(connection: Connection, table: Table, rows: Rows) -> int:
    """Each column as one array, which takes the server half as long to read as a list of rows."""
    arrays = [
        # Cast to VARCHAR(64), a longer text would be cut off in silence.
        literal([row[name] for row in rows], postgresql.ARRAY(Text() if isinstance(type_, String) else type_))
        for name, type_ in ((name, table.c[name].type) for name in rows[0])
    ]
    source = func.unnest(*arrays).table_valued(*rows[0]).render_derived()
    absent = postgresql.insert(table).from_select(list(rows[0]), select(source)).on_conflict_do_nothing()
    return connection.execute(absent).rowcount


def _into_oracle(connection: Connection, table: Table, rows: Rows) -> int:
    absent = table.insert().inline().execution_options(**{_KEEP_GOOD_ROWS: True, "preserve_rowcount": True})
    return connection.execute(absent, rows).rowcount


_INSERTS = {"sqlite": _into_sqlite, "postgresql": _into_postgresql, "oracle": _into_oracle}


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
