"""The dead man's switch: an address that is asked for while all is well, so that silence alarms.

It is the only thing that notices a dead host or daemon. The paths are those of Healthchecks (https://healthchecks.io),
which is told how long silence may last and can be hosted by oneself.
"""

import logging
import urllib.request
from datetime import datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from c4_assets.operations.channels.sending import reason_of, within
from c4_assets.runs.watch.intervals import is_time

log = logging.getLogger("c4.watch")

PING_EVERY = timedelta(minutes=5)

TIMEOUT_S = 5
"""Longest time for a ping in all, in seconds: a tick of the watch may take 60."""


def failing(address: str) -> str:
    """The address that says that something is wrong: ``…/fail``."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))


def beat(address: SecretStr, *, well: bool) -> bool:
    """Pings the address, or, where something is wrong, the one that says so. Returns whether it was taken.

    Whatever goes wrong with it is a warning in the log: it must not end the look. The address is a secret, since
    whoever has it can answer in C4's place, and errors of Python's client may hold its path. So their texts are told
    nowhere.
    """
    try:
        within(TIMEOUT_S, lambda: _ask(address.get_secret_value(), well))
    except Exception as error:
        log.warning("the ping to heartbeat_url was not taken: %s", reason_of(error))
        return False
    return True


def _ask(address: str, well: bool) -> None:
    request = urllib.request.Request(address if well else failing(address), headers={"User-Agent": "c4"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        answer.read(1024)


def is_due(last: str | None, was_well: bool, well: bool, now: datetime) -> bool:
    """Whether it is time: every five minutes, and at once when what is to be said has changed."""
    return last is None or was_well != well or is_time(PING_EVERY, last, now)
