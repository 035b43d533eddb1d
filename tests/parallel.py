"""How the tests share the machine: which of them run in one process of pytest-xdist, and what is left when they end."""

import os
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, cast

import pytest
from xdist.scheduler import LoadScopeScheduling

GROUPS: Mapping[str, str] = {
    "tests/slurm/": "Slurm",
    "tests/test_pages.py": "the demo",
    "tests/test_commands.py": "the demo",
    "tests/test_crashes.py": "crashes",
    "tests/test_database_faults.py": "databases that go away",
    "tests/test_database_connecting.py": "databases that go away",
    "tests/test_alerts_told.py": "databases that go away",
    "tests/test_imaging_database.py": "databases",
    "tests/test_contract.py": "databases",
    "tests/test_odd_rows.py": "databases",
    "tests/test_postgresql_lims.py": "databases",
    "tests/test_query_plans.py": "databases",
    "tests/test_ssh_store.py": "a storage host",
    "tests/test_ssh_hosts_away.py": "a storage host",
    "tests/test_store_refusals.py": "a storage host",
    "tests/test_faulty_hosts.py": "a storage host",
    "tests/test_access.py": "a webserver",
    "tests/doctor/": "the doctor",
}
"""By the beginning of a test's name: what it shares with others, such as a server. The longest group first."""

MARK = "STARTED_BY_TESTS"
"""Environment variable of every process that tests start: the process id of the tests."""


def group_of(nodeid: str) -> str:
    """The group of a test; one that shares nothing is a group of its own."""
    return next((group for start, group in GROUPS.items() if nodeid.startswith(start)), nodeid)


def pytest_configure() -> None:
    """Listens to Ctrl-C again where a shell has started the tests in the background.

    Where SIGINT is ignored, Dagster ignores SIGTERM as well, and what the tests start inherits both.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long groups first, so that no process is left alone with one at the end."""
    order = list(dict.fromkeys(GROUPS.values()))
    items.sort(key=lambda item: order.index(group) if (group := group_of(item.nodeid)) in order else len(order))


class Groups(LoadScopeScheduling):
    """Gives a whole group to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Where the tests run in several processes."""
    return Groups(config, log)


@pytest.fixture(scope="session", autouse=True)
def give_way() -> None:
    """Where several processes test, they leave the cores to what they start: a backfill's steps give way to all others,
    and would wait for ever beside tests that compute.

    Linux gives each session a niceness of its own (sched(7)): servers and steps with sessions of their own keep theirs.
    """
    of_session = Path("/proc/self/autogroup")
    if "PYTEST_XDIST_WORKER" in os.environ and of_session.exists():
        with suppress(OSError):  # it may be changed once in a tenth of a second
            of_session.write_text("19")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Generator[None]:
    """When all other fixtures are gone, so are all processes; those that are not are named and killed."""
    os.environ[MARK] = str(os.getpid())
    yield
    # Python's own helper of processes that are spawned lives as long as the process that spawned one.
    cast("Any", resource_tracker)._resource_tracker._stop()
    deadline = time.monotonic() + 10
    while (left := processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"left running by the tests: {sorted(left.values())}"


def processes() -> dict[int, str]:
    """The processes that these tests have started and that run: their command lines."""
    mine = f"{MARK}={os.getpid()}".encode()
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mine in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found
