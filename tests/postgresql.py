"""A real PostgreSQL server for the tests: started on loopback in a temporary folder, stopped by its own process."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import unavailable

PASSWORD = "of-the-tests"


@dataclass(frozen=True)
class Server:
    """Where the server answers, as the superuser ``c4``."""

    port: int

    def address(self, database: str) -> str:
        """A SQLAlchemy address of one of its databases, which is made empty."""
        import psycopg2

        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user="c4", password=PASSWORD, dbname="postgres")
        connection.autocommit = True  # PostgreSQL makes databases outside transactions only
        with connection.cursor() as cursor:
            cursor.execute(f'create database "{database}"')
        connection.close()
        return f"postgresql+psycopg2://c4:{PASSWORD}@127.0.0.1:{self.port}/{database}"


@contextmanager
def running_server(folder: Path) -> Generator[Server, None, None]:
    """Starts a server with an empty cluster below ``folder``."""
    programs = _programs()
    folder.mkdir()
    user: int | None = None
    group: int | None = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user, group = account.pw_uid, account.pw_gid
        for parent in folder.parents:  # pytest's folders are for root alone
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o001)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    initdb = [programs / "initdb", "-D", data, "-U", "c4", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user, group=group)
    port = _free_port()
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", f"unix_socket_directories={folder}"]
    with (folder.parent / "postgresql.log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stderr=log, cwd=folder, user=user, group=group
        )
    try:
        _wait_for(port, server)
        yield Server(port)
    finally:
        server.terminate()
        server.wait(30)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if not on_path:
        unavailable("there is no PostgreSQL server: run deploy/system-packages")
    return Path(str(on_path)).parent


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "PostgreSQL ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("PostgreSQL did not answer in 30 s")
