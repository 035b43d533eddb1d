"""The command's output: one console, errors without tracebacks, progress bars with C4's own log above them."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from resources.errors import C4Error
from resources.extras import naming_extras
from resources.redaction import redacted, without_secrets

# Paths, plates and reasons come from outside: they are printed as they are and never taken for markup.
console = Console(markup=False, highlight=False)
errors = Console(stderr=True, markup=False, highlight=False)


@contextmanager
def reporting_errors() -> Generator[None, None, None]:
    """Prints an error that an operator can act on and ends the program with status 1.

    A file that cannot be read or written is one of them: it was named on the command line or in the settings.
    """
    try:
        with naming_extras():
            yield
    except C4Error as error:
        print_error("Error", str(error))
        raise SystemExit(1) from error
    except OSError as error:
        if error.filename is None or isinstance(error, ConnectionError):
            raise without_secrets(error) from None
        print_error("Error", f"{error.filename} cannot be read or written: {error.strerror}.")
        raise SystemExit(1) from error
    except Exception as error:  # Python prints where it arose
        raise without_secrets(error) from None


def print_error(what: str, reason: str) -> None:
    """Prints what went wrong on stderr, in one paragraph."""
    errors.print(Text.assemble((f"{what}: ", "bold red"), redacted(reason)), soft_wrap=True)


def progress() -> Progress:
    """A progress bar with a count and the time. It draws on stderr, so that stdout can go into a file or a pipe."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=errors
    )


class _Lines(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        component = (f"{record.name.removeprefix('c4.'):<8}", "cyan")
        self._progress.console.print(Text.assemble("  ", component, " ", (redacted(record.getMessage()), style)))


@contextmanager
def work_shown(progress: Progress) -> Generator[None, None, None]:
    """Prints what C4's functions log (staged, classified, failed) above a progress bar while the block runs."""
    logger = logging.getLogger("c4")
    handler, level, propagate = _Lines(progress), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)  # log files may take finer lines
    logger.propagate = False  # TensorFlow adds a handler to the root logger, which would print every line again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
