"""Checks a site's database against the contract: relations, columns, types, indexes and grants.

Nothing is written: grants are tested with statements that affect no row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Executable,
    Float,
    Integer,
    String,
    Table,
    false,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from resources.findings import Finding, Verdict
from resources.imaging_database import schema
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.ddl import OWN_TABLES, add_column, statements_for
from resources.imaging_database.faults import LACKING, NOT_ALLOWED, SILENT, Fault, fault_of
from resources.imaging_database.grants import complete_grant, elsewhere
from resources.imaging_database.odd_rows import odd_rows_in, undated_in
from resources.imaging_database.optional_views import OPTIONAL_VIEWS, has_relation
from resources.imaging_database.schema import UtcDateTime
from resources.records import CATEGORIES, WITHDRAWN_CLASS

_INDEXES: Mapping[str, Sequence[tuple[str, ...]]] = {
    # Indexes by their leading columns, in which the poll, the write-back, Ashes and the pages of plates look rows up.
    "plates": [("id",)],
    "inspections": [("id",), ("imaged_at",), ("plate_id",)],
    "images": [("id",), ("inspection_id", "id")],
    "scores": [
        ("image_id", "scorer_version"),
        ("scorer_version", "scored_at"),
        ("scorer", "scored_at"),
        ("scorer_version", "crystal", "scored_at"),
    ],
    "c4_image_failures": [("image_id", "scorer_version")],
    "c4_withheld_inspections": [("inspection_id", "scorer_version", "check_name")],
    "c4_superseded_scores": [("image_id",)],
    "human_scores": [("scored_at",), ("image_id",), ("scorer",)],
    "plate_access": [("member",)],
    "plate_details": [("plate_id",)],
    "image_details": [("image_id",)],
    "c4_sessions": [("person",)],
    "c4_api_tokens": [("person",)],
    "c4_favourites": [("image_id",)],
    "c4_notes": [("image_id",)],
    "c4_tags": [("tag",)],
    "c4_audit": [
        ("happened_at",),
        ("address", "happened_at"),
        ("subject", "happened_at"),
        ("person", "happened_at"),
    ],
}

_UNIQUE: Mapping[str, Sequence[tuple[str, ...]]] = {
    "scores": [("image_id", "scorer_version")],
    "c4_image_failures": [("image_id", "scorer_version")],
    "c4_withheld_inspections": [("inspection_id", "scorer_version", "check_name")],
    "c4_scorer_versions": [("name",)],
    "c4_models": [("name",)],
    "c4_people": [("name",), ("issuer", "subject")],
    "c4_person_aliases": [("scorer",)],
    "c4_sessions": [("token_sha256",)],
    "c4_api_tokens": [("token_sha256",)],
    "c4_score_requests": [("request_id",), ("undoes",)],
    "c4_class_display": [("score_class_id",)],
    "c4_favourites": [("person", "image_id")],
    "c4_tags": [("image_id", "tag")],
}
"""Unique keys. Without them, two simultaneous runs could write the same row twice."""

Writes: TypeAlias = Mapping[str, Sequence[str]]
"""What a login does beside reading, by table."""

PIPELINE_WRITES: Writes = {
    "c4_scorer_versions": ["insert"],
    "c4_models": ["insert", "update"],
    # Updated or deleted where a file was replaced; what the row said goes to c4_superseded_scores.
    "scores": ["insert", "update", "delete"],
    "c4_superseded_scores": ["insert"],
    "c4_image_failures": ["insert", "update", "delete"],
    "c4_withheld_inspections": ["insert", "update", "delete"],
}

PAGES_WRITES: Writes = {
    # What a person says is a row for ever, and so is what was done.
    "scores": ["insert"],
    "c4_score_requests": ["insert"],
    "c4_audit": ["insert"],
    "c4_people": ["insert", "update"],
    "c4_person_aliases": ["insert", "delete"],
    "c4_sessions": ["insert", "update", "delete"],
    "c4_api_tokens": ["insert", "update"],
    "c4_class_display": ["insert", "update", "delete"],
    "c4_favourites": ["insert", "delete"],
    "c4_notes": ["insert", "update"],
    "c4_tags": ["insert", "delete"],
}
"""Of the login of C4's pages and of `c4 people`, where it is one of its own."""

# The drivers' names of types, by C4's: OIDs of PostgreSQL, names of python-oracledb. SQLite tells none.
_TYPES: Mapping[str, frozenset[Any]] = {
    "whole number": frozenset({20, 21, 23, 1700, "DB_TYPE_NUMBER"}),
    "text": frozenset({25, 1043, "DB_TYPE_VARCHAR", "DB_TYPE_NVARCHAR"}),
    "time without time zone": frozenset({1114, "DB_TYPE_DATE", "DB_TYPE_TIMESTAMP"}),
    "number": frozenset({700, 701, 1700, "DB_TYPE_NUMBER", "DB_TYPE_BINARY_DOUBLE", "DB_TYPE_BINARY_FLOAT"}),
    "truth value": frozenset({16, "DB_TYPE_NUMBER", "DB_TYPE_BOOLEAN"}),
}


