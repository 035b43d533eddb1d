"""Settings as tests try them: what is refused, and what a process of its own says of them."""

import os
import subprocess
import sys
from typing import Any

from resources.errors import ConfigurationError
from resources.settings import Settings


def refusal(**variables: str) -> str:
    """What is said of variables that cannot be used.

    Raises:
        AssertionError: they can.
    """
    try:
        Settings.from_environment(variables)
    except ConfigurationError as error:
        return str(error)
    raise AssertionError(f"{sorted(variables)} were accepted")


def in_a_process(code: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs Python code, and returns what it printed."""
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def elsewhere(settings: Settings, **changes: Any) -> Settings:
    """The same deployment with other settings."""
    values: dict[str, Any] = {**settings.model_dump(), **changes}
    return Settings(**values)
