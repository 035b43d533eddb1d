"""A server keeps a few connections to the imaging database; steps and commands keep none."""

import signal
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from resources.errors import Unavailable
from resources.imaging_database import ImagingDatabase, connecting
from resources.imaging_database.connecting import Connecting
from resources.settings import Settings
from resources.settings.sections import Database
from testing.listeners import Relay
from testing.postgresql import Server, running_server

pytestmark = pytest.mark.usefixtures("impatience")

KEPT = 3


@pytest.fixture
def relay(database_url: str) -> Generator[Relay, None, None]:
    relay = Relay(make_url(database_url).port or 0)
    yield relay
    relay.close()


@pytest.fixture
def kept(database_url: str, relay: Relay) -> Generator[ImagingDatabase, None, None]:
    """A database behind a relay, with connections that are kept."""
    database = ImagingDatabase(make_url(database_url).set(port=relay.port), Connecting(2, kept_connections=KEPT))
    yield database
    database.engine.dispose()


def ask(database: ImagingDatabase) -> int:
    with database.reading("view") as connection:
        return connection.execute(text("select count(*) from plates")).scalar_one()


def sessions(server: Server) -> int:
    ((count,),) = server.execute("select count(*) from pg_stat_activity where application_name like 'c4%'")
    return count


@pytest.fixture
def own_server(tmp_path: Path) -> Generator[Server, None, None]:
    with running_server(tmp_path / "server", "fsync=off") as server:
        yield server


def test_connections_are_shared_kept_and_never_more(own_server: Server) -> None:
    address = own_server.address("imaging")
    ImagingDatabase(address).upgrade()
    kept = ImagingDatabase(address, Connecting(10, kept_connections=KEPT))
    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, [kept] * 60)) == [0] * 60
    assert 1 <= sessions(own_server) <= KEPT
    kept.engine.dispose()
    step = ImagingDatabase(address, Connecting(10))
    ask(step)
    deadline = time.monotonic() + 5
    while sessions(own_server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sessions(own_server) == 0


def test_after_the_server_has_restarted_the_next_question_is_answered(own_server: Server) -> None:
    address = own_server.address("imaging")
    ImagingDatabase(address).upgrade()
    kept = ImagingDatabase(address, Connecting(2, kept_connections=KEPT))
    with ThreadPoolExecutor(KEPT) as threads:
        list(threads.map(ask, [kept] * KEPT))
    own_server.stop(signal.SIGQUIT)
    with pytest.raises(Unavailable, match="does not answer"):
        ask(kept)
    own_server.start()
    assert [ask(kept) for _ in range(2 * KEPT)] == [0] * 2 * KEPT
    kept.engine.dispose()


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_connections_that_were_cut_while_nobody_asked_are_replaced(kept: ImagingDatabase, relay: Relay) -> None:
    for _ in range(3):
        assert [ask(kept) for _ in range(KEPT)] == [0] * KEPT
        relay.cut()
    relay.down()
    with pytest.raises(Unavailable):
        ask(kept)
    relay.up()
    assert ask(kept) == 0


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_a_connection_that_fell_silent_is_given_up_and_replaced(kept: ImagingDatabase, relay: Relay) -> None:
    assert ask(kept) == 0
    relay.freeze()
    with pytest.raises(Unavailable):
        ask(kept)
    relay.cut()
    relay.up()
    assert ask(kept) == 0


@pytest.mark.parametrize("kind", ["postgresql"])
def test_who_waits_too_long_for_a_connection_is_told_so(kept: ImagingDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_S", 1)
    all_taken, ended = threading.Barrier(KEPT + 1), threading.Event()

    def hold() -> None:
        with kept.reading():
            all_taken.wait(10)
            ended.wait(10)

    with ThreadPoolExecutor(KEPT) as threads:
        for _ in range(KEPT):
            threads.submit(hold)
        all_taken.wait(10)
        with pytest.raises(Unavailable, match=f"All {KEPT} connections"):
            ask(kept)
        ended.set()
    assert ask(kept) == 0


def test_a_deployments_database_keeps_connections_only_where_it_is_told_to(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database=Database(url="postgresql+psycopg2://c4@127.0.0.1:9/imaging"))
    pools = [ImagingDatabase.of(settings, kept).engine.pool.__class__.__name__ for kept in (0, 4)]
    assert pools == ["NullPool", "QueuePool"]
