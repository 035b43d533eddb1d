"""Access to the imaging database: connections, transactions, and errors with a message for the operator."""

import os
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
from resources.imaging_database.connecting import Connecting, file_of, open_engine, tell_action
from resources.imaging_database.faults import explained
from resources.imaging_database.schema import VERSION_TABLE
from resources.settings import Settings

DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg2", "oracle": "oracledb"}
"""The databases that C4 works with, and the driver of each, whose time limits and errors it knows."""

MIGRATIONS = Path(__file__).parent / "migrations"


class ImagingDatabase:
    """The imaging database at a SQLAlchemy address. Nothing is opened before the first use.

    Args:
        archive: the folder with the numbers of its scores, by which an embedded database that is lost is told from one
            that nobody has made yet.

    Raises (from :meth:`reading` and :meth:`writing`):
        Unavailable: the database does not answer or cannot write now; nothing was written.
        ConfigurationError: address, login or grants are wrong, or the database lacks C4's tables.
        DataError: the database does not take a value.
    """

    def __init__(self, url: str | URL, connecting: Connecting | None = None, archive: Path | None = None) -> None:
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
        self._connecting, self._archive = connecting or Connecting(), archive
        self._refuse_unused_parts()

    @classmethod
    def of(cls, settings: Settings, kept_connections: int = 0) -> "ImagingDatabase":
        """The imaging database of a deployment; for a server, with so many connections that it keeps open."""
        password, wallet_password = (
            secret.get_secret_value() if secret else None
            for secret in (settings.database.password, settings.database.wallet_password)
        )
        connecting = Connecting(settings.timeout_seconds, password, wallet_password, kept_connections)
        return cls(settings.database.url, connecting, settings.archive)

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
        with self._translated(), self._there().connect() as connection:
            tell_action(connection, action)
            yield connection

    @contextmanager
    def writing(self, action: str = "write") -> Generator[Connection, None, None]:
        """One transaction: all of the block is written, or nothing."""
        with self._translated(), self._there().begin() as connection:
            tell_action(connection, action)
            yield connection

    def is_new(self) -> bool:
        """Whether this is an embedded database in which nobody has made a table yet.

        Raises:
            ConfigurationError: there was one, which is lost.
        """
        if self.dialect != "sqlite":
            return False
        file = file_of(self._url)
        if file is not None and _is_missing(file):
            self._refuse_lost(file, "is not there")
            return True
        if not self._is_empty():
            return False
        if file is not None:
            self._refuse_lost(file, "is empty")
        return True

    def refuse_new(self) -> None:
        """Raises:
        ConfigurationError: nobody has made the embedded database yet, or it is lost.
        """
        if self.is_new():
            raise self._not_made()

    def _not_made(self) -> ConfigurationError:
        return ConfigurationError(
            f"There is no imaging database {self.address} yet: `c4 import FOLDER`, `c4 demo` or `c4 db upgrade` makes "
            "one."
        )

    def _there(self) -> Engine:
        """The engine, unless it would look for a file that is not there."""
        file = file_of(self._url)
        if file is not None and not self._connecting.makes_file and _is_missing(file):
            self._refuse_lost(file, "is not there")
            raise self._not_made()
        return self.engine

    def _refuse_lost(self, file: Path, state: str) -> None:
        log = file.with_name(f"{file.name}-wal")  # holds the newest rows, and is of no use beside another file
        signs = [
            *([f"{log} is left of it"] if _is_missing(file) and log.exists() else []),
            *([f"{self._archive} has what was scored with it"] if self._archive and _has_files(self._archive) else []),
        ]
        if signs:
            raise ConfigurationError(
                f"The imaging database is lost: {file} {state}, but {' and '.join(signs)}. Nothing was made in its "
                f"place. Stop the services. If the file was moved, move it back, beside its {log.name} if there is "
                "one; else put a backup back: `c4 restore FOLDER --only database`. Only to begin anew, move "
                "what is left away."
            )

    def _refuse_unused_parts(self) -> None:
        """SQLAlchemy finds only when it connects that an address has parts which its database does not know."""
        url = self._url
        if self.dialect == "sqlite" and any((url.username, url.password, url.host, url.port)):
            raise ConfigurationError(
                "C4_DATABASE_URL has a user, a password or a host, and an SQLite database is a file without these: "
                "write sqlite:////data/imaging.db, with four slashes before a path from the root."
            )
        if self.dialect == "sqlite" and self._connecting.password is not None:
            raise ConfigurationError(
                f"C4_DATABASE_PASSWORD is set, and the imaging database {self.address} is a file, which has none: "
                "remove it (or the secret file database_password), or set C4_DATABASE_URL to the database it is for."
            )

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
        patient = ImagingDatabase(self._url, replace(self._connecting, timeout_s=None, makes_file=True))
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


def _is_missing(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # SQLite says why it cannot be opened
        return False
    return False


def _has_files(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} of the imaging database cannot be made ({error.strerror}): set C4_HOME or "
            "C4_DATABASE_URL to a place where C4 may write."
        ) from error
