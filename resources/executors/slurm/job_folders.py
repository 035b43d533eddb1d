"""What jobs leave on the cluster's shared file system: scripts, output and exit codes, in one folder per run."""

import re
from collections.abc import Sequence
from types import TracebackType

from resources.errors import ConfigurationError
from resources.executors.slurm.site import Site

FILE_COMMAND_TIMEOUT_S = 300.0
"""Seconds that a shared file system may take to measure or remove a few dozen folders."""


class JobFolders:
    """The folders of runs below the site's ``folder``, on the machine where Slurm's commands run. A context manager."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport = site.transport.open()

    def __enter__(self) -> "JobFolders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def bytes_of(self, run_ids: Sequence[str]) -> int:
        """Bytes that the folders of runs take on disk. Folders that do not exist take none.

        Raises:
            Unavailable: the machine did not answer.
        """
        if not (folders := self._folders(run_ids)):
            return 0  # without an argument, du would measure the current folder
        done = self._transport.run(["du", "-skc", "--", *folders], timeout=FILE_COMMAND_TIMEOUT_S)
        total = re.search(r"^(\d+)\ttotal$", done.out, re.MULTILINE)
        return int(total[1]) * 1024 if total else 0

    def remove(self, run_ids: Sequence[str]) -> None:
        """Removes the folders of runs; those that do not exist are ignored.

        Raises:
            Unavailable: the machine did not answer; the folders may be removed or not.
            ConfigurationError: the account may not remove them.
        """
        done = self._transport.run(["rm", "-rf", "--", *self._folders(run_ids)], timeout=FILE_COMMAND_TIMEOUT_S)
        if done.code:
            raise ConfigurationError(
                f"Folders of old runs in {self._site.folder} cannot be removed on {self._transport.name}: "
                f"{done.err.strip()}. They must belong to the account of C4."
            )

    def _folders(self, run_ids: Sequence[str]) -> list[str]:
        # A run's id comes from a database: nothing is removed whose name is not exactly such an id.
        return [str(self._site.folder / run_id) for run_id in run_ids if re.fullmatch(r"[0-9a-f-]{36}", run_id)]
