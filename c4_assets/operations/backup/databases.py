"""Copies of databases that others write to meanwhile: SQLite by its own backup, PostgreSQL by ``pg_dump``."""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sqlalchemy import URL

from c4_assets.operations.backup.snapshot import Snapshot, writing
from resources.atomic_write import NoRoom
from resources.errors import ConfigurationError, Unavailable

SQLITE_WAIT_S = 60
"""Seconds that a copy waits for a writer. Files in WAL mode, as all of C4's and Dagster's, make nobody wait."""

SIDE_FILES = ("-wal", "-shm", "-journal")


LIBPQ_SERVICE = "c4"


@dataclass(frozen=True)
class PostgresAccess:
    """How PostgreSQL's programs reach a database: as libpq does for C4's own connections to it.

    Attributes:
        address: without the password.
        parameters: libpq's words, all that the address says. What it leaves out libpq takes from variables like
            ``PGSSLROOTCERT``, here as there.
    """

    address: str
    parameters: Mapping[str, str] = field(repr=False)
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, url: URL, address: str) -> "PostgresAccess":
        """The access by an address of SQLAlchemy's, whose query may name hosts, certificates or a ``search_path``."""
        from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

        told = cast("Mapping[str, str | int | tuple[str, ...]]", PGDialect_psycopg2().create_connect_args(url)[1])
        given = {name: " ".join(value) if isinstance(value, tuple) else str(value) for name, value in told.items()}
        password = given.pop("password", None)
        return cls(address, given, password)

    @contextmanager
    def connecting(self) -> Generator[tuple[str, dict[str, str]]]:
        """What PostgreSQL's programs are to connect to, for their command line, and their environment.

        No command line shows a password. What the address says goes before all variables, ``PGPASSWORD`` aside.
        """
        # Not in a file of services, at whose ends of lines spaces are lost.
        password = {} if self.password is None else {"PGPASSWORD": self.password}
        environment = {**os.environ, "PGAPPNAME": "c4 backup", "PGCONNECT_TIMEOUT": "20", **password}
        if "service" in self.parameters:
            yield self._by_the_sites_service(), environment
            return
        with tempfile.NamedTemporaryFile("w", prefix="c4-service-") as file:  # of mode 0600
            file.write(f"[{LIBPQ_SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in self.parameters.items()))
            file.flush()
            yield f"service={LIBPQ_SERVICE}", {**environment, "PGSERVICEFILE": file.name}

    def _by_the_sites_service(self) -> str:
        """An address that names a service of the site's own, in which there can be no second one. Its file is where the
        password of a key belongs, which a command line would show.
        """
        from psycopg2.extensions import make_dsn

        return make_dsn(**{name: value for name, value in self.parameters.items() if name != "sslpassword"})


def copy_sqlite(snapshot: Snapshot, name: str, file: Path) -> None:
    """Copies a SQLite file as it is at one moment, whoever writes to it. One that has gone meanwhile is left out.

    Raises:
        Unavailable: it cannot be read.
        NoRoom: the disk of the backup is full.
    """
    source = _stamp_of_sqlite(file)
    if source is None or snapshot.unchanged(name, source):
        return
    try:
        with writing(snapshot.root / name) as temporary:
            # With mode=rw, a file that has gone is not made anew.
            with (
                closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", SQLITE_WAIT_S, uri=True)) as opened,
                closing(sqlite3.connect(temporary)) as copy,
            ):
                # Once this connection has the file open, no other one that closes locks it to do away with its log.
                opened.execute("select count(*) from sqlite_master").fetchone()
                # All pages in one transaction: with fewer at a time, each write of others would begin it anew.
                opened.backup(copy, progress=_patience(time.monotonic() + SQLITE_WAIT_S), sleep=0.05)
            with suppress(OSError):
                shutil.copymode(file, temporary)
    except sqlite3.Error as error:
        if not file.exists():
            return
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:  # the backup's disk: it only reads the file
            raise NoRoom(snapshot.root / name) from error
        raise Unavailable(f"The SQLite file {file} cannot be copied: {error}.") from error
    snapshot.made(name, source)


def _patience(deadline: float) -> Callable[[int, int, int], None]:
    """Ends a copy that waits for a lock, which ``Connection.backup`` would do for ever."""

    def look(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise sqlite3.OperationalError(f"another program has locked it for {SQLITE_WAIT_S} s")

    return look


def _stamp_of_sqlite(file: Path) -> tuple[int, ...] | None:
    stamp: list[int] = []
    for each in (file, file.with_name(f"{file.name}-wal")):
        try:
            found = each.stat()
        except FileNotFoundError:
            if each == file:
                return None
            stamp += [0, 0]
        else:
            stamp += [found.st_size, found.st_mtime_ns if found.st_size else 0]
    return tuple(stamp)


def sqlite_fault(file: Path) -> str:
    """What is wrong with a SQLite file of a backup, or nothing. Neither it nor anything beside it is written."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            [answer, *more] = [row[0] for row in opened.execute("PRAGMA integrity_check")]
    except (sqlite3.Error, ValueError) as error:
        return f"SQLite cannot read it: {error}"
    return "" if answer == "ok" and not more else f"SQLite's integrity check says: {answer}"


def dump_postgres(snapshot: Snapshot, name: str, access: PostgresAccess, tables: Collection[str] | None = None) -> None:
    """Dumps a database as it is at one moment.

    Args:
        tables: these alone, at least one; ``None`` for all that there is.

    Raises:
        ValueError: no table is named, which ``pg_dump`` would take for all of them.
        ConfigurationError: there is no ``pg_dump``.
        Unavailable: it failed.
    """
    if tables is not None and not tables:
        raise ValueError("no table is to be dumped")
    chosen = [f'--table="{table}"' for table in tables or ()]
    with writing(snapshot.root / name) as temporary:
        temporary.touch(mode=0o600)
        _run("pg_dump", access, "--format=custom", "--no-owner", "--no-privileges", f"--file={temporary}", *chosen)
    snapshot.made(name)


def restore_postgres(dump: Path, access: PostgresAccess) -> None:
    """Puts all of a dump into a database, in one transaction.

    Raises:
        ConfigurationError: there is no ``pg_restore``.
        Unavailable: it failed, and nothing was changed.
    """
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    _run("pg_restore", access, *options, str(dump))


def query_postgres(access: PostgresAccess, statement: str) -> str:
    """What a statement answers, as ``psql`` prints it without decoration.

    Raises:
        ConfigurationError: there is no ``psql``.
        Unavailable: it failed, and nothing was changed.
    """
    options = ("--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1")
    return _run("psql", access, *options, f"--command={statement}").strip()


def has_rows(access: PostgresAccess, tables: Sequence[str]) -> bool:
    """Whether one of these tables is there and has a row."""
    there = [
        table for table in tables if query_postgres(access, f"select to_regclass('\"{table}\"') is not null") == "t"
    ]
    return any(
        query_postgres(access, f'select exists (select from "{table}")') == "t"  # noqa: S608 (names of a dump)
        for table in there
    )


def move_tables_aside(access: PostgresAccess, schema: str, tables: Sequence[str]) -> bool:
    """Moves tables of the present schema, if any are there, into a new one, in one transaction."""
    chosen = ", ".join(f"'{table}'" for table in tables)
    those = f"schemaname = current_schema() and tablename in ({chosen})"
    if query_postgres(access, f"select count(*) from pg_tables where {those}") == "0":  # noqa: S608 (names of a dump)
        return False
    query_postgres(
        access,
        f"""do $$ declare each record; begin
            create schema "{schema}";
            for each in select schemaname, tablename from pg_tables where {those} loop
                execute format('alter table %I.%I set schema "{schema}"', each.schemaname, each.tablename);
            end loop; end $$""",  # noqa: S608 (names of a dump)
    )
    return True


def tables_of_dump(dump: Path) -> tuple[str, ...]:
    """The names of the tables in a dump."""
    listed = subprocess.run([_path_of("pg_restore"), "--list", str(dump)], capture_output=True, text=True, check=False)
    return tuple(match[1] for match in re.finditer(r"^\d+; \d+ \d+ TABLE \S+ (\S+) ", listed.stdout, re.MULTILINE))


def dump_fault(dump: Path) -> str:
    """What is wrong with a dump, or nothing: all of it is unpacked."""
    program = _path_of("pg_restore")
    done = subprocess.run([program, "--file=/dev/null", str(dump)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"pg_restore cannot read it: {_last_line(done.stderr)}"


def rows_of_dump(dump: Path, table: str) -> Iterator[dict[str, str | None]]:
    """The rows of a table in a dump, as PostgreSQL writes them, without any server."""
    command = [_path_of("pg_restore"), "--data-only", f"--table={table}", "--file=-", str(dump)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as reading:
        assert reading.stdout is not None  # noqa: S101 (a pipe was asked for)
        columns: list[str] = []
        for line in reading.stdout:
            if line.startswith("COPY "):
                columns = [name.strip(' "') for name in line[line.index("(") + 1 : line.rindex(")")].split(",")]
            elif line.startswith("\\."):
                columns = []
            elif columns:
                yield dict(zip(columns, map(_unescaped, line.rstrip("\n").split("\t")), strict=True))
    if reading.returncode:
        raise Unavailable(f"{dump} cannot be read: pg_restore ended with status {reading.returncode}.")


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescaped(text: str) -> str | None:
    if text == r"\N":
        return None
    if "\\" not in text:
        return text
    made, characters = "", iter(text)
    for character in characters:
        following = next(characters, "") if character == "\\" else ""
        made += _ESCAPES.get(following, following) if following else character
    return made


def _run(program: str, access: PostgresAccess, *arguments: str) -> str:
    path = _path_of(program)
    with access.connecting() as (database, environment):
        command = [path, f"--dbname={database}", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{program} of {access.address} failed: {_last_line(done.stderr)}")
    return done.stdout


def _path_of(program: str) -> str:
    if found := shutil.which(program):
        return found
    raise ConfigurationError(
        f"{program} is not installed, which copies PostgreSQL's databases (Debian: apt-get install postgresql-client; "
        "its version must not be older than the server's). Nothing has been changed."
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return (errors or lines or ["it said nothing"])[0]
