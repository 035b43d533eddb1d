"""DDL of C4's own tables, for a site whose LIMS provides the other relations as views."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Dialect, Identity, Index, MetaData, Table, UniqueConstraint, func, make_url, null
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable
from sqlalchemy.sql.ddl import DDLElement

from resources.imaging_database import schema

OWN_TABLES = [
    table.name for table in schema.metadata.sorted_tables if table.name == "scores" or table.name.startswith("c4_")
]
"""The tables that C4 writes to. The other relations belong to the site."""


def dialect_of(name: str) -> Dialect:
    """SQLAlchemy's dialect ``sqlite``, ``postgresql`` or ``oracle``, of a current version of the database."""
    dialect = make_url(f"{name}://").get_dialect()()
    dialect.max_identifier_length = 128 if name == "oracle" else dialect.max_identifier_length
    return dialect


def own_table(name: str, dialect: Dialect) -> Table:
    """One of C4's tables as a site creates it.

    It has no foreign keys, because a foreign key cannot refer to a view. In Oracle, a plain unique key would let two
    human scores of an image collide, because both have no scorer version. There the key is an index over expressions
    that are all NULL for human scores, which Oracle leaves out of the index. A plain index beside it serves the poll.
    """
    oracle = dialect.name == "oracle"
    original = schema.metadata.tables[name]
    table = Table(
        name,
        MetaData(naming_convention=schema.metadata.naming_convention),
        *(_column(column, dialect) for column in original.columns),
        sqlite_autoincrement=bool(original.dialect_options["sqlite"]["autoincrement"]),
    )
    for constraint in original.constraints:
        if isinstance(constraint, UniqueConstraint) and not (oracle and name == "scores"):
            table.append_constraint(UniqueConstraint(*(table.c[column.name] for column in constraint.columns)))
    for index in original.indexes:
        where = index.dialect_options[dialect.name].get("where") if dialect.name != "oracle" else None
        of_some = {} if where is None else {f"{dialect.name}_where": where}
        Index(index.name, *(table.c[column.name] for column in index.columns), **of_some)
    if oracle and name == "scores":
        of_machine = func.nvl2(table.c.scorer_version, table.c.image_id, null())
        Index("uq_scores_image_id_scorer_version", of_machine, table.c.scorer_version, unique=True)
        Index("ix_scores_image_id_scorer_version", table.c.image_id, table.c.scorer_version)
    return table


def _column(column: Column[Any], dialect: Dialect) -> Column[Any]:
    numbered = column.primary_key and column.name == "id"
    return Column(
        column.name,
        column.type,
        # An identity column needs no grant of its own, as a sequence would. SQLite numbers rows anyway.
        *([Identity()] if numbered and dialect.name != "sqlite" else []),
        primary_key=column.primary_key,
        nullable=column.nullable,
        autoincrement="auto" if numbered else False,
    )


def add_column(table: str, column: str, dialect: Dialect) -> str:
    """The statement that adds a missing column to one of C4's tables."""
    definition = CreateColumn(own_table(table, dialect).c[column]).compile(dialect=dialect)
    return f"ALTER TABLE {table} ADD {definition}"


def statements_for(name: str, dialect: Dialect) -> Sequence[str]:
    """The statements that create one of C4's tables and its indexes, without a semicolon."""
    table = own_table(name, dialect)
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    return [_compiled(element, dialect) for element in (CreateTable(table), *map(CreateIndex, indexes))]


def script(dialect: Dialect) -> Iterator[str]:
    """The lines of a script that creates all of C4's own tables."""
    for name in OWN_TABLES:
        for statement in statements_for(name, dialect):
            yield f"{statement};"
            yield ""


def _compiled(element: DDLElement, dialect: Dialect) -> str:
    return str(element.compile(dialect=dialect)).strip().replace("\t", "    ").replace(" \n", "\n")
