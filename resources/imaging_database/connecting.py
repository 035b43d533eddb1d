"""Connections to each kind of database: every wait has a limit, and the DBA sees whose session it is.

A connection is opened for each use and closed after it: a step queries rarely, and others may need the connection. A
server that answers people keeps a few (:attr:`Connecting.kept_connections`).
"""

import codecs
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, text

from resources.errors import ConfigurationError
from resources.extras import naming_extras
from resources.imaging_database.faults import is_in_known_words
from resources.imaging_database.refusal import SERVER_REFUSES, sqlstate_of_refusal
from resources.imaging_database.statements import keep_good_rows

if TYPE_CHECKING:
    import oracledb
    from psycopg2.extensions import connection as PostgresConnection  # noqa: N812 (psycopg2 names it so)

SQLITE_WAIT_S = 30
"""Seconds that a writer waits for another writer of the same SQLite file."""

CONNECT_S = 20
"""Longest wait for a connection, in seconds."""

LEEWAY_S = 5
"""Seconds that C4 waits longer than PostgreSQL's own time-out: the server's message says more than C4's."""

KEEP_S = 1800
"""Seconds after which a kept connection is replaced, before firewalls forget it."""

PROGRAM = "c4"


@dataclass(frozen=True)
class Connecting:
    """The settings of a deployment's connections.

    Args:
        timeout_s: longest wait for one answer of the database, in seconds; ``None`` waits for ever.
        password: replaces the one in the address.
        wallet_password: of the folder that Oracle's address names in ``wallet_location``, with ``tnsnames.ora`` and,
            for TLS, ``ewallet.pem``.
        kept_connections: so many are kept open and shared, and there are never more: for a server that asks often. Each
            is tried before it is used and replaced after :data:`KEEP_S`. Of SQLite none is kept.
        makes_file: whether an SQLite file is made where there is none. Else that is an error: whoever only asks must
            not put an empty database in the place of one that is lost.
    """

    timeout_s: int | None = None
    password: str | None = field(default=None, repr=False)
    wallet_password: str | None = field(default=None, repr=False)
    kept_connections: int = 0
    makes_file: bool = False


def open_engine(url: URL, connecting: Connecting) -> Engine:
    """Makes SQLAlchemy's engine for the address. No connection is opened yet.

    Raises:
        ConfigurationError: the database's driver is not installed.
    """
    if connecting.password is not None:
        url = url.set(password=connecting.password)
    try:
        with naming_extras():
            return _ENGINES[url.get_backend_name()](url, connecting)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The database driver {error.name!r} is not installed: pip install {error.name} into C4's environment."
        ) from error


def tell_action(connection: Connection, action: str) -> None:
    """Shows the DBA what this session does, in ``V$SESSION.ACTION`` or ``pg_stat_activity.application_name``."""
    if connection.dialect.name == "oracle":
        connection.connection.dbapi_connection.action = action[:64]  # type: ignore[union-attr]
    elif connection.dialect.name == "postgresql":
        connection.execute(
            text("select set_config('application_name', :name, false)"), {"name": f"{PROGRAM} {action}"[:63]}
        )


def _pool(connecting: Connecting) -> dict[str, Any]:
    if not connecting.kept_connections:
        return {"poolclass": NullPool}
    return {
        "poolclass": QueuePool,
        "pool_size": connecting.kept_connections,
        "max_overflow": 0,
        "pool_timeout": CONNECT_S,
        "pool_recycle": KEEP_S,
        "pool_pre_ping": True,
    }


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database. None for one in memory, and where the address is an URI of SQLite's own."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name.startswith((":memory:", "file:")):
        return None
    return Path(name)


