"""What a run is about, so that one that fails and a later one that succeeds are seen to be about the same."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg

from c4_assets.operations.alerts.conditions import run_subject
from c4_assets.operations.alerts.ends import DAY, WEEK
from c4_assets.operations.alerts.records import Subject
from c4_assets.runs.step_failures import BACKFILL_TAG

PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

WEEKLY_JOB = "collect_disagreements"
WEEKLY_ASSETS = {"human_labels", "ashes_disagreements"}

ASSET_JOB = "__ASSET_JOB"
"""Dagster's name for the job of runs that are started by assets: those of backfills, and by hand in the UI."""

MAX_DAYS = 400
"""Most days of one run that are told apart."""


def name_of(run: dg.DagsterRun) -> str:
    """The job of a run as people know it."""
    if run.job_name != ASSET_JOB:
        return run.job_name
    return "backfill" if BACKFILL_TAG in run.tags else "assets"


def partitions_of(run: dg.DagsterRun) -> str:
    """The partitions of a run in words: a day, the first and the last one of several, or nothing."""
    if partition := run.tags.get(PARTITION_TAG):
        return partition
    first, last = (run.tags.get(tag) for tag in RANGE_TAGS)
    return f"{first} to {last}" if first and last and first != last else first or ""


def subject_of(run: dg.DagsterRun, url: str) -> Subject:
    """A run as messages name it.

    Args:
        url: address of Dagster's UI, for a link; none where it is empty.
    """
    return run_subject(name_of(run), partitions_of(run), f"{url}/runs/{run.run_id}" if url else "")


def is_of_several(run: dg.DagsterRun) -> bool:
    """Whether a run is about several days."""
    return PARTITION_TAG not in run.tags and RANGE_TAGS[0] in run.tags


def subjects_of(run: dg.DagsterRun) -> frozenset[str]:
    """Names of what a run is about: each day, the week, or the job itself where it has no partitions."""
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    grain = WEEK if run.job_name == WEEKLY_JOB or (selected and selected <= WEEKLY_ASSETS) else DAY
    if partition := run.tags.get(PARTITION_TAG):
        return frozenset({f"{grain} {partition}"})
    if is_of_several(run):
        return frozenset(f"{grain} {day}" for day in _days(*(run.tags.get(tag, "") for tag in RANGE_TAGS)))
    return frozenset({name_of(run)})


def has_step(run: dg.DagsterRun, step: str) -> bool:
    """Whether a run that has ended well has done a step; every run has the one that is named by nothing."""
    return not step or not run.asset_selection or step in {key.to_user_string() for key in run.asset_selection}


def _days(first: str, last: str) -> Iterator[str]:
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        yield f"{first} to {last}"
        return
    for number in range(min((end - start).days + 1, MAX_DAYS)):
        yield (start + timedelta(days=number)).isoformat()
