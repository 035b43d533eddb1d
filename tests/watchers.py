"""What tests of the watch share: looks at runs, and an image store that fails."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from c4_assets.operations.alerts.records import Condition, Observation
from c4_assets.runs.watch.run_ends import look_at_ends
from tests.conftest import noon

NOW = datetime.now(UTC)
DAY = noon(1).date().isoformat()


class Watcher:
    """Looks at a facility's runs again and again, as the sensor does."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._cursor = instance, dict[str, Any]()
        self.look()

    def look(self, now: datetime = NOW) -> Observation:
        seen, self._cursor = look_at_ends(self._instance, self._cursor, now, "https://c4")
        return seen


class Fails:
    """An image store that raises what it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def fetch(self, _paths: Sequence[str]) -> Iterator[Any]:
        raise self._error

    def close(self) -> None:
        pass


def keys(observation: Observation) -> list[str]:
    """Of the conditions that hold."""
    return [condition.key for condition in observation.holding]


def only(conditions: Sequence[Condition]) -> Condition:
    assert len(conditions) == 1, conditions
    return conditions[0]
