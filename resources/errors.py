"""Errors that an operator can act on.

Each message says what happened, to which image, inspection or setting, and what to do about it.
"""

from resources.redaction import redacted


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
    """Something outside (a database, a storage host, a registry) did not answer. Trying again later may help."""

    retryable = True


class DataError(C4Error):
    """A value in the database, or for it, cannot be used. Neither waiting nor a setting helps."""


class ImageError(C4Error):
    """One image cannot be scored. The message is kept with the image; the others are not affected."""
