"""The clock of a storage host that is reached by ssh."""

import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resources.errors import Unavailable
from resources.ssh import SshAccess, SshConnection
from resources.ssh_hosts import Asked

if TYPE_CHECKING:
    import asyncssh


def clock_of(url: str, access: SshAccess) -> float | None:
    """Seconds by which the clock of a store's host is ahead of this machine's, or None where it does not tell.

    An account may be allowed to use sftp alone; then nobody asks twice.

    Raises:
        ConfigurationError, ValueError: the address, the key or the login is wrong.
    """
    host = Asked.parsed(urlsplit(url).netloc)
    connection = SshConnection(host.host, host.user, host.port, access, "")

    async def ask(opened: "asyncssh.SSHClientConnection") -> str:
        done = await opened.run("date +%s", check=False)
        return str(done.stdout or "")

    with closing(connection):
        try:
            lines = connection.ask(ask, "date", access.timeout).wait().split()
        except Unavailable:
            return None
    here = time.time()
    return float(lines[-1]) + 0.5 - here if lines and lines[-1].isdigit() else None
