"""Dagster's calls whose signatures leave the parameter of a generic type open, with signatures that do not."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

Compose: TypeAlias = Callable[[], None]
"""A function that puts steps together."""


def ephemeral_instance() -> dg.DagsterInstance:
    """An instance in memory."""
    return cast("Any", dg.DagsterInstance).ephemeral()


def job(executor: dg.ExecutorDefinition) -> Callable[[Compose], dg.JobDefinition]:
    """Decorates a function that puts the steps of a job together."""
    return cast("Any", dg).job(executor_def=executor)


def job_without_steps(name: str) -> dg.JobDefinition:
    """A job that is found again by its name."""
    return cast("Any", dg.GraphDefinition(name)).to_job()


def with_status(backfill: PartitionBackfill, status: BulkActionStatus) -> PartitionBackfill:
    """The backfill as the daemon stores it at another stage."""
    return cast("Any", backfill).with_status(status)
