"""Sorts database errors by what helps: waiting, changing a setting, or looking at the data.

The codes are PostgreSQL's SQLSTATE classes (its manual, appendix A), Oracle's ORA and python-oracledb's DPY numbers,
and SQLite's result codes.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import StatementError

from resources.errors import C4Error, ConfigurationError, DataError, Unavailable


@dataclass(frozen=True)
class Fault:
    """A kind of failure: the exception, what happened, and what to do.

    ``happened`` follows «The imaging database …».
    """

    error: type[C4Error]
    happened: str
    remedy: str


_CARRIES_ON = "Nothing is half-written; the next run carries on."

UNREACHABLE = Fault(
    Unavailable,
    "does not answer",
    f"If it stays so, ask its administrator, and check C4_DATABASE_URL. {_CARRIES_ON}",
)
SILENT = Fault(
    Unavailable,
    "was silent for longer than C4_TIMEOUT_SECONDS",
    f"It hangs, is overloaded, or another session holds what C4 waits for. {_CARRIES_ON}",
)
FULL_UP = Fault(
    Unavailable,
    "has no connection left",
    "Ask its administrator for more, or lower the limits of Dagster's pools image_store and imaging_database. "
    f"{_CARRIES_ON}",
)
READ_ONLY = Fault(
    Unavailable,
    "is read-only",
    f"It is being maintained, or C4_DATABASE_URL leads to a standby. {_CARRIES_ON}",
)
NO_SPACE = Fault(
    Unavailable,
    "is out of space",
    f"Ask its administrator for room (disk, tablespace or quota). {_CARRIES_ON}",
)
NO_SPACE_HERE = Fault(
    Unavailable,
    "is out of space",
    "Make room in the folder of that file, or move it and set C4_DATABASE_URL (or C4_HOME, with all that lies beside "
    f"it). {_CARRIES_ON}",
)
DISK_FAILS = Fault(
    Unavailable,
    "cannot be read or written",
    "The file system of its file fails (`dmesg`, `df`), or one of the file and its -wal was moved or replaced while "
    "C4 had it open. If it stays so, restart the services, and put a backup back where the file is damaged "
    "(`c4 restore`).",
)
DAMAGED = Fault(
    ConfigurationError,
    "is damaged",
    "Stop the services, keep the file and its -wal, and put a backup back: `c4 restore FOLDER --only database`.",
)
REMOVED = Fault(
    Unavailable,
    "lost an image, a class or a scorer version that was being written about",
    f"It was removed by someone else in this moment. {_CARRIES_ON}",
)
OTHER = Fault(Unavailable, "did not do what was asked", _CARRIES_ON)
LOGIN = Fault(
    ConfigurationError,
    "refuses C4's login",
    "Check the user in C4_DATABASE_URL and C4_DATABASE_PASSWORD; the account may be locked or expired.",
)
NOT_THERE = Fault(
    ConfigurationError,
    "is not where C4_DATABASE_URL says",
    "Check its host, its service, its database's or its file's name.",
)
ENCRYPTION = Fault(
    ConfigurationError,
    "and C4 do not agree on encryption",
    "Check the folder that wallet_location in C4_DATABASE_URL names, its password, and the certificates in it.",
)
NOT_ALLOWED = Fault(
    ConfigurationError,
    "does not allow what C4 needs",
    "`c4 db check` prints the grant that is missing.",
)
LACKING = Fault(
    ConfigurationError,
    "lacks C4's tables or a column of them",
    "Create them with `c4 db upgrade` where the database is C4's own; elsewhere `c4 db check` prints what is missing.",
)
DATA = Fault(
    DataError,
    "does not take a value",
    "Nothing is half-written. Compare the columns with the contract: `c4 db check`.",
)

_POSTGRESQL: Mapping[str, Fault] = {
    "57014": SILENT,  # statement_timeout
    "55P03": SILENT,  # lock_timeout
    "25P03": SILENT,
    "53300": FULL_UP,
    "25006": READ_ONLY,
    "53100": NO_SPACE,
    "23503": REMOVED,
    "28": LOGIN,
    "3D": NOT_THERE,
    "42501": NOT_ALLOWED,
    "42P01": LACKING,
    "42703": LACKING,
    "3F": LACKING,
    "22": DATA,
    "23": DATA,
    "42804": DATA,
    "08": UNREACHABLE,
    "57P": UNREACHABLE,
}

# libpq passes on no code with which a server refuses a connection, only its message. In another language than English,
# connecting asks for the code (refusal.py).
_POSTGRESQL_WORDS: Mapping[str, Fault] = {
    "SSL SYSCALL|closed|terminat|starting up|shutting down": UNREACHABLE,
    "too many clients|connection slots|too many connections": FULL_UP,
    "no space left": NO_SPACE,
    "authentication failed|no password supplied|no pg_hba.conf entry|not permitted to log in": LOGIN,
    "role .* does not exist": LOGIN,
    "database .* does not exist|could not translate host name": NOT_THERE,
    "certificate|SSL": ENCRYPTION,
    "timeout expired|no answer in": SILENT,
}

_ORACLE_CODES: Mapping[Fault, str] = {
    SILENT: "DPY-4024 ORA-00054 ORA-03136 ORA-12170 ORA-12609 ORA-30006",
    FULL_UP: "ORA-00018 ORA-00020 ORA-02391 ORA-12516 ORA-12519 ORA-12520",
    READ_ONLY: "ORA-16000 ORA-01552 ORA-12082",
    NO_SPACE: "ORA-00257 ORA-01536 ORA-01631 ORA-01632 ORA-01650 ORA-01652 ORA-01653 ORA-01654 ORA-01658 ORA-01688 "
    "ORA-01691 ORA-19809 ORA-30036 ORA-65114",
    REMOVED: "ORA-02291",
    LOGIN: "ORA-01005 ORA-01017 ORA-01045 ORA-28000 ORA-28001 ORA-28009 DPY-3015 DPY-4001",
    NOT_THERE: "ORA-12154 ORA-12505 ORA-12514 ORA-12545 DPY-4000 DPY-4017 DPY-4018 DPY-4026 DPY-4027 DPY-6001 DPY-6003",
    ENCRYPTION: "ORA-28759 ORA-28860 ORA-29024 DPY-3001 DPY-6002 DPY-6006",
    NOT_ALLOWED: "ORA-01031 ORA-01720 ORA-01950 ORA-41900",
    LACKING: "ORA-00904 ORA-00942 ORA-02289 ORA-04043",
    DATA: "ORA-00001 ORA-00932 ORA-01400 ORA-01438 ORA-01461 ORA-01722 ORA-01843 ORA-02290 ORA-12899",
    UNREACHABLE: "ORA-00028 ORA-01033 ORA-01034 ORA-01089 ORA-01090 ORA-02396 ORA-03113 ORA-03114 ORA-12528 ORA-12537 "
    "ORA-12541 ORA-12547 DPY-1001 DPY-4011 DPY-6000 DPY-6005",
}
_ORACLE = {code: fault for fault, codes in _ORACLE_CODES.items() for code in codes.split()}

_SQLITE: Mapping[str, Fault] = {
    **dict.fromkeys(("SQLITE_BUSY", "SQLITE_LOCKED"), SILENT),
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_FULL": NO_SPACE_HERE,
    "SQLITE_IOERR": DISK_FAILS,
    "SQLITE_CORRUPT": DAMAGED,
    **dict.fromkeys(("SQLITE_CANTOPEN", "SQLITE_NOTADB"), NOT_THERE),
    "SQLITE_CONSTRAINT_FOREIGNKEY": REMOVED,
    **dict.fromkeys(("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG"), DATA),
}


def explained(error: StatementError | OSError | UnicodeError, address: str) -> C4Error:
    """The error for the operator: what happened at ``address`` (without a password), why, and what to do."""
    cause = _cause(error)
    fault = fault_of(error)
    return fault.error(f"The imaging database {address} {fault.happened} ({_first_line(cause)}). {fault.remedy}")


def fault_of(error: StatementError | OSError | UnicodeError) -> Fault:
    """The fault that an error belongs to."""
    return _fault(_cause(error))


def _cause(error: StatementError | OSError | UnicodeError) -> BaseException:
    return error.orig if isinstance(error, StatementError) and error.orig else error


def _first_line(cause: BaseException) -> str:
    lines = [line for line in str(cause).strip().splitlines() if not line.startswith("Help: ")]
    if len(lines) > 1 and lines[0].startswith("DPY-6005"):
        return lines[1]  # «cannot connect to database»; the next line says why
    return lines[0].rstrip(".") if lines else type(cause).__name__


def _fault(cause: BaseException) -> Fault:
    if (driver := type(cause).__module__.partition(".")[0]) in _SORTERS:
        return _SORTERS[driver](cause)
    if isinstance(cause, OSError):  # python-oracledb passes on the error of a host name that does not resolve
        return NOT_THERE
    return DATA if isinstance(cause, ValueError | TypeError | OverflowError) else OTHER


def is_in_known_words(message: str) -> bool:
    """Whether a message without a code, of a PostgreSQL server or its client, is one that is known."""
    return any(re.search(words, message) for words in _POSTGRESQL_WORDS)


def _of_postgresql(cause: Any) -> Fault:
    if code := cause.pgcode or getattr(cause, "sqlstate", None):
        return _longest_prefix(_POSTGRESQL, code)
    return _by_words(_POSTGRESQL_WORDS, str(cause))


def _of_oracle(cause: Any) -> Fault:
    # The driver reports both of these as connections that were closed.
    if _comes_from(cause, TimeoutError):
        return SILENT
    if _comes_from(cause, ssl.SSLError) and not _comes_from(cause, ssl.SSLEOFError):
        return ENCRYPTION
    # A failure to connect wraps the listener's answer: «DPY-6005: cannot connect … ORA-12514 …».
    codes: list[str] = re.findall(r"(?:ORA|DPY)-\d+", str(cause))
    known = [_ORACLE[code] for code in codes if code in _ORACLE]
    return next((fault for fault in known if fault is not UNREACHABLE), known[0] if known else OTHER)


def _comes_from(cause: BaseException | None, kind: type[BaseException]) -> bool:
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _of_sqlite(cause: Any) -> Fault:
    if re.match(r"no such (table|column)|table \w+ has no column", str(cause)):
        return LACKING
    return _longest_prefix(_SQLITE, getattr(cause, "sqlite_errorname", ""))


def _longest_prefix(faults: Mapping[str, Fault], code: str) -> Fault:
    return next((faults[code[:end]] for end in range(len(code), 1, -1) if code[:end] in faults), OTHER)


def _by_words(faults: Mapping[str, Fault], message: str) -> Fault:
    return next((fault for words, fault in faults.items() if re.search(words, message)), UNREACHABLE)


_SORTERS = {"psycopg2": _of_postgresql, "oracledb": _of_oracle, "sqlite3": _of_sqlite}
