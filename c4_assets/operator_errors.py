"""Errors that an operator can act on, as Dagster shows them."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from resources.errors import C4Error

log = logging.getLogger("c4.step")


@contextmanager
def told_to_the_operator() -> Generator[None, None, None]:
    """Turns an error with a message for the operator into a step failure that shows the message.

    The step is retried where that can help: a database that is down comes back, a wrong setting does not.
    """
    try:
        yield
    except C4Error as error:
        log.warning("%s", error)
        raise dg.Failure(description=str(error), allow_retries=error.retryable) from error
