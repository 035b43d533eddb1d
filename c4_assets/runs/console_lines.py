"""What Dagster's processes print: coloured on a terminal, and as plain lines in a file."""

import logging
import re
import sys

import coloredlogs

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Uncoloured(logging.Formatter):
    """Another formatter, without its colours."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return COLOUR.sub("", self._formatter.format(record))


def print_plain_lines_into_files() -> None:
    """Takes out the colours that Dagster gives its lines in files and pipes as well.

    A code server has its handlers already when it imports C4; the daemon makes them after this.
    """
    if sys.stdout.isatty():
        return
    for handler in logging.getLogger("dagster").handlers:
        if isinstance(handler.formatter, coloredlogs.ColoredFormatter):
            handler.setFormatter(_Uncoloured(handler.formatter))
    coloredlogs.ansi_wrap = _as_it_is


def _as_it_is(text: str, **_: object) -> str:
    return text
