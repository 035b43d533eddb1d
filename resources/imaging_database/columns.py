"""Types of columns, and the one collection of all tables, to which the modules of tables add theirs."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, TypeDecorator
from sqlalchemy.dialects import oracle
from sqlalchemy.types import TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware ``datetime`` in Python, UTC without an offset in the database. A naive one is refused.

    Args:
        fraction: keep microseconds. Without them the column is a ``DATE`` in Oracle, as in most LIMS: Oracle converts
            every row of a ``DATE`` column that is compared with a ``TIMESTAMP``, and passes its index over.
    """

    impl = DateTime
    cache_ok = True

    def __init__(self, fraction: bool = True) -> None:
        super().__init__()
        self.fraction = fraction

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        precise = dialect.name == "oracle" and self.fraction
        return dialect.type_descriptor(oracle.TIMESTAMP() if precise else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no time zone")
        utc = value.astimezone(UTC).replace(tzinfo=None)
        return utc if self.fraction or dialect.name != "oracle" else utc.replace(microsecond=0)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key is INTEGER, and gives the number of a deleted row to the next one
# unless told otherwise (``sqlite_autoincrement``). The other databases never do.
INT64 = BigInteger().with_variant(Integer, "sqlite")
