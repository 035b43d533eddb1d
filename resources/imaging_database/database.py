"""One way into the imaging database: connections, transactions and errors that an operator understands."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, ProgrammingError

from resources.errors import C4Error, ConfigurationError, Unavailable
from resources.imaging_database import schema

SQLITE_WAIT_S = 30
"""How long a writer waits for another one of the same SQLite file."""


class ImagingDatabase:
    """The imaging database at a SQLAlchemy address. Nothing is opened before the first use.

    Raises (from :meth:`reading` and :meth:`writing`):
        ConfigurationError: the address cannot be used, or the database lacks C4's tables.
        Unavailable: the database does not answer; nothing was written.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(url)
            self._url.get_dialect()
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise ConfigurationError(
                "C4_IMAGING_DATABASE_URL is not a SQLAlchemy address such as sqlite:////data/imaging.db "
                "or postgresql+psycopg2://user@host/database."
            ) from error

    @property
    def address(self) -> str:
        """The address without its password, for messages."""
        return self._url.render_as_string(hide_password=True)

    @cached_property
    def engine(self) -> Engine:
        """The connection pool."""
        if self._url.get_backend_name() != "sqlite":
            return _engine(self._url, pool_pre_ping=True)
        engine = _engine(self._url, connect_args={"timeout": SQLITE_WAIT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """A connection that sees C4's tables."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection, None, None]:
        """One transaction: all of the block is written, or nothing."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    def missing_tables(self) -> list[str]:
        """Names of the contract's relations that the database does not have."""
        try:
            found = inspect(self.engine)
            present = {*found.get_table_names(), *found.get_view_names()}
        except DBAPIError as error:
            raise Unavailable(f"The imaging database {self.address} does not answer: {error.orig}.") from error
        return sorted(set(schema.metadata.tables) - present)

    def upgrade(self) -> None:
        """Creates C4's tables or brings them up to date (Alembic). Doing it again changes nothing."""
        from alembic import command
        from alembic.config import Config

        if self._url.get_backend_name() == "sqlite" and self._url.database:
            _make_folder(Path(self._url.database).parent)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _translated(self) -> Generator[None, None, None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explained(error) from error

    def _explained(self, error: DBAPIError) -> C4Error:
        cause = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        if isinstance(error, OperationalError | ProgrammingError) and self._lacks_tables():
            return ConfigurationError(
                f"The imaging database {self.address} lacks C4's tables ({cause}). Create them with `c4 db upgrade`, "
                "or map them with views (docs/imaging-database.md)."
            )
        return Unavailable(
            f"The imaging database {self.address} did not do what was asked: {cause}. Nothing was written; the next "
            "run carries on."
        )

    def _lacks_tables(self) -> bool:
        try:
            return bool(self.missing_tables())
        except Unavailable:
            return False  # it does not answer at all


def _engine(url: Any, **options: Any) -> Engine:
    try:
        return create_engine(url, **options)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The database driver {error.name!r} is not installed: pip install {error.name} into C4's environment."
        ) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} of the imaging database cannot be made ({error.strerror}): set C4_HOME or "
            "C4_IMAGING_DATABASE_URL to a place where C4 may write."
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # WAL lets the sensor read while a run writes; foreign keys are off in SQLite unless asked for.
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
