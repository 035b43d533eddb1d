"""Statements that every supported database understands."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    String,
    Table,
    Text,
    TypeDecorator,
    any_,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from resources.errors import ConfigurationError

T = TypeVar("T")

InsertRows: TypeAlias = list[dict[str, Any]]

BATCH = 1000
"""Rows a statement. Oracle takes at most 1,000 values in an IN list; SQLite 32,766 variables in all."""

POSTGRESQL_BATCH = 10_000
"""Rows a statement where columns go as arrays: two megabytes, and few round trips."""

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
    return sum(insert(connection, table, batch) for batch in batches(rows, _rows_a_statement(connection)))


def among(connection: Connection, column: ColumnElement[T], values: Iterable[T]) -> Iterator[ColumnElement[bool]]:
    """That a column has one of the values: conditions for one statement each, disjoint, in the values' order."""
    for batch in batches(values, _rows_a_statement(connection)):
        if connection.dialect.name == "postgresql":
            yield column == any_(_array(column.type, batch))
        else:
            yield column.in_(batch)


def _rows_a_statement(connection: Connection) -> int:
    return POSTGRESQL_BATCH if connection.dialect.name == "postgresql" else BATCH


def _into_sqlite(connection: Connection, table: Table, rows: InsertRows) -> int:
    absent = sqlite.insert(table).on_conflict_do_nothing().returning(next(iter(table.primary_key)))
    return len(connection.execute(absent, rows).all())


def _into_postgresql(connection: Connection, table: Table, rows: InsertRows) -> int:
    """Each column as one array, which takes the server less time to read than a list of rows."""
    arrays = [_array(table.c[name].type, [row[name] for row in rows]) for name in rows[0]]
    source = func.unnest(*arrays).table_valued(*rows[0]).render_derived()
    absent = postgresql.insert(table).from_select(list(rows[0]), select(source)).on_conflict_do_nothing()
    return connection.execute(absent).rowcount


class _ArrayAsText(TypeDecorator[Sequence[Any]]):
    """An array written as one text: drivers write an expression a value, which takes the server far longer to read."""

    impl = Text
    cache_ok = True

    def __init__(self, of: TypeEngine[Any]) -> None:
        super().__init__()
        self.of = of

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> str:
        process = self.of.dialect_impl(dialect).bind_processor(dialect)
        return f"{{{','.join(_element(process(each) if process else each) for each in value or ())}}}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = str(value)
    if isinstance(value, str):
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _array(type_: TypeEngine[Any], values: Sequence[Any]) -> ColumnElement[Any]:
    # Cast to VARCHAR(64), a longer text would be cut off in silence.
    kept = Text() if isinstance(type_, String) else type_
    return cast(literal(values, _ArrayAsText(type_)), postgresql.ARRAY(kept))


def _into_oracle(connection: Connection, table: Table, rows: InsertRows) -> int:
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
