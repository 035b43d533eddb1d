"""The hosts on the way to one that is reached by ssh, as ``~/.ssh/config`` has them: aliases and jump hosts."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from resources.errors import ConfigurationError

MOST_JUMPS = 8
"""More hosts on a way are a circle in ``~/.ssh/config``."""


@dataclass(frozen=True)
class Asked:
    """A host as an operator names it. What is ``None`` is looked up in ``~/.ssh/config``."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @classmethod
    def parsed(cls, text: str) -> "Asked":
        """Reads ``[user@]host[:port]``; an IPv6 address stands in brackets. Upper case is kept: an alias may have it.

        Raises:
            ValueError: this is no host, or no port.
        """
        parts = urlsplit(f"//{text.removeprefix('ssh://')}")
        host = parts.netloc.rpartition("@")[2]
        host = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        if not host:
            raise ValueError("it names no host")
        return cls(host, unquote(parts.username) if parts.username else None, parts.port)


@dataclass(frozen=True)
class Hop:
    """One host on the way: what was asked for, and what ``~/.ssh/config`` says of it."""

    asked: Asked
    address: str
    port: int
    jumps: str
    """Further hosts to go through, as in ProxyJump; empty if there are none."""
    known_hosts: tuple[Path, ...]
    """The files that ``~/.ssh/config`` names, else ``~/.ssh/known_hosts``."""
    known_as: str
    """The name in the files, where it is another one than the address."""
    has_own_key: bool
    behind: str = ""
    """The host that it is reached through."""


def way_to(asked: Asked, jumps: int = 0) -> list[Hop]:
    """The hosts to log in to one after the other: jump hosts, and then the one that is asked for. Reads files.

    Raises:
        ConfigurationError: ``~/.ssh/config`` cannot be used.
    """
    if jumps > MOST_JUMPS:
        raise ConfigurationError(
            f"~/.ssh/config leads to {asked.name} through more than {MOST_JUMPS} jump hosts: does one of them name "
            "itself in ProxyJump (as under «Host *»)?"
        )
    hop = _looked_up(asked)
    try:
        through = [Asked.parsed(each.strip()) for each in hop.jumps.split(",")] if hop.jumps else []
    except ValueError as error:
        raise ConfigurationError(f"ProxyJump of {asked.name} in ~/.ssh/config cannot be used: {error}.") from error
    first = way_to(through[0], jumps + len(through)) if through else []
    way = [*first, *map(_looked_up, through[1:]), hop]
    return [way[0], *(replace(later, behind=before.asked.name) for before, later in pairwise(way))]


def _looked_up(asked: Asked) -> Hop:
    import asyncssh

    try:
        said = asyncssh.SSHClientConnectionOptions(
            host=asked.host, port=asked.port or (), username=asked.user or (), client_keys=None, config=()
        )
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"~/.ssh/config cannot be used for {asked.name}: {error}.") from error
    # «none» must not switch the check of host keys off.
    files = cast("list[str] | None", cast("Any", said).known_hosts)
    return Hop(
        asked,
        said.host,
        said.port,
        said.tunnel if isinstance(said.tunnel, str) else "",
        tuple(Path(file).expanduser() for file in files or ("~/.ssh/known_hosts",)),
        said.host_key_alias or "",
        bool(said.config.get("IdentityFile")),
    )
