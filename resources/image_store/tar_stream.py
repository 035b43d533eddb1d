"""Many files over one ssh channel: a ``tar`` on the host, read while it arrives.

No path reaches the host's shell: the names are sent through the channel's input, each ended by a zero byte and begun by
``./``, so that tar takes none for an option.
"""

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR

from resources.image_store.base import TIMEOUTS_PER_FILE
from resources.ssh import ConnectionLost

CHANNEL_WINDOW_BYTES = 8 * 1024**2
"""Bytes that may be in flight unacknowledged. With asyncssh's default of 2 MiB, a round trip of 12 ms limits the speed
and not the machine; more than 8 MiB is not faster there."""

MAX_QUEUED_BYTES = 4 * 1024**2
"""Most bytes that wait to be read, the window not counted. When they are reached, the host has to wait."""

READ_CHUNK_BYTES = 64 * 1024
"""Most bytes per read."""

MAX_STDERR_LINE_BYTES = 4096
"""Most bytes of a line on stderr that are kept."""

FILE_CHANGED_MESSAGES = (b"file changed as we read it", b"File shrank by", b"Read error at byte")
"""What GNU tar prints (in the locale C) when a file in the archive may differ from the one on disk."""


class Silent(ConnectionLost):
    """A host that answered has fallen silent. It may be the line, the host, or one file that it cannot read."""


class TooSlow(Silent):
    """A host sends, but so slowly that a file does not come within the time that it may take."""


def tar_command(root: str) -> str:
    """The shell command that writes an archive of the files named on its standard input.

    ``--hard-dereference`` sends the bytes of a file for each of its names. ``--numeric-owner`` looks up no user names.
    """
    tar = "env -u TAR_OPTIONS LC_ALL=C tar --create --file=- --format=gnu --no-recursion --hard-dereference"
    return f"{tar} --numeric-owner --no-unquote --directory={shlex.quote(root)} --null --files-from=-"


class ArrivingTar(asyncssh.SSHClientSession[bytes]):
    """The bytes of an archive, passed from the thread of the connection to the one that reads.

    Args:
        names: of the files, relative to the root.
        patience: seconds without a byte after which the connection counts as lost. A file may take
            :data:`TIMEOUTS_PER_FILE` times as long.
        on_loop: schedules a call in the connection's thread.
    """

    def __init__(self, names: Sequence[str], patience: float, on_loop: Callable[[Callable[[], object]], None]) -> None:
        self._names = b"".join(encoded(name) + b"\0" for name in names)
        self._patience, self._on_loop = patience, on_loop
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._news = threading.Condition()
        self._queued = bytearray()
        self._waited = 0.0
        self._paused = self._ended = False
        self._lost: Exception | None = None
        self._partial_stderr_line = self._last_stderr_line = b""
        self._status: int | None = None
        self.begun = False
        """Whether tar runs, or has run."""
        self.greeting = b""
        """What came ahead of the archive."""
        self.changes = 0
        """Number of files of which tar has said that they changed."""

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._channel = chan

    def session_started(self) -> None:
        assert self._channel is not None  # noqa: S101 (was made before)
        self.begun = True
        cast("Any", self._channel).write(self._names)  # its type is lost on the way through asyncssh's base classes
        self._channel.write_eof()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == EXTENDED_DATA_STDERR:
            *lines, unfinished = (self._partial_stderr_line + data).split(b"\n")
            self._partial_stderr_line = unfinished[-MAX_STDERR_LINE_BYTES:]
            self._last_stderr_line = lines[-1] if lines else self._last_stderr_line
            self.changes += sum(any(said in line for said in FILE_CHANGED_MESSAGES) for line in lines)
            return
        assert self._channel is not None  # noqa: S101
        with self._news:
            self._queued += data
            if len(self._queued) >= MAX_QUEUED_BYTES and not self._paused:
                self._paused = True
                self._channel.pause_reading()
            self._news.notify()

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        with self._news:
            self._ended, self._lost = True, exc
            self._news.notify()

    def read(self) -> bytes:
        """Returns the next bytes, at most :data:`READ_CHUNK_BYTES`; none at the end.

        Raises:
            Silent: nothing arrived for ``patience`` seconds, or too little for the file that is awaited.
            ConnectionLost: the connection broke.
        """
        with self._news:
            started = time.monotonic()
            in_time = self._news.wait_for(lambda: self._queued or self._ended, self._patience)
            self._waited += time.monotonic() - started
            if not in_time:
                raise self._aborted(Silent(f"Nothing has come for {self._patience:g} s"))
            if self._waited > (allowed := TIMEOUTS_PER_FILE * self._patience):
                raise self._aborted(TooSlow(f"A file has not come within {allowed:g} s"))
            if not self._queued:
                if self._lost is not None:
                    raise ConnectionLost(f"The connection was lost ({self._lost})") from self._lost
                return b""
            data = bytes(self._queued[:READ_CHUNK_BYTES])
            del self._queued[:READ_CHUNK_BYTES]
            resume = self._paused and len(self._queued) < MAX_QUEUED_BYTES / 2
            self._paused = self._paused and not resume
        if resume and self._channel is not None:
            self._on_loop(self._channel.resume_reading)
        return data

    def file_has_come(self) -> None:
        """Begins to measure anew how long a file takes. Only waiting for the host counts."""
        self._waited = 0.0

    def _aborted(self, error: Silent) -> Silent:
        if self._channel is not None:
            self._on_loop(self._channel.get_connection().abort)
        return error

    def finish(self) -> None:
        """Waits until tar has ended and its messages are complete. Only the end of its last block is still to come."""
        left = MAX_QUEUED_BYTES
        while left > 0 and (data := self.read()):
            left -= len(data)

    def leave(self) -> None:
        """Stops tar, if it has not ended by itself."""
        if self._channel is not None:
            self._on_loop(self._channel.abort)

    @property
    def exit_message(self) -> str:
        """How tar ended: a part of messages."""
        said = self._last_stderr_line.decode(errors="replace").strip()
        return f"exit status {self._status}" + (f", «{said}»" if said else "")


def encoded(name: str) -> bytes:
    """A name as bytes, as the host has it."""
    return name.encode("utf-8", "surrogateescape")
