"""Passwords: what is taken for one, and Argon2id (RFC 9106), which makes each guess dear.

A guess takes 64 MiB and about 0.2 s of a core. So two are computed at once in a process, however many log in.
"""

import unicodedata
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from resources.errors import ConfigurationError, Unavailable
from resources.extras import naming_extras

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 12, 256
"""Characters of a password."""

FEWEST_DIFFERENT = 6
"""Different characters of a password."""

TIME_COST, MEMORY_KIB, PARALLELISM = 3, 64 * 1024, 1

AT_ONCE = 2
LONGEST_WAIT_S = 10

_slots = BoundedSemaphore(AT_ONCE)


@contextmanager
def password_slot() -> Generator[None]:
    """Waits until fewer than :data:`AT_ONCE` others compute.

    Raises:
        Unavailable: they did not end in time.
    """
    if not _slots.acquire(timeout=LONGEST_WAIT_S):
        raise Unavailable("Too many people log in at the same time: try again in a moment.")
    try:
        yield
    finally:
        _slots.release()


def refuse_weak(password: str, name: str) -> None:
    """Refuses what is soon guessed. There is no list of common passwords: those of twelve characters are few, and most
    are a name or a few characters again and again.

    Raises:
        ConfigurationError: the password is too short or too long, repeats few characters, or contains the name.
    """
    text = _normal(password)
    if not MIN_PASSWORD_LENGTH <= len(text) <= MAX_PASSWORD_LENGTH:
        raise ConfigurationError(f"A password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters.")
    if len(set(text)) < FEWEST_DIFFERENT:
        raise ConfigurationError(f"A password has at least {FEWEST_DIFFERENT} different characters.")
    if name.casefold() in text.casefold():
        raise ConfigurationError("A password does not contain the name of its person.")


def hashed(password: str) -> str:
    """A password as it is stored. Call it in a :func:`password_slot`."""
    return _hasher().hash(_normal(password))


def is_right(password: str, stored: str | None) -> bool:
    """Whether it is the password that is stored. Where none is, finding out takes as long, and it never is.

    Call it in a :func:`password_slot`.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    hasher = _hasher()
    try:
        matches = hasher.verify(stored or _nobodys_hash(), _normal(password[: 4 * MAX_PASSWORD_LENGTH]))
    except (VerificationError, InvalidHashError):
        return False
    return matches and stored is not None


def is_outdated(stored: str) -> bool:
    """Whether a release with another cost has stored it."""
    return _hasher().check_needs_rehash(stored)


@cache
def _hasher() -> "PasswordHasher":
    with naming_extras():
        from argon2 import PasswordHasher

    return PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)


def _nobodys_hash() -> str:
    salt, digest = (b64encode(bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}${salt}${digest}"


def _normal(password: str) -> str:
    """One text for what keyboards and systems write in different ways (RFC 8265). Half a character is no text."""
    return unicodedata.normalize("NFC", password).encode(errors="replace").decode()
