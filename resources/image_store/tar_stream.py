"""Many files over one ssh channel: a ``tar`` on the host, read while it arrives.

No path reaches the host's shell: the names are sent through the channel's input, each ended by a zero byte and begun by
``./``, so that tar takes none for an option.
"""

import shlex
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, cast

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR

from resources.errors import C4Error
from resources.image_store.base import MAX_IMAGE_BYTES
from resources.ssh import ConnectionLost

CHANNEL_WINDOW_BYTES = 8 * 1024**2
"""Bytes that may be in flight unacknowledged. With asyncssh's default of 2 MiB, a round trip of 12 ms limits the speed
and not the machine; more than 8 MiB is not faster there."""

MAX_QUEUED_BYTES = 4 * 1024**2
"""Most bytes that wait to be read, the window not counted. When they are reached, the host has to wait."""

READ_CHUNK_BYTES = 32 * 1024
"""Bytes per read: as many as an ssh packet holds."""

MAX_STDERR_LINE_BYTES = 4096
"""Most bytes of a line on stderr that are kept."""

FILE_CHANGED_MESSAGES = (b"file changed as we read it", b"File shrank by", b"Read error at byte")
"""What GNU tar prints (in the locale C) when a file in the archive may differ from the one on disk."""


class NoTar(C4Error):
    """The host runs no usable tar for this account. Raised before any data has arrived."""


@dataclass(frozen=True)
class Entry:
    """A file, folder, link or anything else of an archive.

    Attributes:
        at: its index among the names that were requested.
        is_link: whether it is a symbolic link.
        size: in bytes; ``None`` for anything but a file.
        data: the content of a file; ``None`` if it is too large. Stop reading the archive then, or all of it is sent.
        sound: ``False`` if the bytes may not be those of the file. tar pads a file that shrinks while it is read with
            zeros, so every file that ends in a zero has to be checked.
    """

    at: int
    is_link: bool = False
    size: int | None = None
    data: bytes | None = None
    sound: bool = True

    @property
    def is_too_large(self) -> bool:
        """Whether the entry is a file larger than :data:`MAX_IMAGE_BYTES`."""
        return self.size is not None and self.data is None


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
        patience: seconds without a byte after which the connection counts as lost.
        on_loop: schedules a call in the connection's thread.
    """

    def __init__(self, names: Sequence[str], patience: float, on_loop: Callable[[Callable[[], object]], None]) -> None:
        self._names = b"".join(encoded(name) + b"\0" for name in names)
        self._patience, self._on_loop = patience, on_loop
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._news = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._queued = 0
        self._paused = self._ended = False
        self._lost: Exception | None = None
        self._partial_stderr_line = self._last_stderr_line = b""
        self._status: int | None = None
        self.begun = False
        """Whether tar runs, or has run."""
        self.changes = 0
        """Number of files of which tar has said that they changed."""

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._channel = chan

    def session_started(self) -> None:
        assert self._channel is not None  # noqa: S101 (was made before)
        self.begun = True
        self._channel.write(self._names)
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
            self._chunks.append(data)
            self._queued += len(data)
            if self._queued >= MAX_QUEUED_BYTES and not self._paused:
                self._paused = True
                self._channel.pause_reading()
            self._news.notify()

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        with self._news:
            self._ended, self._lost = True, exc
            self._news.notify()

    def read(self, _size: int = -1) -> bytes:
        """Returns the next bytes, as many as have arrived together; none at the end.

        Raises:
            ConnectionLost: the connection broke, or nothing arrived for ``patience`` seconds.
        """
        with self._news:
            if not self._news.wait_for(lambda: self._chunks or self._ended, self._patience):
                if self._channel is not None:
                    self._on_loop(self._channel.get_connection().abort)
                raise ConnectionLost(f"Nothing has come for {self._patience:g} s")
            if not self._chunks:
                if self._lost is not None:
                    raise ConnectionLost(f"The connection was lost ({self._lost})") from self._lost
                return b""
            data = self._chunks.popleft()
            self._queued -= len(data)
            resume = self._paused and self._queued < MAX_QUEUED_BYTES / 2
            self._paused = self._paused and not resume
        if resume and self._channel is not None:
            self._on_loop(self._channel.resume_reading)
        return data

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


def entries(tar: ArrivingTar, names: Sequence[str]) -> Iterator[Entry]:
    """Yields the entries that arrive, in the order of the names, without those that tar could not read.

    An entry is yielded when the next one begins, because tar has then reported whether its file changed.

    Raises:
        NoTar: the very first bytes are no archive.
        ConnectionLost: the connection broke. Every entry that is certainly complete has been yielded.
    """
    at, held, changes = -1, None, 0
    try:
        with _opened(tar) as archive:
            for member in archive:
                if held:
                    yield replace(held, sound=held.sound and tar.changes == changes)
                    held = None
                at, changes = names.index(member.name, at + 1), tar.changes
                entry = _entry(archive, member, at)
                if entry.data is None:
                    yield entry
                else:
                    held = entry
        tar.finish()
    except (tarfile.TarError, ValueError) as error:
        if at < 0:
            tar.finish()
            raise NoTar(tar.exit_message) from error
    except ConnectionLost:
        if held and held.sound:
            yield held
        raise
    if held:
        yield replace(held, sound=held.sound and tar.changes == changes)


def _opened(tar: ArrivingTar) -> tarfile.TarFile:
    file = cast("IO[bytes]", tar)  # the stream mode only reads
    return tarfile.open(fileobj=file, mode="r|", bufsize=READ_CHUNK_BYTES, encoding="utf-8", errors="surrogateescape")


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, at: int) -> Entry:
    opened = archive.extractfile(member) if member.isreg() else None
    if opened is None:
        return Entry(at, is_link=member.issym() or member.islnk())
    if member.size > MAX_IMAGE_BYTES:
        return Entry(at, size=member.size)
    data = opened.read(member.size)
    return Entry(at, size=member.size, data=data, sound=not data.endswith(b"\0"))


def encoded(name: str) -> bytes:
    """A name as bytes, as the host has it."""
    return name.encode("utf-8", "surrogateescape")
