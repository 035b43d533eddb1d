"""Dagster's daemon under systemd's watchdog, as ``dagster-daemon`` starts it: ``python -m`` this module ``run …``.

Dagster ends a daemon of which a thread has died, and goes on with one that hangs. So a thread beside it tells systemd
that the daemon lives, for as long as all of its parts give signs of life (sd_notify(3)). Where it says nothing,
systemd ends the process and starts another one, and the log shows where each thread was.
"""

import faulthandler
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from threading import Event, Thread

import dagster as dg

from c4_assets.runs.observed import daemon_silent

HUNG_AFTER = timedelta(minutes=30)
"""Silence of a part of the daemon after which it is not waited for. A busy one was seen to take minutes, of which
operators are told first (:data:`c4_assets.runs.ticking.SILENT_AFTER`)."""

SIGNS_UNTIL_MISSED = 3
"""Signs of life within the time after which systemd misses them."""


def main() -> None:
    """Becomes ``dagster-daemon``, and says that it is there and lives if systemd listens."""
    faulthandler.enable()  # systemd ends a process that hangs by SIGABRT
    listener = os.environ.pop("NOTIFY_SOCKET", "")
    missed_after_s = int(os.environ.pop("WATCHDOG_USEC", "0")) / 1e6
    if listener:
        notify(listener, "READY=1")
        if missed_after_s:
            watch = (listener, missed_after_s / SIGNS_UNTIL_MISSED, Event())
            Thread(target=notify_while_it_beats, args=watch, name="watchdog", daemon=True).start()
    [daemon] = entry_points(group="console_scripts", name="dagster-daemon")
    sys.exit(daemon.load()())


def notify_while_it_beats(listener: str, every_s: float, ended: Event) -> None:
    """Tells systemd again and again that the daemon of ``DAGSTER_HOME`` lives, but not while it hangs.

    A storage that answers with an error is no fault of the daemon's, which tries again by itself. One that does not
    answer at all may be a connection that is gone, which a restart mends.
    """
    instance: dg.DagsterInstance | None = None
    while not ended.wait(every_s):
        try:
            instance = instance or dg.DagsterInstance.get()
            lives = is_alive(instance, datetime.now(UTC))
        except Exception:  # its storages raise whatever their drivers do
            lives = True
        if lives:
            with suppress(OSError):  # systemd may be about to listen again
                notify(listener, "WATCHDOG=1")


def is_alive(instance: dg.DagsterInstance, now: datetime) -> bool:
    """Whether each part of the daemon that this instance needs has given a sign of life of late."""
    silent = daemon_silent(instance, now, list(instance.get_required_daemon_types()))
    return silent is not None and abs(silent) < HUNG_AFTER  # a clock may have been put back


def notify(listener: str, words: str) -> None:
    """Says something to systemd.

    Args:
        listener: the path of its socket, with ``@`` before one that has no file.

    Raises:
        OSError: nobody listens there.
    """
    address = f"\0{listener[1:]}" if listener.startswith("@") else listener
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall(words.encode())


if __name__ == "__main__":
    main()
