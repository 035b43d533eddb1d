"""TCP ports of loopback that nobody uses, for servers of benchmarks and tests."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager


def free_port() -> int:
    """A port that the system gives."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of that many ports in a row."""
    for first in range(21000 + os.getpid() % 500 * 20, 32000, count):
        with _bound(range(first, first + count)) as free:
            if free:
                return first
    raise RuntimeError("no free ports")


@contextmanager
def _bound(ports: range) -> Generator[bool]:
    sockets = [socket.socket() for _ in ports]
    try:
        for one, port in zip(sockets, ports, strict=True):
            one.bind(("127.0.0.1", port))
        yield True
    except OSError:
        yield False
    finally:
        for one in sockets:
            one.close()