def _lacks(of: str, what: str, fix: str, *, needed: bool = True) -> Finding:
    """Something that the database lacks, with the statement or the advice that mends it.

    Args:
        of: the relation, or the column of it, as the finding's id has it.
        needed: ``False`` where C4 works without it, but slowly, and where C4 cannot see whether it is there.
    """
    return Finding(f"contract.{of}", f"lacks {what}", Verdict.FAILED if needed else Verdict.WARNED, fix)


def check(database: ImagingDatabase, writes: Writes = PIPELINE_WRITES) -> list[Finding]:
    """Lists what the database lacks, in the order in which to mend it. Empty if nothing is missing.

    Args:
        writes: what the login of the address is for.

    Raises:
        Unavailable, ConfigurationError: the database cannot be queried.
    """
    findings: list[Finding] = []
    with database.reading("check") as connection:
        optional = [view for view in OPTIONAL_VIEWS if has_relation(connection, view)]
        for table in (*schema.metadata.sorted_tables, *optional):
            given = writes.get(table.name, ())
            found = list(_columns(connection, table, given))
            findings += found or [*_indexes(connection, table), *_grants(connection, table, given)]
        if not any(finding.verdict is Verdict.FAILED for finding in findings):
            findings += [*_classes(connection), *_odd_rows(connection)]
    return findings


def _columns(connection: Connection, table: Table, writes: Sequence[str]) -> Iterator[Finding]:
    """What is missing of a relation, its columns, and the right to read them."""
    fault, types = _try(connection, select(table).where(false()))
    if fault is None:
        yield from _types(table, types)
    elif fault is NOT_ALLOWED:
        yield _lacks(table.name, f"the right to read {table.name}", complete_grant(connection, table, writes))
    else:
        missing = [column for column in table.columns if _try(connection, select(column).where(false()))[0]]
        if len(missing) == len(table.columns):
            there = elsewhere(connection, table, writes)
            mend = there or f"{_creation(table, connection)};\n{complete_grant(connection, table, writes)}"
            yield _lacks(table.name, f"the relation {table.name} (or the right to read it)", mend)
        for column in missing if len(missing) < len(table.columns) else []:
            mend = (
                add_column(table.name, column.name, connection.dialect)
                if table.name in OWN_TABLES
                else f"add {column.name} ({_type(column)}) to the view {table.name}"
            )
            yield _lacks(f"{table.name}.{column.name}", f"the column {table.name}.{column.name}", mend)


def _types(table: Table, types: Sequence[Any]) -> Iterator[Finding]:
    for column, code in zip(table.columns, types, strict=True):
        found = getattr(code, "name", code)
        if found is not None and found not in _TYPES[_type(column)]:
            yield _lacks(
                f"{table.name}.{column.name}",
                f"a {_type(column)} in {table.name}.{column.name}",
                f"the driver calls its type {found}: cast it in the view, or change the column",
            )


def _type(column: Column[Any]) -> str:
    families = {
        Boolean: "truth value",
        Integer: "whole number",
        Float: "number",
        UtcDateTime: "time without time zone",
        String: "text",
    }
    return next(name for family, name in families.items() if isinstance(column.type, family))


def _indexes(connection: Connection, table: Table) -> Iterator[Finding]:
    wanted = _INDEXES.get(table.name, ())
    try:
        if table.name in inspect(connection).get_view_names():
            raise NoSuchTableError
        keys = list(_keys(connection, table))
    except NoSuchTableError:
        for columns in wanted:
            yield _lacks(
                f"{table.name}.indexes",
                f"a look at the indexes of {table.name}, which is no table",
                f"see that what is behind it has an index on {', '.join(columns)}",
                needed=False,
            )
        return
    for unique in _UNIQUE.get(table.name, ()):
        if not any(_guards(key, unique, table.name) for is_unique, key in keys if is_unique):
            lacking = f"a unique key of {table.name} on {', '.join(unique)}"
            yield _lacks(f"{table.name}.unique", lacking, _unique_index(table, unique, connection))
    for columns in wanted:
        if not any(key[: len(columns)] == list(columns) for _, key in keys):
            name = f"ix_{table.name}_{'_'.join(columns)}"
            mend = f"CREATE INDEX {name} ON {table.name} ({', '.join(columns)})"
            yield _lacks(
                f"{table.name}.indexes", f"an index of {table.name} on {', '.join(columns)}", mend, needed=False
            )


