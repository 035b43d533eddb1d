"""How the tests share the machine: which of them run in one process of pytest-xdist, and what is left when they end."""

import os
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

GROUPS: Mapping[str, str] = {
    "tests/slurm/test_faults.py": "Slurm, whose daemons are killed",
    "cluster": "Slurm",
    "dagster": "the demo",
    "demo_home": "the demo",
    "scored_files": "the demo",
    "own_server": "a PostgreSQL that is killed",
    "history": "databases",
    "mirrored_server": "databases",
    "database_url": "databases",
    "postgresql_server": "databases",
    "ssh_host": "a storage host",
}
"""By file or fixture: what is slow to start and started once for all tests of the group. The longest group first."""

MARK = "STARTED_BY_TESTS"
"""Environment variable of every process that tests start: the process id of the tests."""


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test its group and puts long groups first, so that no process is left alone with one at the end."""
    for item in items:
        if group := group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
    order = list(dict.fromkeys(GROUPS.values()))
    items.sort(key=lambda item: order.index(group) if (group := group_of(item)) else len(order))


def group_of(item: pytest.Item) -> str | None:
    """The group of a test; None where it may run in any process."""
    names = {item.nodeid.partition("::")[0], *getattr(item, "fixturenames", ())}
    return next((group for name, group in GROUPS.items() if name in names), None)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Generator[None]:
    """When all other fixtures are gone, so are all processes; those that are not are named and killed."""
    os.environ[MARK] = str(os.getpid())
    yield
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
