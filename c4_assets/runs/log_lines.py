"""What Dagster knows of a run, as ids of the lines that are logged, and Dagster's own events as such lines."""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from uuid import uuid4

import dagster as dg

from resources.log_context import working_on
from resources.log_files import file_written_to, write_finer_lines_too

# Each process of a run would say so on its console: `dagster.yaml` names a handler, and that is not final in Dagster.
warnings.filterwarnings("ignore", "Handling yaml-defined logging configuration", dg.BetaWarning)

TICK_TAG = "c4/tick"
"""Tag of a run: the look at the deployment that has asked for it. Its value is the ``correlation`` of log lines, from
the sensor's to those of the run's steps."""

_CORRELATED_BY = (TICK_TAG, "dagster/backfill", "dagster/root_run_id")

_PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def new_tick() -> str:
    """A value for :data:`TICK_TAG`, of one look at the deployment."""
    return uuid4().hex[:12]


def ids_of_run(run_id: str | None, job: str | None, tags: Mapping[str, str]) -> dict[str, object]:
    """The ids that each line about a run has. Runs that nobody's tick asked for are their own correlation."""
    day, first, last = (tags.get(name) for name in _PARTITION_TAGS)
    return {
        "correlation": next((tags[name] for name in _CORRELATED_BY if name in tags), run_id),
        "run_id": run_id,
        "job": job,
        "partition": day or (f"{first}/{last}" if first else None),
    }


@contextmanager
def step_logged(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Generator[None]:
    """Each line that is logged in the block has the ids of the step and its run."""
    operation = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
    write_finer_lines_too()
    ids = ids_of_run(context.run.run_id, context.run.job_name, context.run.tags)
    with working_on(**ids, step=operation.op_handle.name, attempt=context.retry_number + 1):
        yield


class DagsterEvents(logging.Handler):
    """Writes Dagster's events and what is logged by ``context.log`` to C4's log file, where this process has one.

    ``python_logs`` of ``dagster.yaml`` names it. What C4's own loggers say is in that file already.
    """

    def emit(self, record: logging.LogRecord) -> None:
        write_finer_lines_too()  # of this process, in which no step may run: a run worker's over Slurm
        file = file_written_to()
        meta = cast("dict[str, Any] | None", getattr(record, "dagster_meta", None))
        if file is None or meta is None or record.name.startswith("c4.") or record.levelno < file.level:
            return
        event = meta["dagster_event"]
        line = logging.LogRecord(
            "dagster", record.levelno, record.pathname, record.lineno, meta["orig_message"], (), record.exc_info
        )
        line.created = record.created
        error = getattr(getattr(event, "event_specific_data", None), "error", None)
        line.__dict__ |= {
            **ids_of_run(meta["run_id"], meta["job_name"], meta["job_tags"]),
            "step": meta["step_key"],
            "event": event.event_type_value if event else None,
            "error": error.to_string() if error else None,
        }
        file.handle(line)
