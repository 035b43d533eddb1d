"""Every way in which the imaging database goes away: the words that the operator reads, and that nothing is lost.

The listeners are scripted and the relay breaks on command; the servers that are killed, stopped and filled are real.
"""

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType
from sqlalchemy import event, make_url, text

from c4_assets.command.run import failure_reason
from resources.errors import C4Error, Unavailable
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from resources.imaging_database.work import failures
from resources.imaging_database.write_back import FailedAttempt, Written, write_back
from testing.dagster_types import ephemeral_instance
from testing.listeners import Relay
from testing.postgresql import Server, running_server
from tests.conftest import Facility, photograph, unavailable
from tests.test_imaging_database import NOW, score, version

FILES = {**{f"{n}.jpg": photograph(n) for n in range(3)}, "missing.jpg": None}

pytestmark = pytest.mark.usefixtures("impatience")


@pytest.fixture
def relay(database_url: str) -> Generator[Relay, None, None]:
    """Stands before the database."""
    relay = Relay(make_url(database_url).port or 0)
    yield relay
    relay.close()


@pytest.fixture
def relayed(make_facility: Callable[..., Facility], database_url: str, relay: Relay) -> Facility:
    """A facility with four images, whose database is reached through the relay."""
    through = make_url(database_url).set(port=relay.port).render_as_string(hide_password=False)
    facility = make_facility(database={"url": through}, timeout_seconds=2)
    facility.add_plate("P1", FILES)
    return facility


def write(facility: Facility) -> Written:
    return write_back(facility.database, version(facility), [score(1), score(2)], [FailedAttempt(4, "gone", NOW)], "r")


def calling(do: Callable[[], None]) -> Callable[..., None]:
    def listener(*_: object) -> None:
        do()

    return listener


def at_each_point(facility: Facility, reached: Callable[[], None]) -> None:
    """Calls ``reached`` before every statement and commit."""
    event.listen(facility.database.engine, "before_cursor_execute", calling(reached))
    event.listen(facility.database.engine, "commit", calling(reached))


def rows(facility: Facility) -> tuple[int, int]:
    return len(facility.rows("select * from scores")), len(facility.rows("select * from c4_image_failures"))


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_a_connection_lost_at_any_statement_of_the_write_back_leaves_nothing_written(
    relayed: Facility, relay: Relay
) -> None:
    breaking_at, reached = 0, 0

    def cut() -> None:
        nonlocal reached
        reached += 1
        if reached == breaking_at:
            relay.cut()

    at_each_point(relayed, cut)
    written, points = None, 0
    while written is None:
        points += 1
        breaking_at, reached = points, 0
        try:
            written = write(relayed)
        except Unavailable as error:
            assert "does not answer" in str(error)
        breaking_at = 0
        assert rows(relayed) == ((0, 0) if written is None else (2, 1))
    assert points > 8, "reading, inserting, counting and the commit are all points of this test"
    assert written == Written(scores=2, already_scored=0, failures=1, no_longer_listed=0)


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_a_commit_whose_answer_is_lost_is_repeated_without_doubling_anything(relayed: Facility, relay: Relay) -> None:
    relayed.models.read()
    event.listen(relayed.database.engine, "commit", calling(relay.lose_the_next_answer))
    with pytest.raises(Unavailable):
        write(relayed)
    relay.up()
    assert rows(relayed) == (2, 1)
    relayed.database.engine.dispose()
    own = ImagingDatabase.of(relayed.settings)
    again = write_back(own, version(relayed), [score(1), score(2)], [FailedAttempt(4, "gone", NOW)], "r")
    own.engine.dispose()
    assert again == Written(scores=0, already_scored=2, failures=1, no_longer_listed=0)
    assert [failure.attempts for failure in failures(relayed.database, relayed.scorer_version)] == [1]


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_a_database_that_falls_silent_in_the_middle_of_a_statement_is_given_up(relayed: Facility, relay: Relay) -> None:
    statements = count(1)
    at_each_point(relayed, lambda: relay.freeze() if next(statements) == 5 else None)
    with pytest.raises(Unavailable, match="was silent for longer than C4_TIMEOUT_SECONDS"):
        write(relayed)
    relay.up()
    assert write(relayed).scores == 2


