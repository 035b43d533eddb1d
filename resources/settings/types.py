"""Kinds of values that several sections have, and what all sections have in common."""

import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

HIDDEN = "********"


class Section(BaseModel):
    """A table of settings. It refuses keys that it does not know and values that are no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def as_in_the_file(value: Any) -> Any:
    """A list, which a variable holds as text: written as in the file.

    Raises:
        ValueError: it is not written so.
    """
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"list = {value}")["list"]
    except tomllib.TOMLDecodeError:
        raise ValueError('must be a list as in the file, like ["one", "two"]') from None


def _expanded(path: Path) -> Path:
    return path.expanduser().absolute()


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path, because compute nodes read it too")
    return path


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ValueError('must be a list of addresses or networks, like ["127.0.0.1", "10.1.0.0/16"]') from None
    return texts


Texts = Annotated[tuple[str, ...], BeforeValidator(as_in_the_file)]
Networks = Annotated[Texts, AfterValidator(_networks)]
LocalPath = Annotated[Path, AfterValidator(_expanded)]
SharedPath = Annotated[Path, AfterValidator(_absolute)]

# As SQLAlchemy reads an address: a password may hold a slash. Over ssh, digits before a slash are a port.
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:/]*):(?P<password>[^@]*)@")
_SSH_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:/@]*):(?!\d*/)(?P<password>[^@]*)@")
_SECRET_PARAMETER = re.compile(r"passw|passphrase|pwd|secret|token|credential|access_?key", re.IGNORECASE)


def without_secrets(address: str) -> str:
    """An address with stars in place of every password in it; the same address if it holds none."""
    password = _SSH_PASSWORD if address.startswith(("ssh://", "sftp://")) else _PASSWORD
    address = password.sub(rf"\g<user>:{HIDDEN}@", address)
    before, mark, query = address.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if not any(_SECRET_PARAMETER.search(name) for name, _ in pairs):
        return address
    hidden = [(name, HIDDEN if _SECRET_PARAMETER.search(name) else value) for name, value in pairs]
    return f"{before}{mark}{urlencode(hidden, safe='*/:')}"
