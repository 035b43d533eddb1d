"""Runs that have ended since the last look: failed ones, failed checks, images that were given up, and recoveries.

It reads run status changes in batches with a cursor of its own. Dagster's run status sensors take five runs a tick,
lose what cannot be sent, and hear neither of backfills of a job nor of runs that are made in a process.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
from dagster import DagsterEventType as Event

from c4_assets.operations.alerts.conditions import images_given_up, run_failed
from c4_assets.operations.alerts.ends import Ends
from c4_assets.operations.alerts.reasons import Reason
from c4_assets.operations.alerts.records import Condition, Observation, Severity, Subject
from c4_assets.operations.alerts.records import Event as Told
from c4_assets.runs.metadata import GIVEN_UP_NAMED_KEY, IMAGES_GIVEN_UP_KEY
from c4_assets.runs.own_runs import is_of_c4
from c4_assets.runs.watch.reasons import reason_of
from c4_assets.runs.watch.subjects import has_step, is_of_several, name_of, partitions_of, subject_of, subjects_of

log = logging.getLogger("c4.watch")

ENDS_A_LOOK = 250
"""Most ends of each kind that one look takes: what 250 SQLite files of events take to open is seconds."""

END_EVENTS = {"failed": Event.RUN_FAILURE, "succeeded": Event.RUN_SUCCESS}

BEGUN_AGAIN = (
    "Dagster's storage is another one than at the last look, or an older state of it: the watch of runs begins again "
    "at its newest run. What has ended in between is not told."
)

WILL_RETRY_TAG = "dagster/will_retry"
"""Dagster's tag of a failed run that it repeats by itself: its failure is told when the last attempt has failed."""


@dataclass
class _Found(Ends):
    """What a look finds, and the address of Dagster's UI."""

    url: str = ""


def look_at_ends(
    instance: dg.DagsterInstance,
    cursor: Mapping[str, Any],
    now: datetime,
    url: str = "",
    window: timedelta = timedelta(0),
) -> tuple[Observation, dict[str, Any]]:
    """Looks at the runs of C4 that have ended since the last look, :data:`ENDS_A_LOOK` of each kind at most.

    The first look sees nothing and remembers where history ends: what failed before alerts were set up is no news.

    Args:
        cursor: what the last look has returned; empty for the first one.
        url: address of Dagster's UI, for links; none without.
        window: how far back the sensor asks for days that have pending images.

    Returns:
        What was observed, and the cursor for the next look.
    """
    if "after" not in cursor:
        return Observation(), {
            "after": {name: _newest(instance, kind) for name, kind in END_EVENTS.items()},
            "open": {},
        }
    found = _Found(now, {key: dict(known) for key, known in cursor["open"].items()}, window, url=url)
    before = _within(instance, cursor["after"])
    ends, after = _ends(instance, before)
    runs = (
        {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=[run_id for run_id, _ in ends]))}
        if ends
        else {}
    )
    for run_id, failed in ends:
        run = runs.get(run_id)
        if run is None or not is_of_c4(run):
            continue
        if failed and run.tags.get(WILL_RETRY_TAG) != "true":
            _failed(instance, run, found)
        if not failed:
            found.succeeded(name_of(run), subjects_of(run), partial(has_step, run))
        try:
            _judged(instance, run, found)
        except Exception:  # one run that cannot be read must not hide all that come after it
            log.exception("what the checks of run %s said cannot be read", run.run_id)
    found.forget_old()
    notes = (BEGUN_AGAIN,) if max(before.values()) < max(cursor["after"].values()) else ()
    for note in notes:
        log.warning("%s", note)
    return found.observation(notes), {"after": after, "open": found.open}


def _within(instance: dg.DagsterInstance, after: Mapping[str, int]) -> dict[str, int]:
    """The cursors, none behind the newest end of its kind.

    Storages number their events each for itself, and one that is younger, or was restored, has lower numbers. Where the
    newest ends were only pruned, the cursor goes back as well, and nothing is seen twice.
    """
    return {name: min(after[name], _newest(instance, kind)) for name, kind in END_EVENTS.items()}


def _newest(instance: dg.DagsterInstance, kind: Event) -> int:
    newest = instance.fetch_run_status_changes(_filter(kind), limit=1).records
    return newest[0].storage_id if newest else 0


def _filter(kind: Event, after: int | None = None) -> dg.RunStatusChangeRecordsFilter:
    return dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=after)  # type: ignore[arg-type]


