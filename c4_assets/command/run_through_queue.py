"""``c4 run`` where the steps are jobs of a cluster: the daemon queues the runs, and this shows how they go."""

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import typer

from c4_assets.command.console import console, errors, print_error, progress
from resources.errors import ConfigurationError

if TYPE_CHECKING:
    import dagster as dg

POLL_S = 2.0

PATIENCE_S = 90.0
"""Wait for the daemon to make the runs, after which this says what to look at. It looks every quarter of a minute."""

INTERRUPTED = 130


def refuse_without_daemon(instance: "dg.DagsterInstance") -> None:
    """Raises:
    ConfigurationError: Dagster's daemon is not running, which makes and starts the runs.
    """
    from c4_assets.backlog.limits import MAX_DAEMON_SILENCE
    from c4_assets.runs.observed import daemon_silent

    silent = daemon_silent(instance, datetime.now(UTC), ("SENSOR",))
    if silent is None or silent > MAX_DAEMON_SILENCE:
        raise ConfigurationError(
            "C4_RUNS_EXECUTOR is slurm, so that Dagster's daemon makes and queues the runs, and it is not running: "
            "start `c4 ui` or the service, or compute on this machine with `c4 run --here`. Nothing was asked for."
        )


def score_days_through_queue(instance: "dg.DagsterInstance", days: Mapping[date, int]) -> dict[date, int | None]:
    """Asks the daemon for a run of every day and follows them to their end, with a progress bar.

    Ctrl-C asks whether to cancel them.

    Args:
        days: pending images by day.

    Returns:
        Rows written by day; ``None`` for a day whose run failed or was cancelled (the reason is printed).
    """
    written: dict[date, int | None] = {}
    left_before: dict[date, int] = {}
    while days:
        ended = _followed(instance, days)
        left: dict[date, int] = {}
        for day, (rows, images_left) in ended.items():
            written[day] = None if rows is None else (written.get(day) or 0) + rows
            # A day for which staging has no room at once takes several runs.
            if rows is not None and images_left and images_left != left_before.get(day):
                left[day] = images_left
        days = left_before = left
    return written


def _followed(instance: "dg.DagsterInstance", days: Mapping[date, int]) -> dict[date, tuple[int | None, int]]:
    """Rows written and images left by day; no rows for a day whose run failed."""
    from c4_assets.runs.requested_days import ask_for, withdraw

    request = ask_for(instance, days)
    try:
        return _follow(instance, request, days)
    except KeyboardInterrupt:
        withdraw(instance, request)  # before its runs are looked at: none is to come later
        _cancel_if_wanted(instance, request)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        withdraw(instance, request)


def _follow(
    instance: "dg.DagsterInstance", request: str, days: Mapping[date, int]
) -> dict[date, tuple[int | None, int]]:
    from c4_assets.runs.requested_days import is_asked_for, newest_runs

    ended: dict[date, tuple[int | None, int]] = {}
    asked_at, told = time.monotonic(), False
    with progress() as bar:
        task = bar.add_task("waiting for the daemon", total=sum(days.values()))
        while True:
            all_made = not is_asked_for(instance, request)  # asked before the runs are looked at
            runs = newest_runs(instance, request)
            for day, run in runs.items():
                if day not in ended and _is_over(instance, run):
                    ended[day] = _result(instance, day, run)
                    bar.advance(task, days.get(day, 0))
            for day in [day for day in days if all_made and day not in runs and day not in ended]:
                ended[day] = (None, 0)
                print_error(
                    f"{day} was left out", "Dagster's daemon knows no such day, or its run was deleted: restart it"
                )
            if len(ended) >= len(days):
                return ended
            if runs:
                counts = Counter(run.status.value.lower().replace("_", " ") for run in runs.values())
                bar.update(task, description=", ".join(f"{number} {status}" for status, number in counts.items()))
            elif time.monotonic() - asked_at > PATIENCE_S and not told:
                told = True
                bar.console.print(
                    "The daemon has made no run yet: is its sensor requested_days on, and without an error? (Dagster's "
                    "UI, Automation)"
                )
            time.sleep(POLL_S)


def _is_over(instance: "dg.DagsterInstance", run: "dg.DagsterRun") -> bool:
    if not run.is_failure:
        return run.is_finished
    # Dagster says whether it repeats a run a moment after it has marked it as failed.
    will_retry = run.tags.get("dagster/will_retry")
    return will_retry == "false" or (will_retry is None and not instance.run_retries_enabled)


def _result(instance: "dg.DagsterInstance", day: date, run: "dg.DagsterRun") -> tuple[int | None, int]:
    from c4_assets.runs.metadata import IMAGES_LEFT_KEY, ROWS_WRITTEN_KEY
    from c4_assets.runs.outcomes import failure_of_run, numbers_of_run

    if not run.is_success:
        print_error(f"{day} {run.status.value.lower()}", failure_of_run(instance, run.run_id))
        return None, 0
    rows = numbers_of_run(instance, run.run_id, "db_scores").get(ROWS_WRITTEN_KEY, 0)
    console.print(f"{day}: {rows} scores written")
    return rows, numbers_of_run(instance, run.run_id, "raw_inspection_images").get(IMAGES_LEFT_KEY, 0)


def _cancel_if_wanted(instance: "dg.DagsterInstance", request: str) -> None:
    from c4_assets.runs.requested_days import newest_runs

    runs = [run for run in newest_runs(instance, request).values() if not run.is_finished]
    if not runs:
        errors.print("Interrupted. No run is left to cancel, and none will be made.")
        return
    wanted = False
    with suppress(typer.Abort):  # nobody is there to answer
        wanted = typer.confirm(f"\nCancel the {len(runs)} runs? Otherwise they go on without this command.", err=True)
    if not wanted:
        errors.print("The runs go on: `c4 status` and Dagster's UI show them. Days without a run yet get none.")
        return
    for run in runs:
        if not _cancelled(instance, run.run_id):
            print_error("Not cancelled", f"run {run.run_id} does not answer from here: end it in Dagster's UI.")


def _cancelled(instance: "dg.DagsterInstance", run_id: str) -> bool:
    try:
        return instance.run_coordinator.cancel_run(run_id)
    except Exception:  # the launcher cannot reach the run's machine, and says so in words of its own
        return False
