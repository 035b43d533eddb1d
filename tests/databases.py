"""The four databases that the imaging database's tests run on, each test on an empty one of its own.

SQLite, PostgreSQL, Oracle's wire protocol, and a real Oracle where ``ORACLE_TEST_DSN`` is set: a SQLAlchemy address of
a schema that the tests may empty, such as ``oracle+oracledb://c4:…@host/?service_name=FREEPDB1``.
"""

import logging
import os
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, inspect

from resources.imaging_database import ImagingDatabase, connecting
from resources.imaging_database.register import seed_classes
from testing.postgresql import Server, running_server, with_orafce

REAL_ORACLE = os.environ.get("ORACLE_TEST_DSN", "")
KINDS = ["sqlite", "postgresql", "oracle-protocol", *(["oracle"] if REAL_ORACLE else [])]

TEMPLATE = "upgraded"
"""A database with C4's tables. Copying it takes a tenth of the time of making them."""


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is for production: the same waits, shorter."""
    monkeypatch.setattr(connecting, "CONNECT_S", 2)
    monkeypatch.setattr(connecting, "LEEWAY_S", 0.5)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    """PostgreSQL, with a template."""
    with running_server(tmp_path_factory.mktemp("postgresql") / "server", "fsync=off") as server:
        ImagingDatabase(server.address(TEMPLATE)).upgrade()
        yield server


@pytest.fixture(scope="session")
def mirrored_server() -> Generator[Server, None, None]:
    """The PostgreSQL behind Oracle's wire protocol, with a template."""
    from testing.oracle import mirror

    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    logging.getLogger("seerdb").setLevel(logging.CRITICAL)
    folder = Path(tempfile.gettempdir(), f"c4-tests-{uuid.uuid4().hex}")
    with running_server(folder, "fsync=off", programs=with_orafce()) as server:
        server.address(TEMPLATE)
        with mirror(server.conninfo(TEMPLATE)) as address:
            made = ImagingDatabase(address)
            made.upgrade()
            seed_classes(made)
            made.engine.dispose()
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the databases."""
    return request.param


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str, None, None]:
    """The address of an empty database of that kind."""
    from testing.oracle import mirror

    name = f"imaging-{uuid.uuid4().hex}"
    if kind == "sqlite":
        file = tmp_path / "imaging.db"
        file.touch()
        yield f"sqlite:///{file}"
    elif kind == "postgresql":
        server: Server = request.getfixturevalue("postgresql_server")
        yield server.address(name, TEMPLATE)
    elif kind == "oracle-protocol":
        server = request.getfixturevalue("mirrored_server")
        server.address(name, TEMPLATE)
        with mirror(server.conninfo(name)) as address:
            yield address
    else:
        _empty(REAL_ORACLE)
        yield REAL_ORACLE


def _empty(address: str) -> None:
    engine = create_engine(address)
    with engine.begin() as connection:
        there = MetaData()
        there.reflect(connection, only=lambda name, _: name in inspect(connection).get_table_names())
        there.drop_all(connection)
    engine.dispose()
