"""Processes the days of a run: the one day of an hourly run, or several of a backfill.

Each day is processed, judged and reported as if it were alone, so that nothing depends on how a backfill is divided
into runs. What is loaded once, like the model, stays loaded for all days.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, cast

import dagster as dg

from c4_assets.runs.step_failures import in_backfill
from c4_assets.runs.traces import traced
from resources.errors import C4Error
from resources.executors.step_resources import BACKFILL_NICENESS
from resources.redaction import redacted

log = logging.getLogger("c4.days")

Result = dg.MaterializeResult[Any]

Events = Iterator[Result | dg.AssetMaterialization | dg.AssetCheckEvaluation]

ProcessDay = Callable[[date], Result]
"""Processes one day and returns its result."""


def metadata_of(result: Result) -> Mapping[str, Any]:
    """What a result says of its day, by label. Dagster's own type of it leaves a parameter open."""
    return cast("Any", result).metadata or {}


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """The days that a run is about, oldest first."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def process_days(context: dg.AssetExecutionContext, process_day: ProcessDay) -> Events:
    """Processes every day of a run, and reports each to Dagster.

    A day that fails does not stop the others; the step fails at the end and names it. If the database or the storage
    host does not answer, so that all days would fail, the step ends at once.

    Raises:
        dg.Failure: some days failed. The others are materialised.
        C4Error, Exception: the error of the only day, or one that concerns all days.
    """
    if in_backfill(context.run.tags):
        os.nice(BACKFILL_NICENESS)
    days = days_of(context)
    if len(days) == 1:
        with traced(context):
            result = process_day(days[0])
        yield result
        if (
            not context.has_partition_key
        ):  # a backfill names a span also of one day, of which Dagster tells no partition
            yield from _evaluations(context, {days[0]: result})
        return
    with traced(context):
        done, failed = _process_each(days, process_day)
    if failed and not _is_waited_for(context, failed):
        for day, result in done.items():
            yield dg.AssetMaterialization(context.asset_key, partition=day.isoformat(), metadata=metadata_of(result))
        yield from _evaluations(context, done)
    if failed:
        raise _step_error(failed, done)
    for day, result in done.items():
        context.add_asset_metadata(metadata_of(result), partition_key=day.isoformat())
    yield dg.MaterializeResult(check_results=_summary(done))
    yield from _evaluations(context, done)


def _process_each(days: Sequence[date], process_day: ProcessDay) -> tuple[dict[date, Result], dict[date, Exception]]:
    done: dict[date, Result] = {}
    failed: dict[date, Exception] = {}
    for number, day in enumerate(days):
        log.info("%s, day %d of %d", day, number + 1, len(days))
        try:
            done[day] = process_day(day)
        except Exception as error:
            failed[day] = error
            if _is_unavailable(error):
                break
            log.error("%s is not done: %s", day, error, exc_info=not isinstance(error, C4Error))
    return done, failed


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, C4Error) and error.retryable


def _is_waited_for(context: dg.AssetExecutionContext, failed: Mapping[date, Exception]) -> bool:
    """Whether this step is retried until it succeeds. Its finished days are then reported once, not at each attempt."""
    return in_backfill(context.run.tags) and any(map(_is_unavailable, failed.values()))


def _step_error(failed: Mapping[date, Exception], done: Mapping[date, Result]) -> Exception:
    unavailable = [error for error in failed.values() if _is_unavailable(error)]
    if unavailable or not done:
        return (unavailable or list(failed.values()))[0]
    reasons = "; ".join(redacted(f"{day}: {type(error).__name__}: {error}") for day, error in failed.items())
    return dg.Failure(
        f"{len(failed)} of {len(failed) + len(done)} days are not done ({reasons}). The others are, up to this step: "
        "`c4 run --pending` goes on with them day by day, and leaves out what fails.",
        allow_retries=not all(isinstance(error, C4Error) for error in failed.values()),
    )


def _evaluations(context: dg.AssetExecutionContext, done: Mapping[date, Result]) -> Iterator[dg.AssetCheckEvaluation]:
    """The check results of every day. They must refer to the days' materialisations: Dagster shows a result that
    refers to none, or to an older one, as missing among the partitions of its check.
    """
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData as Judged,
    )

    materialised = context.instance.event_log_storage.get_latest_storage_id_by_partition(
        context.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, {day.isoformat() for day in done}
    )
    for day, result in done.items():
        judged = Judged(storage_id=materialised[day.isoformat()], run_id=context.run.run_id, timestamp=time.time())
        for check in result.check_results or ():
            yield dg.AssetCheckEvaluation(
                context.asset_key,
                check.check_name or "",
                check.passed,
                check.metadata,
                target_materialization_data=judged,
                severity=check.severity,
                description=check.description,
                partition=day.isoformat(),
            )


def _summary(done: Mapping[date, Result]) -> list[dg.AssetCheckResult]:
    """One result per check over all days, which Dagster requires of the step. The days' results name offending rows."""
    by_check: dict[str, list[tuple[date, dg.AssetCheckResult]]] = {}
    for day, result in done.items():
        for check in result.check_results or ():
            by_check.setdefault(check.check_name or "", []).append((day, check))
    return [_over_days(name, results) for name, results in by_check.items()]


def _over_days(name: str, results: Sequence[tuple[date, dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    failed = [day.isoformat() for day, result in results if not result.passed]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=results[0][1].severity,
        description=f"Fails on {', '.join(failed)}." if failed else f"Passes on all {len(results)} days.",
        metadata={"days": len(results), "days failed": len(failed)},
    )
