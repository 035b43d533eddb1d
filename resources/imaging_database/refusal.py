"""The SQLSTATE with which a PostgreSQL server refuses a connection.

The server says in its own language why it lets nobody in, and libpq passes on the words without the code, unless it is
told to before it connects. psycopg2 can be stopped there only while it connects step by step.
"""

import ctypes
import re
import select
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg2.extensions import connection as PostgresConnection  # noqa: N812 (psycopg2 names it so)

SERVER_REFUSES = re.compile(r"failed: \w+:  ")
"""In libpq's message: the severity that a server's answer begins with, in any language."""

VERBOSE = 2
"""``PQERRORS_VERBOSE``: with the code, ``FATAL:  28P01: …``."""

_CODE = re.compile(r"^\w+:  ([0-9A-Z]{5}): ", re.MULTILINE)


def sqlstate_of_refusal(options: Mapping[str, Any], seconds: float) -> str | None:
    """Connects once more and returns the code of the refusal; ``None`` if there is none to be had.

    Args:
        options: what :func:`psycopg2.connect` is called with.
        seconds: longest wait.
    """
    import psycopg2

    plain = {name: value for name, value in options.items() if name != "connection_factory"}
    try:
        connection = psycopg2.connect(**plain, async_=1)
        try:
            _tell_codes(connection)
            _connect(connection, time.monotonic() + seconds)
        finally:
            connection.close()
    except psycopg2.Error as error:
        found = _CODE.search(str(error))
        return found and found[1]
    return None


def _tell_codes(connection: "PostgresConnection") -> None:
    libpq = ctypes.PyDLL(sys.modules["psycopg2._psycopg"].__file__)  # it is linked with the libpq that it uses
    libpq.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    libpq.PQsetErrorVerbosity(connection.pgconn_ptr, VERBOSE)


def _connect(connection: "PostgresConnection", until: float) -> None:
    """Connects step by step.

    Raises:
        psycopg2.Error: the server refuses.
    """
    from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

    while (state := connection.poll()) != POLL_OK and (left := until - time.monotonic()) > 0:
        socket = connection.fileno()
        select.select([socket] if state == POLL_READ else [], [socket] if state == POLL_WRITE else [], [], left)