def _ends(instance: dg.DagsterInstance, after: Mapping[str, int]) -> tuple[Sequence[tuple[str, bool]], dict[str, int]]:
    """Ids of the runs that have ended, with whether they failed, in order, and the cursors behind them.

    Where there is more of one kind than a batch, the other waits as well, so that no success is seen before a failure
    that it has mended.
    """
    records = {
        name: instance.fetch_run_status_changes(_filter(kind, after[name]), limit=ENDS_A_LOOK, ascending=True).records
        for name, kind in END_EVENTS.items()
    }
    full = [batch[-1].storage_id for batch in records.values() if len(batch) == ENDS_A_LOOK]
    taken = [
        (record.storage_id, record.run_id, name)
        for name, batch in records.items()
        for record in batch
        if not full or record.storage_id <= min(full)
    ]
    reached = {name: max([after[name], *(number for number, _, kind in taken if kind == name)]) for name in END_EVENTS}
    return [(run_id, name == "failed") for _, run_id, name in sorted(taken)], reached


def _failed(instance: dg.DagsterInstance, run: dg.DagsterRun, found: _Found) -> None:
    try:
        reason = reason_of(instance, run.run_id)
    except Exception as error:
        log.exception("why run %s failed cannot be read", run.run_id)
        reason = Reason("", "Unreadable", f"its events cannot be read ({type(error).__name__}).")
    condition = run_failed(name_of(run), partitions_of(run), reason, subject_of(run, found.url))
    found.opened(condition, subjects_of(run))


def _judged(instance: dg.DagsterInstance, run: dg.DagsterRun, found: _Found) -> None:
    """What the checks of a run said, and the images that it gave up."""
    kinds = {Event.ASSET_CHECK_EVALUATION, Event.ASSET_MATERIALIZATION}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type is Event.ASSET_MATERIALIZATION:
            _gave_up(run, event, found)
            continue
        evaluation = event.asset_check_evaluation_data
        day = evaluation.partition or run.tags.get("dagster/partition")
        if day is None and is_of_several(run):
            continue  # the step's, over all days: each day has its own
        key, subject = f"{Told.CHECK_FAILED}:{evaluation.check_name}", frozenset({day or ""})
        if evaluation.passed:
            found.closed(key, subject)
        else:
            found.opened(_failed_check(key, run, evaluation, day, found), subject)


def _failed_check(
    key: str, run: dg.DagsterRun, evaluation: dg.AssetCheckEvaluation, day: str | None, found: _Found
) -> Condition:
    blocking = evaluation.severity == dg.AssetCheckSeverity.ERROR
    plates = _plates(evaluation)
    of = "".join(f" {word} {what}" for word, what in (("of", day), ("on plates", ", ".join(plates))) if what)
    return Condition(
        key=key,
        event=Told.CHECK_FAILED,
        severity=Severity.ERROR if blocking else Severity.WARNING,
        summary=f"The check {evaluation.check_name} fails{of}: {evaluation.description or 'see the run'}",
        advice="`c4 checks list` names what is withheld." if blocking else "",
        subjects=(Subject(f"{day or name_of(run)} {' '.join(plates)}".strip(), subject_of(run, found.url).url),),
    )


MAX_PLATES = 3


def _plates(evaluation: dg.AssetCheckEvaluation) -> list[str]:
    """The first plates that a check names among its offending rows."""
    table = evaluation.metadata.get("rows")
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in str(table.value if table else "").splitlines()
    ]
    if not lines or "plate" not in lines[0]:
        return []
    place = lines[0].index("plate")
    named = [cells[place].replace("\\", "") for cells in lines[2:] if len(cells) == len(lines[0])]
    return list(dict.fromkeys(named))[:MAX_PLATES]


def _gave_up(run: dg.DagsterRun, event: dg.DagsterEvent, found: _Found) -> None:
    materialization = event.step_materialization_data.materialization
    for name, value in materialization.metadata.items():
        # Of a model that is not the current one, names begin with the model's.
        if not (name.endswith(IMAGES_GIVEN_UP_KEY) and isinstance(value.value, int) and value.value):
            continue
        named = materialization.metadata.get(name.replace(IMAGES_GIVEN_UP_KEY, GIVEN_UP_NAMED_KEY))
        day = materialization.partition or partitions_of(run)
        first = str(named.value).splitlines()[0] if named else ""
        found.occurred.append(images_given_up(value.value, day, first, subject_of(run, found.url).url))
