"""Alembic runs the migrations on the connection that ``ImagingDatabase.upgrade`` hands over."""

from alembic import context

from resources.imaging_database.schema import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
# SQLite changes a table by copying it (batch mode).
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
