"""What Dagster knows, as samples of metrics: runs, pools, daemons, ticks and verdicts of checks."""

from collections.abc import Iterator

import dagster as dg

from c4_assets.checks.catalogue import CHECKS
from c4_assets.operations.metrics.catalogue import Sample
from c4_assets.runs.ticking import all_kept, in_use


def dagster_samples(instance: dg.DagsterInstance) -> Iterator[Sample]:
    """Runs by status, pools, daemons and ticks as they are now: a few statements, whatever the number of runs."""
    for status in dg.DagsterRunStatus:
        count = instance.get_runs_count(dg.RunsFilter(statuses=[status]))
        yield Sample("c4_runs", count, (status.value.lower(),))
    yield from _pools(instance)
    for daemon, beat in instance.get_daemon_heartbeats().items():
        yield Sample("c4_daemon_heartbeat_timestamp_seconds", beat.timestamp, (daemon.lower(),))
    yield from _ticks(instance)


def _pools(instance: dg.DagsterInstance) -> Iterator[Sample]:
    for limit in instance.event_log_storage.get_pool_limits():
        pool = instance.event_log_storage.get_concurrency_info(limit.name)
        yield Sample("c4_pool_slots", pool.slot_count, (limit.name,))
        yield Sample("c4_pool_slots_used", len(pool.claimed_slots), (limit.name,))
        yield Sample("c4_pool_steps_waiting", pool.pending_step_count, (limit.name,))


def _ticks(instance: dg.DagsterInstance) -> Iterator[Sample]:
    for each in in_use(all_kept(instance)):
        if each.ended:
            key = (each.state.instigator_type.value.lower(), each.state.name)
            yield Sample("c4_tick_timestamp_seconds", each.ended[0].timestamp, key)
            yield Sample("c4_tick_failed", float(each.ended[0].is_failure), key)


def check_samples(instance: dg.DagsterInstance) -> Iterator[Sample]:
    """The newest verdict of each check, of whichever day or week it is."""
    checks = {dg.AssetCheckKey(dg.AssetKey(check.asset), check.name): check for check in CHECKS}
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks)).items():
        evaluation = record.event.asset_check_evaluation if record.event else None
        if record.event is None or evaluation is None:
            continue  # planned by a run that is at work, or that died before it
        check = checks[key]
        yield Sample("c4_check_passed", float(evaluation.passed), (check.asset, check.name, check.severity))
        yield Sample("c4_check_evaluated_timestamp_seconds", record.event.timestamp, (check.asset, check.name))