@pytest.mark.parametrize("kind", ["postgresql", "oracle-protocol"])
def test_a_database_that_falls_silent_at_a_statement_of_many_rows_is_given_up(relayed: Facility, relay: Relay) -> None:
    frozen: list[str] = []

    def freeze(_connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, many: bool) -> None:
        if many and not frozen:
            frozen.append(statement)
            relay.freeze()

    before = NOW - timedelta(hours=1)
    earlier = [FailedAttempt(3, "gone", before), FailedAttempt(4, "gone", before)]
    write_back(relayed.database, version(relayed), [], earlier, "r")
    event.listen(relayed.database.engine, "before_cursor_execute", freeze)
    attempts = [FailedAttempt(3, "gone", NOW), FailedAttempt(4, "gone", NOW)]
    began = time.monotonic()
    with pytest.raises(Unavailable, match="was silent for longer than C4_TIMEOUT_SECONDS"):
        write_back(relayed.database, version(relayed), [score(1), score(2)], attempts, "r")
    assert len(frozen) == 1
    assert time.monotonic() - began < 10
    relay.up()
    assert write_back(relayed.database, version(relayed), [score(1), score(2)], attempts, "r").failures == 2
    assert [failure.attempts for failure in failures(relayed.database, relayed.scorer_version)] == [2, 2]


def heard(facility: Facility, listener: Callable[[DagsterEventType, str], None]) -> None:
    """Tells ``listener`` of each event of the runs to come: its kind and its step."""
    instance: Any = facility.instance
    handle = instance.handle_new_event

    def hear(entry: dg.EventLogEntry, **named: Any) -> None:
        handle(entry, **named)
        if (happened := entry.dagster_event) and happened.step_key:
            listener(happened.event_type, happened.step_key)

    instance.handle_new_event = hear


def assert_complete(facility: Facility) -> None:
    """Three images scored once, the missing one on record."""
    assert [row.image_id for row in facility.rows("select image_id from scores order by image_id")] == [1, 2, 3]
    assert [failure.image.image_id for failure in failures(facility.database, facility.scorer_version)] == [4]
    assert len(facility.seen) == 3, "nothing is classified twice"


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    """A server that the tests of this file may kill."""
    with running_server(tmp_path_factory.mktemp("own") / "server") as server:
        yield server


@pytest.fixture
def breakable(make_facility: Callable[..., Facility], own_server: Server) -> Facility:
    """A facility with four images on a server that may be killed."""
    address = own_server.address(f"imaging-{uuid.uuid4().hex}")
    facility = make_facility(database={"url": address}, timeout_seconds=1)
    facility.add_plate("P1", FILES)
    return facility


STAGES = ["raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_server_killed_when_a_stage_begins_and_restarted_later_costs_a_retry(
    breakable: Facility, own_server: Server, stage: str
) -> None:
    def kill_and_restart(what: DagsterEventType, step: str) -> None:
        if what == DagsterEventType.STEP_START and step == stage:
            own_server.stop(signal.SIGQUIT)
        if what == DagsterEventType.STEP_UP_FOR_RETRY:
            own_server.start()

    heard(breakable, kill_and_restart)
    result = breakable.score()
    retried = [e.step_key for e in result.all_events if e.event_type == DagsterEventType.STEP_UP_FOR_RETRY]
    assert retried == [stage if stage == STAGES[0] else STAGES[-1]], "the other stages do not need the database"
    assert_complete(breakable)


def test_a_server_that_stays_away_fails_the_run_with_the_reason_and_the_next_run_completes(
    breakable: Facility, own_server: Server
) -> None:
    def kill(what: DagsterEventType, step: str) -> None:
        if what == DagsterEventType.STEP_START and step == "db_scores":
            own_server.stop(signal.SIGQUIT)

    heard(breakable, kill)
    result = breakable.score(raise_on_error=False)
    assert not result.success
    assert "does not answer" in failure_reason(result)
    own_server.start()
    breakable.instance = ephemeral_instance()
    breakable.score()
    assert_complete(breakable)


@pytest.mark.parametrize("stage", [STAGES[0], STAGES[-1]])
def test_a_server_that_hangs_is_given_up_and_the_run_completes_when_it_wakes(
    breakable: Facility, own_server: Server, stage: str
) -> None:
    """Stopped processes: the kernel still takes connections and acknowledges what is sent, and nobody answers."""
    stopped: list[int] = []

    def hang_and_wake(what: DagsterEventType, step: str) -> None:
        if what == DagsterEventType.STEP_START and step == stage:
            stopped.extend(own_server.processes())
            for process in stopped:
                os.kill(process, signal.SIGSTOP)
        if what == DagsterEventType.STEP_UP_FOR_RETRY:
            for process in stopped:
                os.kill(process, signal.SIGCONT)

    heard(breakable, hang_and_wake)
    result = breakable.score()
    (retry,) = (e for e in result.all_events if e.event_type == DagsterEventType.STEP_UP_FOR_RETRY)
    assert "was silent for longer than C4_TIMEOUT_SECONDS" in str(retry.step_retry_data.error)
    assert_complete(breakable)


