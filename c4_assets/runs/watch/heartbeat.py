"""The dead man's switch: an address that is asked for while all is well, so that silence alarms.

It is the only thing that notices a dead host or daemon. The paths are those of Healthchecks (https://healthchecks.io),
which is told how long silence may last and can be hosted by oneself.
"""

import logging
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

log = logging.getLogger("c4.watch")

PING_EVERY = timedelta(minutes=5)

TIMEOUT_S = 5


def failing(address: str) -> str:
    """The address that says that something is wrong: ``…/fail``."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))


def beat(address: SecretStr, *, well: bool) -> bool:
    """Pings the address, or, where something is wrong, the one that says so. Returns whether it was taken.

    The address is a secret: whoever has it can answer in C4's place. So it is in no message.
    """
    plain = address.get_secret_value()
    request = urllib.request.Request(plain if well else failing(plain), headers={"User-Agent": "c4"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            answer.read(1024)
            return True
    except (OSError, ValueError, urllib.error.HTTPError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        log.warning("the ping to heartbeat_url was not taken: %s", str(reason).replace(plain, "its address"))
        return False


def is_due(last: str | None, was_well: bool, well: bool, now: datetime) -> bool:
    """Whether it is time: every five minutes, and at once when what is to be said has changed."""
    return last is None or was_well != well or now - datetime.fromisoformat(last) >= PING_EVERY
