"""Access to the imaging database: connections, transactions, and errors with a message for the operator."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, StatementError
from sqlalchemy.exc import TimeoutError as NoneLeft

from resources.errors import ConfigurationError, Unavailable, outages_of
from resources.imaging_database.connecting import Connecting, open_engine, tell_action
from resources.imaging_database.faults import explained
from resources.imaging_database.schema import VERSION_TABLE
from resources.settings import Settings

DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg2", "oracle": "oracledb"}
"""The databases that C4 works with, and the driver of each, whose time limits and errors it knows."""

MIGRATIONS = Path(__file__).parent / "migrations"


class ImagingDatabase:
    """The imaging database at a SQLAlchemy address. Nothing is opened before the first use.

    Raises (from :meth:`reading` and :meth:`writing`):
        Unavailable: the database does not answer or cannot write now; nothing was written.
        ConfigurationError: address, login or grants are wrong, or the database lacks C4's tables.
        DataError: the database does not take a value.
    """

    def __init__(self, url: str | URL, connecting: Connecting | None = None) -> None:
        try:
            self._url = make_url(url)
            driver = self._url.get_backend_name(), self._url.get_driver_name()
            self._url.get_dialect()
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise ConfigurationError(
                "C4_DATABASE_URL is not a SQLAlchemy address such as sqlite:////data/imaging.db, "
                "postgresql+psycopg2://user@host/database or oracle+oracledb://user@host/?service_name=name."
            ) from error
        if driver not in DRIVERS.items():
            raise ConfigurationError(
                f"C4_DATABASE_URL begins with {self._url.drivername}://. C4 works with sqlite://, "
                "postgresql+psycopg2:// and oracle+oracledb:// alone."
            )
        self._connecting = connecting or Connecting()

    @classmethod
    def of(cls, settings: Settings, kept_connections: int = 0) -> "ImagingDatabase":
        """The imaging database of a deployment; for a server, with so many connections that it keeps open."""
        password, wallet_password = (
            secret.get_secret_value() if secret else None
            for secret in (settings.database.password, settings.database.wallet_password)
        )
        connecting = Connecting(settings.timeout_seconds, password, wallet_password, kept_connections)
        return cls(settings.database.url, connecting)

    @property
    def address(self) -> str:
        """The address without its password, for messages."""
        return self._url.render_as_string(hide_password=True)

    @property
    def dialect(self) -> str:
        """The kind of database: ``sqlite``, ``postgresql``, ``oracle``."""
        return self._url.get_backend_name()

    @cached_property
    def engine(self) -> Engine:
        """SQLAlchemy's engine, which makes the connections."""
        return open_engine(self._url, self._connecting)

    @contextmanager
    def reading(self, action: str = "read") -> Generator[Connection, None, None]:
        """A connection for reading. ``action`` is what the DBA sees of the session."""
        with self._translated(), self.engine.connect() as connection:
            tell_action(connection, action)
            yield connection

    @contextmanager
    def writing(self, action: str = "write") -> Generator[Connection, None, None]:
        """One transaction: all of the block is written, or nothing."""
        with self._translated(), self.engine.begin() as connection:
            tell_action(connection, action)
            yield connection

    def is_new(self) -> bool:
        """Whether nobody has made a table in the embedded database yet."""
        return not self._url.database or not Path(self._url.database).exists() or self._is_empty()

    def _is_empty(self) -> bool:
        from sqlalchemy import inspect

        with self.reading("upgrade") as connection:
            return not inspect(connection).get_table_names()

    def is_view(self, name: str) -> bool:
        """Whether a relation is a view of the site's, and no table that C4 has made or may fill."""
        from sqlalchemy import inspect

        with self.reading("upgrade") as connection:
            return name in inspect(connection).get_view_names()

    def is_migrated(self) -> bool:
        """Whether `c4 db upgrade` has made the tables. Elsewhere a DBA makes them from what `c4 db ddl` prints."""
        from sqlalchemy import inspect

        with self.reading("upgrade") as connection:
            return inspect(connection).has_table(VERSION_TABLE)

    def is_up_to_date(self) -> bool:
        """Whether C4's tables are there as this release wants them."""
        from alembic.migration import MigrationContext
        from alembic.script import ScriptDirectory

        with self.reading("upgrade") as connection:
            found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
        return set(found) == set(ScriptDirectory(str(MIGRATIONS)).get_heads())

    def upgrade(self) -> None:
        """Creates C4's tables or brings them up to date (Alembic). Doing it again changes nothing."""
        from alembic import command
        from alembic.config import Config

        if self.dialect == "sqlite" and self._url.database:
            _make_folder(Path(self._url.database).parent)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        # An index over 50 million rows takes longer than any answer should.
        patient = ImagingDatabase(self._url, replace(self._connecting, timeout_s=None))
        with patient.writing("upgrade") as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        patient.engine.dispose()

    @contextmanager
    def _translated(self) -> Generator[None, None, None]:
        with outages_of("database"):
            try:
                yield
            except NoneLeft as error:
                raise Unavailable(
                    f"All {self._connecting.kept_connections} connections to the imaging database {self.address} were "
                    "in use for too long: it answers slowly, or too much is asked at once. Try again."
                ) from error
            except (StatementError, UnicodeError) as error:
                raise explained(error, self.address) from error
            except OSError as error:
                if self.dialect != "oracle":
                    raise
                raise explained(error, self.address) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} of the imaging database cannot be made ({error.strerror}): set C4_HOME or "
            "C4_DATABASE_URL to a place where C4 may write."
        ) from error
