"""Real PostgreSQL servers: started on loopback in a folder, stopped by their own process."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from testing.ports import free_port
from testing.programs import NotInstalled

PASSWORD = "of-the-tests"

INSTALLED = Path("/usr/lib/postgresql")
TREE = Path("/var/lib/c4-tests/postgresql-17")
"""Where deploy/system-packages puts a Debian with PostgreSQL 17 if the machine's own has none."""


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs; below ``root`` in a chroot where they are another system's than this machine's."""

    folder: Path
    root: Path | None = None

    def command(self, name: str, *arguments: str) -> Sequence[str]:
        """Runs a program as the user postgres: PostgreSQL refuses to run as root."""
        program = str(self.folder / name)
        if self.root is not None:
            return ["chroot", "--userspec=postgres:postgres", str(self.root), program, *arguments]
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        return [*(as_postgres if os.geteuid() == 0 else []), program, *arguments]

    def outside(self, folder: Path) -> Path:
        """Where a folder of the programs' system lies for this one."""
        return folder if self.root is None else self.root / folder.relative_to("/")


def _let_through(folder: Path) -> None:
    """Pytest's folders are for root alone, and each process of pytest that starts makes them so again."""
    for parent in folder.parents if os.geteuid() == 0 else ():
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)


class Server:
    """A server of one's own, with the superuser ``c4``."""

    def __init__(self, programs: Programs, folder: Path, options: Sequence[str] = ()) -> None:
        """``folder`` is made; it is one of the programs' system."""
        self._programs, self._folder, self._options = programs, folder, options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._make()

    def _make(self) -> None:
        here = self._programs.outside(self._folder)
        here.mkdir()
        if os.geteuid() == 0:
            accounts = (self._programs.root or Path("/")) / "etc" / "passwd"
            (account,) = (line for line in accounts.read_text().splitlines() if line.startswith("postgres:"))
            user, group = account.split(":")[2:4]
            os.chown(here, int(user), int(group))
            _let_through(here)
        (here / "password").write_text(PASSWORD)
        (here / "password").chmod(0o644)
        secret = f"--pwfile={self._folder / 'password'}"
        self._run("initdb", "-D", str(self._folder / "data"), "-U", "c4", "-A", "scram-sha-256", secret, "--no-sync")

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            self._programs.command(name, *arguments),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._programs.outside(self._folder),
        )

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self._folder}"]
        arguments = [word for option in (*options, *self._options) for word in ("-c", option)]
        here = self._programs.outside(self._folder)
        _let_through(here)
        with (here / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._programs.command("postgres", "-D", str(self._folder / "data"), *arguments), stderr=log, cwd=here
            )
        deadline = time.monotonic() + 30
        while True:
            assert self._process.poll() is None, (here / "log").read_text()
            try:
                self.execute("select 1")
                return
            except psycopg2.OperationalError:
                assert time.monotonic() < deadline, (here / "log").read_text()
                time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server: SIGINT ends its sessions in order, SIGQUIT at once as when the machine dies."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def processes(self) -> list[int]:
        """The server's processes, the one that starts the others first."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Runs one statement as the superuser, outside any transaction, and returns its rows."""
        connection = psycopg2.connect(self.conninfo(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def conninfo(self, database: str) -> str:
        """Libpq's words for one of its databases."""
        return f"host=127.0.0.1 port={self.port} user=c4 password={PASSWORD} dbname={database}"

    def address(self, database: str, template: str = "template1") -> str:
        """A SQLAlchemy address of a new database."""
        deadline = time.monotonic() + 10
        while True:
            try:
                self.execute(f'create database "{database}" template "{template}"')
                break
            except psycopg2.errors.ObjectInUse:  # a session of the template is still ending
                assert time.monotonic() < deadline
                time.sleep(0.05)
        return f"postgresql+psycopg2://c4:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def remove(self) -> None:
        """Stops the server and removes its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._programs.outside(self._folder), ignore_errors=True)


@contextmanager
def running_server(folder: Path, *options: str, programs: Programs | None = None) -> Generator[Server, None, None]:
    """A server with an empty cluster in a new folder, started."""
    server = Server(programs or installed(), folder, options)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def installed() -> Programs:
    """The newest PostgreSQL of this machine.

    Raises:
        NotInstalled: there is none.
    """
    found = sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return Programs(found[-1].parent)
    if not on_path:
        raise NotInstalled("there is no PostgreSQL server: run deploy/system-packages")
    return Programs(Path(on_path).parent)


def with_orafce() -> Programs:
    """A PostgreSQL with Oracle's functions: this machine's own, or the one in a folder of its own.

    Raises:
        NotInstalled: there is none.
    """
    own = [path for path in INSTALLED.glob("*/lib/orafce.so") if int(path.parts[-3]) >= 16]
    if own:
        return Programs(own[-1].parents[1] / "bin")
    programs = Programs(Path("/usr/lib/postgresql/17/bin"), TREE)
    if not (TREE / "usr/lib/postgresql/17/lib/orafce.so").is_file() or os.geteuid() != 0:
        raise NotInstalled("there is no PostgreSQL with orafce: run deploy/system-packages and the tests as root")
    return programs
