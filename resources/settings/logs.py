"""The section ``logs``."""

import logging
from pathlib import Path
from typing import Literal

from pydantic import Field

from resources.log_files import write_logs
from resources.settings.types import LocalPath, Section


class Logs(Section):
    """Log files for programs: JSON, a line each (docs/operations.md, Logs)."""

    folder: LocalPath = Field(
        default=Path("{home}/logs"),
        description="Where they are, a file a host. Without: logs in home. Steps on a cluster write theirs where they "
        "run, so a folder that nodes see keeps all in one place.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="debug", description="The finest lines that are written. Dagster's event log has those from info on."
    )
    megabytes: float = Field(default=50, ge=0.01, description="Size of a file at which the next one begins.")
    files: int = Field(default=5, ge=1, description="Files kept of each host; the oldest goes.")


def write_logs_of(logs: Logs) -> None:
    """Has what C4 logs in this process written where the settings say."""
    level = logging.getLevelNamesMapping()[logs.level.upper()]
    write_logs(logs.folder, level, round(logs.megabytes * 1e6), logs.files)