def _sqlite(url: URL, connecting: Connecting) -> Engine:
    options: dict[str, Any] = {"connect_args": {"timeout": SQLITE_WAIT_S}}
    file = file_of(url)
    if file is not None:
        # A connection that is kept goes on with a file that was moved away, and never sees what took its place.
        options["poolclass"] = NullPool
    engine = create_engine(url, **options)

    def leave_it_missing(_dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> None:
        assert file is not None  # noqa: S101 (listens for files alone)
        arguments[0] = f"{file.absolute().as_uri()}?mode=rw"
        named["uri"] = True

    def prepare(connection: Any, _record: Any) -> None:
        # WAL lets the sensor read while a run writes. SQLite enforces foreign keys only if told to.
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # SQLite takes bytes that are no UTF-8 for a text. They cost one image and not the statement.
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")

    event.listen(engine, "connect", prepare)
    if file is not None and not connecting.makes_file:
        event.listen(engine, "do_connect", leave_it_missing)
    return engine


def _postgresql(url: URL, connecting: Connecting) -> Engine:
    # Compiling a plan would take longer than any of C4's statements runs.
    own = url.query.get("options", ())  # a search_path, say
    asked = " ".join([own] if isinstance(own, str) else own)
    options: dict[str, Any] = {
        "application_name": PROGRAM,
        "connect_timeout": CONNECT_S,
        "options": f"{asked} -c jit=off".strip(),
    }
    if connecting.timeout_s is not None:
        milliseconds = connecting.timeout_s * 1000
        options["options"] += f" -c statement_timeout={milliseconds}"
        options["options"] += f" -c idle_in_transaction_session_timeout={milliseconds}"
        options |= {
            # A peer that is gone answers no keepalive probe.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        if url.get_driver_name() == "psycopg2":
            _read_sql_ascii()
            options["connection_factory"] = _bounded_postgresql(connecting.timeout_s + LEEWAY_S)
    engine = create_engine(url, connect_args=options, **_pool(connecting))
    if url.get_driver_name() == "psycopg2":
        event.listen(engine, "do_connect", _connect_postgresql)
    return engine


def _connect_postgresql(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    """Connects. The error of a server that refuses in words that are not known gets the code as ``sqlstate``."""
    try:
        return dialect.connect(*arguments, **options)
    except dialect.loaded_dbapi.OperationalError as error:
        if SERVER_REFUSES.search(str(error)) and not is_in_known_words(str(error)):
            error.sqlstate = sqlstate_of_refusal(options, CONNECT_S)
        raise


ESCAPING = "c4_escaping"
"""A codec: UTF-8, in which other bytes are read as lone surrogates."""


def _read_sql_ascii() -> None:
    """Makes psycopg2 read texts of a database without an encoding (SQL_ASCII): it would refuse all that is no ASCII.

    A byte that is no UTF-8 costs one image and not the statement.
    """
    from psycopg2 import extensions

    def find(name: str) -> codecs.CodecInfo | None:
        utf_8 = codecs.lookup("utf-8")
        return (
            codecs.CodecInfo(
                lambda text, errors="strict": utf_8.encode(text, "surrogateescape"),
                lambda data, errors="strict": utf_8.decode(data, "surrogateescape"),
                name=ESCAPING,
            )
            if name == ESCAPING
            else None
        )

    if extensions.encodings["SQLASCII"] != ESCAPING:
        codecs.register(find)
        extensions.encodings["SQLASCII"] = ESCAPING


def _bounded_postgresql(seconds: float) -> Callable[..., "PostgresConnection"]:
    """A connection class that closes the connection when one answer takes longer than ``seconds``.

    A server that hangs (its disk, its pooler) does not enforce ``statement_timeout``. Its kernel still answers
    keepalives, so libpq would wait for ever.
    """
    from psycopg2 import InterfaceError, OperationalError, extensions, extras

    @contextmanager
    def bounded(connection: extensions.connection) -> Generator[None, None, None]:
        ended: list[bool] = []

        def end() -> None:
            ended.append(True)
            with suppress(InterfaceError, OSError), socket.socket(fileno=os.dup(connection.fileno())) as peer:
                peer.shutdown(socket.SHUT_RDWR)

        timer = Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except OperationalError as error:
            if ended:
                raise OperationalError(f"no answer in {seconds:g} s") from error
            raise
        finally:
            timer.cancel()

    class BoundedCursor(extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 (psycopg2 names it so)
            with bounded(self.connection):
                super().execute(query, vars)

        def executemany(self, query: Any, vars_list: Any) -> None:
            # The driver's own calls no method of ours: it would wait without a limit.
            cast("Any", extras).execute_batch(self, query, vars_list)

    class BoundedConnection(extensions.connection):
        def cursor(self, *arguments: Any, **named: Any) -> Any:
            return super().cursor(*arguments, **{"cursor_factory": BoundedCursor, **named})

        def commit(self) -> None:
            with bounded(self):
                super().commit()

        def rollback(self) -> None:
            with bounded(self):
                super().rollback()

    return BoundedConnection


def _oracle(url: URL, connecting: Connecting) -> Engine:
    def connect() -> "oracledb.Connection":
        import oracledb

        options = dict(engine.dialect.create_connect_args(url)[1])
        if wallet := options.get("wallet_location"):
            options = {"config_dir": wallet, "wallet_password": connecting.wallet_password, **options}
        # A peer that is gone answers no probe (expire_time, in minutes).
        options |= {"tcp_connect_timeout": CONNECT_S, "expire_time": 1, "program": PROGRAM}
        connection = _in_time(lambda: oracledb.connect(**options), CONNECT_S, oracledb.OperationalError)
        connection.call_timeout = (connecting.timeout_s or 0) * 1000
        connection.module = PROGRAM
        return connection

    engine = create_engine(url, creator=connect, max_identifier_length=128, **_pool(connecting))
    event.listen(engine, "do_execute", keep_good_rows)
    event.listen(engine, "do_executemany", keep_good_rows)
    return engine


def _in_time(
    connect: Callable[[], "oracledb.Connection"], seconds: float, late: type[Exception]
) -> "oracledb.Connection":
    """Connects, or fails after a time-out.

    No parameter of the driver limits the wait for a listener that accepts and then sends nothing. The driver's pool has
    one, but keeps the process from ending; a daemon thread does not.

    Raises:
        late: the time-out has passed; its cause is a :class:`TimeoutError`.
    """
    answers: Queue[oracledb.Connection | Exception] = Queue()
    given_up = Event()

    def work() -> None:
        try:
            connection = connect()
        except Exception as error:
            answers.put(error)
            return
        answers.put(connection)
        if given_up.is_set():
            connection.close()

    Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        given_up.set()
        raise late(f"no answer in {seconds:g} s") from TimeoutError()
    if isinstance(answer, Exception):
        raise answer
    return answer


_ENGINES = {"sqlite": _sqlite, "postgresql": _postgresql, "oracle": _oracle}
