"""Errors that an operator can act on.

Each message says what happened, to which image, inspection or setting, and what to do about it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from resources.redaction import redacted

Service = Literal["database", "store", "slurm"]
"""What a deployment rests on and others run."""


class C4Error(Exception):
    """An error with a message for the operator. Trying again does not help until something is changed.

    The message may quote a driver, a library or a server: secrets are taken out of it when the error is made.
    """

    retryable = False

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(each) if isinstance(each, str) else each for each in args))


class ConfigurationError(C4Error):
    """A setting is missing or wrong."""


class Unavailable(C4Error):
    """Something outside (a database, a storage host, a registry) did not answer. Trying again later may help.

    Attributes:
        service: which of the services it was, where that is known.
    """

    retryable = True
    service: Service | None = None


@contextmanager
def outages_of(service: Service) -> Generator[None]:
    """Says of an :class:`Unavailable` that is raised inside, and does not say so yet, which service it is about."""
    try:
        yield
    except Unavailable as error:
        error.service = error.service or service
        raise


class DataError(C4Error):
    """A value in the database, or for it, cannot be used. Neither waiting nor a setting helps."""


class ImageError(C4Error):
    """One image cannot be scored. The message is kept with the image; the others are not affected."""
