"""Ends a long command at once when it is interrupted, whatever its work waits for at that moment."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from types import FrameType
from typing import NoReturn, TypeVar

Result = TypeVar("Result")

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signalled(BaseException):
    """One of :data:`ENDING_SIGNALS` has come."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


def run_until_signalled(work: Callable[[], Result], ended: Callable[[signal.Signals], None]) -> Result:
    """Does some work and returns its result. When a signal comes, this process ends with status 128 + its number.

    The work is done in a thread, and signals are waited for here: in the main thread, Python would deliver one only
    after the call into a database, a model or Dagster that is going on. What is cut off must be able to go on later, as
    every write of C4 is.

    Args:
        ended: called when a signal has come, to tidy up. A second signal cuts this off, too.

    Raises:
        Exception: that of the work.
    """
    result = Future[Result]()

    def worked() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    try:
        with _signals_raised():
            Thread(target=worked, daemon=True).start()
            return result.result()
    except Signalled as signalled:
        _end(signalled.number, ended)


def _end(number: signal.Signals, ended: Callable[[signal.Signals], None]) -> NoReturn:
    """Ends the process. Threads and handlers at exit would be waited for, so that they are passed over."""
    status = 128 + number

    def end_now(_number: int, _frame: FrameType | None) -> None:
        os._exit(status)

    for each in ENDING_SIGNALS:
        signal.signal(each, end_now)
    try:
        ended(number)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # of a terminal that is gone
                stream.flush()
    finally:
        os._exit(status)


@contextmanager
def _signals_raised() -> Generator[None]:
    """Raises :class:`Signalled` in this thread. A signal that is ignored (``nohup``) stays so."""

    def came(number: int, _frame: FrameType | None) -> None:
        raise Signalled(number)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    replaced = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    try:
        for number in replaced:
            signal.signal(number, came)
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
