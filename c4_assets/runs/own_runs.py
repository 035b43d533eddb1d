"""Which runs of a Dagster instance are C4's: code locations of others may share it."""

import dagster as dg

CODE_LOCATION_MODULE = "c4_assets.definitions"
CODE_LOCATION_NAME = "c4"
"""From which module Dagster's services load C4, and under which name (``workspace.yaml``): either tells its runs."""

STARTED_BY_TAG = "c4/started_by"
"""Tag of what a command of C4 has started, with the command's name."""

REPOSITORY_TAG = ".dagster/repository"
"""Dagster's tag of a run from a code location: ``repository@location``."""


def is_of_c4(run: dg.DagsterRun) -> bool:
    """Whether a run is C4's. One of no code location is: it was made by a process over this instance alone."""
    origins = _origins(run)
    return not origins or bool(origins & {CODE_LOCATION_MODULE, CODE_LOCATION_NAME})


def _origins(run: dg.DagsterRun) -> set[str]:
    """The module and the name of the code location that a run is from, as far as the run tells."""
    found: set[str] = set()
    if run.job_code_origin:
        pointer = run.job_code_origin.repository_origin.code_pointer
        found.add(getattr(pointer, "module", "") or pointer.describe())
    if run.remote_job_origin:
        found.add(run.remote_job_origin.location_name)
    if label := run.tags.get(REPOSITORY_TAG):
        found.add(label.rpartition("@")[2])
    return found
