"""The grants that C4's login needs, whole and with the schema, so that a DBA is asked once."""

from collections.abc import Sequence

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError


def complete_grant(connection: Connection, table: Table, writes: Sequence[str], schema: str | None = None) -> str:
    """The one statement that gives C4's login all that it needs of a relation.

    Args:
        writes: what C4 does with it beside reading: ``insert``, ``update``, ``delete``.
        schema: where it is; by default where the login finds it, if the database tells.
    """
    quote = connection.dialect.identifier_preparer.quote
    schema = schema or _schema_of(connection, table.name)
    rights = ", ".join(right.upper() for right in ("select", *writes))
    name = f"{quote(schema)}.{table.name}" if schema else table.name
    return f"GRANT {rights} ON {name} TO {_login(connection)}"


def elsewhere(connection: Connection, table: Table, writes: Sequence[str]) -> str | None:
    """The statements that show C4's login a relation that is there, in a schema that it does not look into.

    Only PostgreSQL tells. A relation of the LIMS that happens to have the same name has other columns.
    """
    if connection.dialect.name != "postgresql":
        return None
    query = text(
        "select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.relname = :name and c.relkind in ('r', 'v', 'm', 'p', 'f') and not pg_table_is_visible(c.oid) and "
        "(select count(*) from pg_attribute a where a.attrelid = c.oid and a.attname = any(:columns)) = :count "
        "order by n.nspname"
    )
    columns = [column.name for column in table.columns]
    schemas = connection.scalars(query, {"name": table.name, "columns": columns, "count": len(columns)}).all()
    if not schemas:
        return None
    quote = connection.dialect.identifier_preparer.quote
    schema, login = quote(schemas[0]), _login(connection)
    return (
        f"GRANT USAGE ON SCHEMA {schema} TO {login};\n{complete_grant(connection, table, writes, schemas[0])};\n"
        f"ALTER ROLE {login} SET search_path = {schema}"
    )


def _login(connection: Connection) -> str:
    return connection.dialect.identifier_preparer.quote(connection.engine.url.username or "c4")


_SCHEMA_OF = {
    "postgresql": (
        "select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.oid = to_regclass(:name)"
    ),
    "oracle": "select table_owner from user_synonyms where synonym_name = upper(:name)",
}
"""The schema in which C4's login finds a relation, with or without the right to read it."""


def _schema_of(connection: Connection, relation: str) -> str | None:
    query = _SCHEMA_OF.get(connection.dialect.name)
    if query is None:
        return None
    try:
        with connection.begin_nested():
            found: str | None = connection.scalar(text(query), {"name": relation})
    except DBAPIError:
        return None  # the grant is right without it where the DBA works in that schema
    return found.lower() if found and connection.dialect.name == "oracle" else found
