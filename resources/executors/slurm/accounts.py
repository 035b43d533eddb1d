"""Reads how jobs ended from what ``sacct`` and ``scontrol`` print."""

import re
from dataclasses import replace
from datetime import datetime

from resources.executors.slurm.job import ENDED_STATES, JobEnd

SACCT_FIELDS = ("JobID", "JobName", "State", "ExitCode", "Submit", "Start", "End", "NodeList", "MaxRSS")

MEBIBYTES = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


def read_sacct(text: str) -> dict[str, JobEnd]:
    """Reads jobs that have ended, from ``sacct --parsable2 --duplicates`` with :data:`SACCT_FIELDS`.

    A job has one row, and one more for each of its steps (``12.batch``), which alone have the memory. ``cancelled_by``
    is a user id.
    """
    ends: dict[str, JobEnd] = {}
    memory: dict[str, float] = {}
    for line in text.splitlines():
        row = dict(zip(SACCT_FIELDS, line.split("|"), strict=False))
        job_id, _, step = row["JobID"].partition(".")
        if (used := _mebibytes(row.get("MaxRSS", ""))) is not None:
            memory[job_id] = max(used, memory.get(job_id, 0.0))
        state, _, by = row.get("State", "").partition(" by ")
        if step or state not in ENDED_STATES:
            continue
        exit_code, signal = _exit_code(row.get("ExitCode", ""))
        ends[job_id] = JobEnd(
            job_id,
            row.get("JobName", ""),
            state,
            exit_code,
            signal,
            nodes=row.get("NodeList", "").replace("None assigned", ""),
            submitted=_time(row.get("Submit", "")),
            started=_time(row.get("Start", "")),
            ended=_time(row.get("End", "")),
            cancelled_by=by or None,
        )
    return {job_id: replace(end, max_memory_mb=memory.get(job_id)) for job_id, end in ends.items()}


def read_scontrol(text: str) -> JobEnd | None:
    """Reads a job's end from ``scontrol --oneliner show job``; ``None`` if it has not ended."""
    fields = dict(re.findall(r"(\w+)=(\S*)", text))
    if fields.get("JobState") not in ENDED_STATES:
        return None
    exit_code, signal = _exit_code(fields.get("ExitCode", ""))
    return JobEnd(
        fields["JobId"],
        fields.get("JobName", ""),
        fields["JobState"],
        exit_code,
        signal,
        nodes=fields.get("NodeList", "").replace("(null)", ""),
        submitted=_time(fields.get("SubmitTime", "")),
        started=_time(fields.get("StartTime", "")),
        ended=_time(fields.get("EndTime", "")),
    )


def _exit_code(text: str) -> tuple[int | None, int | None]:
    match = re.match(r"(\d+):(\d+)", text)
    return (int(match[1]), int(match[2]) or None) if match else (None, None)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # Unknown, None, N/A
        return None


def _mebibytes(text: str) -> float | None:
    match = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    if not match:
        return None
    return round(float(match[1]) * (MEBIBYTES[match[2]] if match[2] else 1 / 1024**2), 1)
