"""Errors that an operator can act on.

Each message says what happened, to which image, inspection or setting, and what to do about it.
"""


class C4Error(Exception):
    """An error with a message for the operator. Trying again does not help until something is changed."""

    retryable = False


class ConfigurationError(C4Error):
    """A setting is missing or wrong."""


class Unavailable(C4Error):
    """Something outside (a database, a storage host, a registry) did not answer. Trying again later may help."""

    retryable = True


class DataError(C4Error):
    """A value in the database, or for it, cannot be used. Neither waiting nor a setting helps."""


class ImageError(C4Error):
    """One image cannot be scored. The message is kept with the image; the others are not affected."""
