"""Log files for programs: one JSON object a line, in one file a host that several processes write to.

Python's own ``RotatingFileHandler`` loses lines when several processes have one file: each rotates what another has
open. Here each line is one write to a file that is open for appending, who rotates holds a lock, and the others see by
the inode that they have to open the new file. A disk that is full or a folder that is not there costs lines, not runs.
"""

import fcntl
import logging
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from resources.file_lock import WITHOUT_LOCKS
from resources.log_context import ids_at_work
from resources.redaction import redacted, without_secrets

MAX_TEXT_CHARACTERS = 20_000
"""Characters of a message, or of a traceback, that are kept."""

LOOK_S = 1.0
"""Seconds between two looks at whether another process has rotated the file."""

PAUSE_S = 30.0
"""Seconds without a try after a line could not be written."""

ROOT = "c4"
"""The logger of all components: ``c4.fetch``, ``c4.classify`` …"""


class JsonLines(JsonFormatter):
    """A record as one JSON object on one line: time, level, component, message, what it is about, host and process.

    Texts are without secrets. What a call gives in ``extra`` is there by its name.
    """

    def __init__(self) -> None:
        super().__init__("%(message)s", json_ensure_ascii=False)  # pyright: ignore[reportUnknownMemberType]
        self._host = socket.gethostname()

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: LogData) -> None:
        extra: LogData = {}
        super().add_fields(extra, record, message_dict)
        for given in ("message", "taskName", "dagster_meta", "dagster_event", "dagster_event_batch_metadata"):
            extra.pop(given, None)
        log_data |= {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "component": record.name.removeprefix(f"{ROOT}."),
            "message": _shown(_message(record)),
            **ids_at_work(),
        }
        if job := os.environ.get("SLURM_JOB_ID"):
            log_data["slurm_job"] = job
        log_data |= {name: _shown(value) for name, value in extra.items() if value is not None}
        log_data |= {"host": self._host, "pid": record.process}


def _message(record: logging.LogRecord) -> str:
    # Dagster rewrites the messages of the loggers that it manages, for its own console.
    meta = cast("dict[str, Any] | None", getattr(record, "dagster_meta", None))
    return meta["orig_message"] if meta else record.getMessage()


def _shown(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = redacted(value if isinstance(value, str) else str(value))
    return text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[:MAX_TEXT_CHARACTERS]} … ({len(text)} characters)"


class SharedFile(logging.Handler):
    """Writes lines to a file of this host, and keeps so many files of so many bytes.

    Args:
        folder: made if the folder around it is there; where that is missing nothing is written.
        keep: files, the one that is written to included.
    """

    def __init__(self, folder: Path, size: int, keep: int, level: int = logging.DEBUG) -> None:
        super().__init__(level)
        self.file = folder / f"c4-{socket.gethostname()}.jsonl"
        self._size, self._keep = size, keep
        self._opened: int | None = None
        self._looked_at = self._not_before = 0.0
        self._lost, self._torn, self._told = 0, False, False
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line, or counts it as lost. Raises nothing: no work may fail for its log."""
        if time.monotonic() < self._not_before:
            self._lost += 1
            return
        try:
            if self._lost:
                self._write(self._line_of_the_lost(record))
                self._lost = 0
            self._write(self.format(record))
        except OSError as error:
            self._lost += 1
            if os.path.isdir(self.file.parent.parent):  # noqa: PTH112 - Path.is_dir raises where a file system is gone
                self._not_before = time.monotonic() + PAUSE_S
                self._tell(error)
            self._close()
        except Exception:  # what cannot be formatted: a wrong call of the log
            self._lost += 1

    def close(self) -> None:
        self._close()
        super().close()

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode(errors="backslashreplace")
        opened = self._current(len(data))
        written = os.write(opened, b"\n" + data if self._torn else data)
        self._torn = written < len(data)  # the disk is full: the next line shall not go on with this one

    def _current(self, more: int) -> int:
        """The open file, a new one if another process has rotated it, or if it would become too large."""
        now = time.monotonic()
        if self._opened is not None and now - self._looked_at >= LOOK_S and not self._is_the_file(self._opened):
            self._close()
        if self._opened is None:
            self._opened = self._open()
            self._looked_at = now
        there = os.fstat(self._opened).st_size
        if there and there + more > self._size and self._rotate(self._opened):
            self._close()
            self._opened = self._open()
        return self._opened

    def _open(self) -> int:
        with suppress(FileExistsError):
            self.file.parent.mkdir()
            _give_to_owner_of(
                self.file.parent.parent, opened := os.open(self.file.parent, os.O_DIRECTORY | os.O_NOFOLLOW)
            )
            os.close(opened)
        return _open_or_make(self.file, os.O_WRONLY | os.O_APPEND)

    def _is_the_file(self, opened: int) -> bool:
        self._looked_at = time.monotonic()
        try:
            return os.path.samestat(os.fstat(opened), self.file.stat())
        except FileNotFoundError:
            return False

    def _rotate(self, opened: int) -> bool:
        """Moves the files on by one, unless another process does; whether a new file is to be opened."""
        lock = _open_or_make(self.file.with_suffix(".lock"), os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError as error:  # the file is this host's alone, and its processes rarely meet
            if error.errno not in WITHOUT_LOCKS:
                os.close(lock)
                raise
        try:
            if self._is_the_file(opened):
                for number in range(self._keep - 1, 0, -1):
                    older = self._numbered(number - 1)
                    if older.exists():
                        older.replace(self._numbered(number))
                if self._keep == 1:
                    self.file.unlink(missing_ok=True)
            return True
        finally:
            os.close(lock)

    def _numbered(self, number: int) -> Path:
        return self.file.with_name(f"{self.file.name}.{number}") if number else self.file

    def _line_of_the_lost(self, record: logging.LogRecord) -> str:
        text = f"{self._lost} lines could not be written"
        lost = logging.LogRecord(f"{ROOT}.logs", logging.WARNING, "", 0, text, (), None)
        lost.created = record.created
        return self.format(lost)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            with suppress(OSError, ValueError):
                sys.stderr.write(f"C4 cannot write its log {self.file} ({error.strerror}); it works on without.\n")

    def _close(self) -> None:
        if self._opened is not None:
            with suppress(OSError):
                os.close(self._opened)
            self._opened = None


def _open_or_make(file: Path, flags: int) -> int:
    flags |= os.O_CLOEXEC
    try:
        return os.open(file, flags)
    except FileNotFoundError:
        try:
            made = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:  # another process has made it meanwhile
            return os.open(file, flags)
    _give_to_owner_of(file.parent, made)
    return made


def _give_to_owner_of(folder: Path, made: int) -> None:
    """Has what root makes belong to the account whose folder it is in, which is to write there after it.

    Args:
        made: an open file or folder that this process has made. A name could be made to lead elsewhere meanwhile.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        with suppress(OSError):  # a file server need not let root do so
            os.fchown(made, owner.st_uid, owner.st_gid)