def _keys(connection: Connection, table: Table) -> Iterator[tuple[bool, list[str]]]:
    """Every index and key of a table: whether it is unique, and its columns."""
    found = inspect(connection)
    yield True, list(found.get_pk_constraint(table.name)["constrained_columns"])
    for constraint in found.get_unique_constraints(table.name):
        yield True, list(constraint["column_names"])
    for index in found.get_indexes(table.name):
        yield bool(index["unique"]), [name for name in index["column_names"] if name]


def _guards(key: Sequence[str], columns: Sequence[str], table: str) -> bool:
    # Of an index over an expression, Oracle reports the plain columns only, or a made-up name for the expression.
    return list(key) == list(columns) or (table == "scores" and key[-1:] == ["scorer_version"] and key[0] != "id")


def _unique_index(table: Table, columns: Sequence[str], connection: Connection) -> str:
    statements = statements_for(table.name, connection.dialect)
    if unique := [statement for statement in statements if statement.startswith("CREATE UNIQUE INDEX")]:
        return unique[0]
    return f"CREATE UNIQUE INDEX uq_{table.name}_{'_'.join(columns)} ON {table.name} ({', '.join(columns)})"


def _grants(connection: Connection, table: Table, writes: Sequence[str]) -> Iterator[Finding]:
    nothing = select(*(column for column in table.columns if column.name != "id")).where(false())
    attempts: dict[str, Executable] = {
        "insert": insert(table).from_select([c.name for c in table.columns if c.name != "id"], nothing),
        "update": table.update().where(false()).values({c: c for c in table.columns if not c.primary_key}),
        "delete": table.delete().where(false()),
    }
    missing = [right for right in writes if _try(connection, attempts[right])[0] is not None]
    if missing:
        grant = complete_grant(connection, table, writes)
        yield _lacks(table.name, f"the right to {' and '.join(missing)} rows of {table.name}", grant)


def _classes(connection: Connection) -> Iterator[Finding]:
    classes = schema.score_classes
    wanted = (*CATEGORIES, WITHDRAWN_CLASS)
    known = set(connection.scalars(select(classes.c.name).where(classes.c.name.in_(wanted))))
    for category in CATEGORIES:
        if category not in known:
            mend = "add it to score_classes, with itself as its category: `c4 db seed-classes`, or in the LIMS"
            yield _lacks(f"score_classes.{category}", f"a class named {category}", mend)
    if WITHDRAWN_CLASS not in known:
        yield _lacks(
            f"score_classes.{WITHDRAWN_CLASS}",
            f"a class named {WITHDRAWN_CLASS}: without it, nobody can take a score back on C4's pages",
            "add it to score_classes, without a category: `c4 db seed-classes`, or in the LIMS",
            needed=False,
        )
    strange = select(classes.c.name, classes.c.category).where(classes.c.category.not_in(CATEGORIES))
    for name, category in connection.execute(strange):
        yield _lacks(
            "score_classes.category",
            f"a category for the class {name}: {category!r} is none of {', '.join(CATEGORIES)}",
            "correct it in score_classes, or leave it empty",
            needed=False,
        )


def _odd_rows(connection: Connection) -> Iterator[Finding]:
    try:
        with connection.begin_nested():
            odd, undated = odd_rows_in(connection), undated_in(connection)
    except DBAPIError as error:
        if fault_of(error) is not SILENT:
            raise
        yield _lacks(
            "rows",
            "a quick look at the newest images, which took longer than C4_TIMEOUT_SECONDS",
            "see that images.id and inspections.imaged_at have indexes behind the views",
            needed=False,
        )
        return
    for each in odd:
        yield _lacks(
            "rows",
            str(each),
            "correct the rows: images without a number or an inspection are in no list, and the others fail",
            needed=False,
        )
    if undated.images:
        yield _lacks(
            "rows",
            f"a time of imaging of {undated}",
            "correct imaged_at: no day has these images, so nobody asks for them",
            needed=False,
        )


def _try(connection: Connection, statement: Executable) -> tuple[Fault | None, Sequence[Any]]:
    """Runs a statement that affects no row. Returns what went wrong, and the driver's types of its columns.

    Raises:
        DBAPIError: it failed for another reason than a missing relation, column or grant.
    """
    try:
        with connection.begin_nested():
            result = connection.execute(statement)
            return None, [entry[1] for entry in result.cursor.description or ()] if result.cursor else []
    except DBAPIError as error:
        if (fault := fault_of(error)) not in (LACKING, NOT_ALLOWED):
            raise
        return fault, []


def _creation(table: Table, connection: Connection) -> str:
    if table.name in OWN_TABLES:
        return ";\n".join(statements_for(table.name, connection.dialect))
    columns = ",\n    ".join(f"… AS {column.name} /* {_type(column)} */" for column in table.columns)
    return f"CREATE VIEW {table.name} AS SELECT\n    {columns}\nFROM …"