@contextmanager
def no_connection_left(server: Server, name: str) -> Generator[None, None, None]:
    server.execute(f'alter database "{name}" connection limit 0')
    yield
    server.execute(f'alter database "{name}" connection limit -1')


@contextmanager
def read_only(server: Server, name: str) -> Generator[None, None, None]:
    server.execute(f'alter database "{name}" set default_transaction_read_only = on')
    yield
    server.execute(f'alter database "{name}" reset default_transaction_read_only')


@contextmanager
def out_of_space(server: Server, name: str) -> Generator[None, None, None]:
    """The table of scores on a file system that is full."""
    folder = Path("/var/tmp", f"c4-tests-{uuid.uuid4().hex}")
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
        if mounted.returncode:
            unavailable("a small file system cannot be mounted: run the tests as root")
        shutil.chown(folder, "postgres", "postgres")
        server.execute(f"create tablespace small location '{folder}'")
        server.execute("alter table scores set tablespace small", name)
        with (folder / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while True:
                filler.write(b"\0" * 4096)
        yield
    finally:
        (folder / "filler").unlink(missing_ok=True)
        server.execute("alter table scores set tablespace pg_default", name)
        # The server keeps the old file until its next checkpoint: the folder goes when nobody uses it any more.
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (no_connection_left, "has no connection left"),
        (read_only, "is read-only"),
        (out_of_space, "is out of space"),
    ],
)
def test_a_database_that_cannot_write_now_says_what_to_ask_for_and_the_next_run_completes(
    make_facility: Callable[..., Facility], own_server: Server, trouble: Callable[..., Any], words: str
) -> None:
    name = f"imaging-{uuid.uuid4().hex}"
    url = make_url(own_server.address(name))
    make_facility(database={"url": url.render_as_string(hide_password=False)})
    usual = f"usual-{name}"  # a superuser gets in anyway
    own_server.execute(f"create role \"{usual}\" login password 'hush'")
    for rights in ("all on all tables", "all on all sequences"):
        own_server.execute(f'grant {rights} in schema public to "{usual}"', name)
    own_server.execute(f'grant all on schema public to "{usual}"', name)
    address = url.set(username=usual, password="hush").render_as_string(hide_password=False)
    facility = make_facility(database={"url": address})
    facility.add_plate("P1", FILES)
    with trouble(own_server, name), pytest.raises(Unavailable, match=words) as error:
        write(facility)
    assert "hush" not in str(error.value)
    facility.score()
    assert_complete(facility)
    facility.database.engine.dispose()


@pytest.mark.parametrize("kind", ["oracle-protocol"])
@pytest.mark.parametrize(
    ("code", "words"),
    [(1653, "is out of space"), (16000, "is read-only"), (20, "has no connection left"), (3113, "does not answer")],
)
def test_what_oracle_refuses_the_insert_with_is_told_and_the_next_run_completes(
    make_facility: Callable[..., Facility], database_url: str, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seerdb.server.backend import BackendError

    from testing import oracle

    facility = make_facility(database={"url": database_url})
    facility.add_plate("P1", FILES)

    def refuse(sql: str) -> None:
        if re.match(r"INSERT INTO scores\b", sql):
            raise BackendError("said by the test", ora_code=code)

    with monkeypatch.context() as context:
        context.setattr(oracle, "refuse_what_oracle_refuses", refuse)
        with pytest.raises(Unavailable, match=words):
            write(facility)
    facility.score()
    assert_complete(facility)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT barcode FROM plates LIMIT 3", 933),
        ("SELECT barcode FROM plates FETCH FIRST 3 ROWS ONLY FOR UPDATE", 2014),
        (f"SELECT barcode FROM plates WHERE id IN ({', '.join(map(str, range(1001)))})", 1795),
        ("CREATE TABLE mine (id NUMBER(19), level NUMBER(3))", 904),
        (f"SELECT id {'a' * 129} FROM plates", 972),
        ("INSERT INTO plates (barcode) VALUES ('x') ON CONFLICT DO NOTHING", 933),
    ],
)
@pytest.mark.parametrize("kind", ["oracle-protocol"])
def test_the_stand_in_for_oracle_refuses_what_oracle_refuses(database_url: str, statement: str, code: int) -> None:
    database = ImagingDatabase(database_url, Connecting(30))
    with pytest.raises(C4Error, match=f"ORA-{code:05d}"), database.reading() as connection:
        connection.execute(text(statement))
    database.engine.dispose()