class RedactingHandler(logging.Handler):
    """The first of all handlers: what it takes out of a record does not reach the others, such as the event log's."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # of a wrong call of the log: the others tell it
            said = record.getMessage()
            if (without := redacted(said)) != said:
                record.msg, record.args = without, ()
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, Exception) and (shown := without_secrets(error)) is not error:
            record.exc_info = (type(shown), shown, None)


class FinerLinesEndHere(logging.Handler):
    """Keeps lines that are finer than information from handlers that come after it on C4's logger.

    Dagster's takes each level, and its own events with it, so that it cannot be given another one; what it is asked for
    is decided by the record's level alone.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.INFO and not all(
            isinstance(each, C4_HANDLERS) for each in logging.getLogger(ROOT).handlers
        ):
            record.levelno = -1


class WarningsOnConsole(logging.Handler):
    """Prints warnings, readable, where nobody else shows what C4 logs: in the daemon's code server, say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        shown = (*logging.getLogger(ROOT).handlers, *logging.getLogger().handlers)
        if all(isinstance(each, C4_HANDLERS) for each in shown):
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{redacted(self.format(record))}\n")


C4_HANDLERS = (RedactingHandler, SharedFile, FinerLinesEndHere, WarningsOnConsole)

_lock = threading.Lock()


def write_logs(folder: Path, level: int, size: int, keep: int) -> None:
    """Has what C4 logs in this process written to the file of this host below a folder, and to no other one.

    Args:
        level: of :mod:`logging`; finer lines are dropped.
        size: bytes of a file at which the next one begins.
        keep: files, the one that is written to included.
    """
    logger = logging.getLogger(ROOT)
    with _lock:
        file = SharedFile(folder, size, keep, level)
        for each in [each for each in logger.handlers if isinstance(each, C4_HANDLERS)]:
            logger.removeHandler(each)
            each.close()
        # The first of all handlers: Dagster's rewrites the record.
        logger.handlers[:0] = [RedactingHandler(), file, FinerLinesEndHere(), WarningsOnConsole()]
        logger.setLevel(min(level, logging.INFO))


def file_written_to() -> SharedFile | None:
    """The file that this process writes to, if it writes any."""
    return next((each for each in logging.getLogger(ROOT).handlers if isinstance(each, SharedFile)), None)


def write_finer_lines_too() -> None:
    """Lets the file take what it took before Dagster set the level of C4's logger to that of its event log."""
    logger, file = logging.getLogger(ROOT), file_written_to()
    if file is not None and logger.level > file.level:
        logger.setLevel(file.level)
