"""Observes what the backlog's runs do, from Dagster's event log, pools, queue and daemon, and from staging."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType as Event

from c4_assets.backlog.backfill import Backfill
from c4_assets.backlog.limits import CLASSIFY, FETCH, STEPS, Observations, Pool, StepTimes
from c4_assets.runs.backfills import DAILY_ASSETS, SCORING_JOB, STARTED_STATUSES, WAITING_STATUSES
from c4_assets.runs.metadata import (
    IMAGES_PER_SECOND_KEY,
    IMAGES_SCORED_KEY,
    IMAGES_STAGED_KEY,
    MODEL_COMPUTED_KEY,
    MODEL_WAITED_KEY,
)
from c4_assets.runs.pools import POOLS
from c4_assets.runs.step_failures import BACKFILL_TAG
from resources.archive.staging import Staging
from resources.redaction import beginning
from resources.settings import Settings

OBSERVED_PERIOD = timedelta(hours=1)

MAX_RUNS_READ = 40
"""Most runs whose events are read, the newest: they show what all of them spend their time on."""

MAX_MATERIALISATIONS_READ = 200

TIMED_EVENTS = {
    Event.RUN_START,
    Event.STEP_WORKER_STARTING,
    Event.STEP_START,
    Event.STEP_SUCCESS,
    Event.STEP_FAILURE,
    Event.STEP_UP_FOR_RETRY,
    Event.STEP_RESTARTED,
}

BACKFILL_DAEMONS = ("BACKFILL", "QUEUED_RUN_COORDINATOR")


def observe(
    instance: dg.DagsterInstance, settings: Settings, staging: Staging, known: Sequence[Backfill], pending: int
) -> Observations:
    """Observes the runs of the running backfills or, if there are none, all runs of the daily assets.

    Args:
        known: the result of :func:`c4_assets.runs.backfills.backfills`.
        pending: number of images that could be scored now.
    """
    now = datetime.now(UTC)
    running = [each for each in known if each.state == "running"]
    queue = instance.get_concurrency_config().run_queue_config
    waited, computed = _inference(instance, now)
    return Observations(
        pending=pending,
        backfills=len(running),
        paused=sum(each.state in ("paused", "pausing") for each in known),
        daemon_silent=daemon_silent(instance, now),
        runs_queued=sum(each.runs_queued for each in running),
        runs_started=sum(each.runs_started for each in running),
        share=_share(queue.tag_concurrency_limits) if queue else None,
        max_runs=queue.max_concurrent_runs if queue else None,
        all_runs_started=instance.get_runs_count(dg.RunsFilter(statuses=STARTED_STATUSES)),
        steps=_steps(instance, [each.backfill_id for each in running], now),
        model_waited=waited,
        model_computed=computed,
        pools=_pools(instance),
        staged=staging.size(),
        staging_room=round(settings.scratch_gigabytes * 1e9),
        slurm=settings.runs.executor == "slurm",
        load_per_core=None if settings.runs.executor == "slurm" else os.getloadavg()[0] / (os.cpu_count() or 1),
    )


def daemon_silent(
    instance: dg.DagsterInstance, now: datetime, daemons: Sequence[str] = BACKFILL_DAEMONS
) -> timedelta | None:
    """Time since the last heartbeat of the daemons that are needed; ``None`` if there was none."""
    beats = instance.get_daemon_heartbeats()
    last = [beats[name].timestamp for name in daemons if name in beats]
    return now - datetime.fromtimestamp(min(last), UTC) if len(last) == len(daemons) else None


def _share(limits: Sequence[Mapping[str, object]]) -> int | None:
    of_backfills = [each["limit"] for each in limits if each["key"] == BACKFILL_TAG]
    return min((limit for limit in of_backfills if isinstance(limit, int)), default=None)


def _pools(instance: dg.DagsterInstance) -> dict[str, Pool]:
    pools: dict[str, Pool] = {}
    for name in POOLS:
        info = instance.event_log_storage.get_concurrency_info(name)
        pools[name] = Pool(info.slot_count, len(info.claimed_slots), info.pending_step_count)
    return pools


def _inference(instance: dg.DagsterInstance, now: datetime) -> tuple[float, float]:
    """Seconds that models waited and computed, over the newest days that were classified."""
    waited = computed = 0.0
    for metadata in _metadata(instance, CLASSIFY, now):
        waited += _number(metadata, MODEL_WAITED_KEY)
        computed += _number(metadata, MODEL_COMPUTED_KEY)
    return waited, computed


def _metadata(instance: dg.DagsterInstance, asset: str, now: datetime) -> Iterable[dict[str, object]]:
    # A run of many days reports them at its end, so that the last hour may have none.
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), after_timestamp=(now - 24 * OBSERVED_PERIOD).timestamp())
    for record in instance.fetch_materializations(wanted, limit=MAX_MATERIALISATIONS_READ).records:
        if materialization := record.asset_materialization:
            yield {name: value.value for name, value in materialization.metadata.items()}


def _number(metadata: dict[str, object], name: str) -> float:
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _rate(instance: dg.DagsterInstance, asset: str, now: datetime) -> tuple[int, float]:
    """Images and seconds, over the newest days."""
    images = took = 0.0
    counted = {FETCH: IMAGES_STAGED_KEY, CLASSIFY: IMAGES_SCORED_KEY}[asset]
    for metadata in _metadata(instance, asset, now):
        rate = _number(metadata, IMAGES_PER_SECOND_KEY)
        if rate:
            images += _number(metadata, counted)
            took += _number(metadata, counted) / rate
    return round(images), took


@dataclass
class _Step:
    """The state of one step of a run while its events are read."""

    name: str
    free_since: float
    launched: float | None = None
    began: float | None = None
    retrying: bool = False
    trouble: str = ""
    times: StepTimes = field(default_factory=StepTimes)

    def went_on(self, since: float | None, until: float, kind: str, after: float) -> None:
        """Adds the part of a period that lies within the observed hour."""
        if since is not None:
            seconds = max(0.0, until - max(since, after))
            self.times = replace(self.times, **{kind: getattr(self.times, kind) + seconds})


def _steps(instance: dg.DagsterInstance, backfill_ids: Sequence[str], now: datetime) -> dict[str, StepTimes]:
    totals = {name: StepTimes() for name in STEPS}
    for run in _runs(instance, backfill_ids, now):
        events = instance.all_logs(run.run_id, of_type=TIMED_EVENTS)
        for step in times_of_run(events, run.is_finished, now.timestamp(), (now - OBSERVED_PERIOD).timestamp()):
            totals[step.name] = _sum(totals[step.name], step.times)
    for asset in (FETCH, CLASSIFY):
        images, took = _rate(instance, asset, now)
        totals[asset] = replace(totals[asset], images=images, took=took)
    return totals


def _runs(instance: dg.DagsterInstance, backfill_ids: Sequence[str], now: datetime) -> list[dg.DagsterRun]:
    """The runs of the daily assets that are started or ended within the last hour."""
    tags = {BACKFILL_TAG: backfill_ids} if backfill_ids else {}
    started = instance.get_runs(dg.RunsFilter(statuses=STARTED_STATUSES, tags=tags), limit=MAX_RUNS_READ)
    waiting = {dg.DagsterRunStatus(status) for status in (*STARTED_STATUSES, *WAITING_STATUSES)}
    over = dg.RunsFilter(
        statuses=[status for status in dg.DagsterRunStatus if status not in waiting],
        tags=tags,
        updated_after=now - OBSERVED_PERIOD,
    )
    ended = [
        record.dagster_run for record in instance.get_run_records(over, MAX_RUNS_READ, order_by="update_timestamp")
    ]
    return [
        run
        for run in (*started, *ended)
        if run.job_name == SCORING_JOB or (run.asset_selection or set()) & set(DAILY_ASSETS)
    ]


def times_of_run(events: Sequence[dg.EventLogEntry], is_over: bool, now: float, after: float) -> list[_Step]:
    """What the steps of a run spent their time on, in seconds, from ``after`` to ``now``.

    A step can be launched when the one before it has ended or, for the first, when its run has started.
    """
    steps: dict[str, _Step] = {}
    free = now
    for entry in sorted(events, key=lambda entry: entry.timestamp):
        event, at = entry.dagster_event, entry.timestamp
        if event is None:
            continue
        if event.event_type is Event.RUN_START:
            free = at
        if event.step_key not in STEPS:
            continue
        step = steps.setdefault(event.step_key, _Step(event.step_key, min(free, at)))
        if event.event_type is Event.STEP_WORKER_STARTING:
            step.went_on(step.free_since, at, "held", after)
            step.launched, step.began, step.retrying = at, None, False
        elif event.event_type in (Event.STEP_START, Event.STEP_RESTARTED):
            step.went_on(step.launched, at, "queued", after)
            step.launched, step.began, step.retrying = None, at, False
        else:
            step.went_on(step.began, at, "working", after)
            step.went_on(step.launched, at, "queued", after)
            step.launched, step.began, step.free_since, free = None, None, at, at
            step.retrying = event.event_type is Event.STEP_UP_FOR_RETRY
            step.trouble = _trouble(event)
    for step in steps.values():
        if is_over:
            continue
        step.went_on(step.began, now, "working", after)
        step.went_on(step.launched, now, "queued", after)
        if step.retrying:
            step.times = replace(step.times, retrying=1, trouble=step.trouble)
    return list(steps.values())


def _trouble(event: dg.DagsterEvent) -> str:
    if event.event_type is not Event.STEP_UP_FOR_RETRY:
        return ""
    error = event.step_retry_data.error
    cause = error.cause or error if error else None
    return beginning(cause.message.strip().splitlines()[0], 300) if cause and cause.message.strip() else ""


def _sum(one: StepTimes, other: StepTimes) -> StepTimes:
    return replace(
        one,
        held=one.held + other.held,
        queued=one.queued + other.queued,
        working=one.working + other.working,
        retrying=one.retrying + other.retrying,
        trouble=other.trouble or one.trouble,
    )
