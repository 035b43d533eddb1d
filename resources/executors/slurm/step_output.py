"""What a step has printed, for Dagster's UI, wherever its machine could write it.

A step captures its own output below ``DAGSTER_HOME``, where the UI finds it if both machines see that folder. Where
they do not, where the step's process was killed, or where its job ended before Dagster began in it, what Slurm has kept
of the job stands in for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import dagster as dg
from dagster import DagsterEventType
from dagster._core.events import ComputeLogsCaptureData, DagsterEvent
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from resources.executors.slurm.script import Step
from resources.executors.slurm.tracker import OUTPUT_BYTES, ReadOutput
from resources.redaction import redacted


def show_output(instance: dg.DagsterInstance, run: DagsterRun, step: Step, read: ReadOutput) -> None:
    """Puts the output of a step whose job is over where the UI looks for it, without secrets and of a bounded size.

    Other storage than a folder (a bucket, say) is written to by the steps themselves, and left alone.

    Args:
        read: fetches what Slurm has kept of the job's output. It is not asked where the step's own is whole.
    """
    manager = cast("Any", instance).compute_log_manager
    if not _is_local(manager):
        return
    file_key = _captured_as(instance, step)
    log_key = manager.build_log_key_for_run(step.run_id, file_key or f"{step.key}.{step.attempt}")
    complete = manager.is_capture_complete(log_key)
    captured = manager.get_log_data(log_key, max_bytes=OUTPUT_BYTES + 1)
    own: Sequence[bytes] = (captured.stdout or b"", captured.stderr or b"")
    is_whole = [complete and len(data) <= OUTPUT_BYTES for data in own]
    of_slurm = own if all(is_whole) else read()
    kept = [mine if whole else slurms or mine for mine, slurms, whole in zip(own, of_slurm, is_whole, strict=True)]
    texts = [shown(data) for data in kept]
    if all(is_whole) and [text.encode() for text in texts] == list(own):
        return
    if file_key is None:
        if not any(texts):
            return
        _tell(instance, run, step, f"{step.key}.{step.attempt}")
    manager.delete_logs(log_key=log_key)
    for kind, text in zip((ComputeIOType.STDOUT, ComputeIOType.STDERR), texts, strict=True):
        with manager.open_log_stream(log_key, kind) as stream:
            if stream is not None:
                stream.write(text)
    Path(manager.complete_artifact_path(log_key)).touch()


def _is_local(manager: object) -> bool:
    return isinstance(manager, LocalComputeLogManager)


def _captured_as(instance: dg.DagsterInstance, step: Step) -> str | None:
    """The name under which an attempt at a step captures its output; ``None`` if it did not come so far."""
    attempt, found = 0, None
    events = {DagsterEventType.STEP_WORKER_STARTING, DagsterEventType.LOGS_CAPTURED}
    for event in (entry.dagster_event for entry in instance.all_logs(step.run_id, of_type=events)):
        if event and event.event_type == DagsterEventType.STEP_WORKER_STARTING:
            attempt += event.step_key == step.key
        elif event and attempt == step.attempt:
            data = cast("ComputeLogsCaptureData", event.event_specific_data)
            found = data.file_key if step.key in data.step_keys else found
    return found


def _tell(instance: dg.DagsterInstance, run: DagsterRun, step: Step, file_key: str) -> None:
    event = cast("Any", DagsterEvent)(
        event_type_value=DagsterEventType.LOGS_CAPTURED.value,
        job_name=run.job_name,
        message=f"What the Slurm job of step {step.key} printed (attempt {step.attempt}).",
        event_specific_data=ComputeLogsCaptureData(file_key=file_key, step_keys=[step.key]),
    )
    instance.report_dagster_event(event, run_id=step.run_id)


def shown(data: bytes) -> str:
    """The end of an output as it is kept: without secrets, and from the beginning of a line on."""
    text = data[-OUTPUT_BYTES:].decode(errors="replace")
    if len(data) > OUTPUT_BYTES:  # half a line may begin with half a secret
        text = f"… the beginning is left out\n{text.partition(chr(10))[2]}"
    return redacted(text)
