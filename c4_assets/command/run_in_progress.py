"""The run that a command works on, which a signal that ends the command marks as cancelled."""

import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from c4_assets.command.console import print_error

if TYPE_CHECKING:
    import dagster as dg
    from rich.progress import Progress


class RunInProgress:
    """Knows which run this process works on, if any, and the bar that shows it."""

    def __init__(self) -> None:
        self._run: tuple[dg.DagsterInstance, str] | None = None
        self.bar: Progress | None = None

    @contextmanager
    def being(self, instance: "dg.DagsterInstance", run_id: str) -> Generator[None]:
        """The run in progress is this one while the block runs."""
        self._run = instance, run_id
        try:
            yield
        finally:
            self._run = None

    def cancel(self, number: signal.Signals) -> None:
        """Marks the run as cancelled, because a signal ends this process."""
        if self.bar:
            self.bar.stop()  # it has hidden the cursor
        how = "Ctrl-C" if number is signal.SIGINT else number.name
        with suppress(OSError):  # of a terminal that is gone
            print_error("Interrupted", f"{how}: what is scored stays, and the next `c4 run` goes on from there.")
        if self._run:
            from c4_assets.runs.lost_runs import mark_cancelled

            mark_cancelled(*self._run, f"`c4 run` was ended by {how}. What it had finished stays.")
