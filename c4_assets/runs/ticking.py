"""C4's sensors and schedules as Dagster keeps them, for whoever tells how they are: the watch, the doctor, the metrics.

Dagster never forgets the state of a sensor that was renamed or whose code location was, and such a state still counts
as one that runs. So names are those of this release, and of each name the newest state counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

from c4_assets.runs.causes import cause_of
from c4_assets.runs.own_runs import CODE_LOCATION_MODULE, CODE_LOCATION_NAME

SENSORS = frozenset(
    {"crystals_found", "lost_runs", "messages", "new_inspections", "requested_days", "run_alerts", "traces"}
)
SCHEDULES = frozenset({"daily_coverage", "daily_digest", "settle_yesterday", "weekly_ashes", "weekly_pruning"})
SENSORS_AND_SCHEDULES = SENSORS | SCHEDULES
"""Names of what ``c4_assets/definitions.py`` has: to ask it would be to import all that runs import."""

SILENT_AFTER = timedelta(minutes=10)
"""Silence of a daemon that is told, here and in deploy/prometheus/rules.yaml. They beat every 30 s; a busy one was seen
to take minutes."""

FAILURES_BORNE = 3
"""Failed ticks in a row that are told, of what ticks often: one is over with the next. Of what ticks every ten minutes
or less often, the first is told."""

OFTEN_INTERVAL = timedelta(minutes=10)


@dataclass(frozen=True)
class Ticking:
    """One sensor or schedule with its newest ticks, the newest first."""

    state: InstigatorState
    ticks: Sequence[InstigatorTick]

    @property
    def is_sensor(self) -> bool:
        return self.state.instigator_type is InstigatorType.SENSOR

    @property
    def every(self) -> timedelta:
        """The interval of a sensor."""
        data = self.state.sensor_instigator_data
        return timedelta(seconds=(data.min_interval if data else None) or 30)

    @property
    def last(self) -> float:
        """When it began to tick last; 0 if it never has."""
        return self.ticks[0].timestamp if self.ticks else 0.0

    @property
    def ended(self) -> Sequence[InstigatorTick]:
        """Its ticks but for one that is at work: what was before says whether things work."""
        return [tick for tick in self.ticks if tick.status is not TickStatus.STARTED]

    @property
    def failed_in_a_row(self) -> Sequence[InstigatorTick]:
        """The newest ticks that failed, up to the first one that did not."""
        failed: list[InstigatorTick] = []
        for tick in self.ended:
            if tick.status is not TickStatus.FAILURE:
                break
            failed.append(tick)
        return failed

    @property
    def why_failed(self) -> str:
        """Why its newest tick failed; empty where it did not, or no reason is kept."""
        failed = self.failed_in_a_row
        return cause_of(failed[0].error)[1] if failed and failed[0].error else ""

    @property
    def is_failing(self) -> bool:
        """Whether it has failed so often that it is told."""
        failed = len(self.failed_in_a_row)
        return failed >= FAILURES_BORNE or (failed > 0 and (not self.is_sensor or self.every >= OFTEN_INTERVAL))


def all_states(instance: dg.DagsterInstance) -> list[InstigatorState]:
    """Every state that C4's code location, under either of its names, has left in the instance."""
    if instance.schedule_storage is None:  # an instance in memory, which has no daemon
        return []
    ours = (CODE_LOCATION_NAME, CODE_LOCATION_MODULE)
    return [state for state in instance.all_instigator_state() if state.origin.location_name in ours]


def all_kept(instance: dg.DagsterInstance) -> Iterator[Ticking]:
    """The states of :func:`all_states`, each with its newest ticks."""
    for state in all_states(instance):
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILURES_BORNE + 1)
        yield Ticking(state, ticks)


def in_use(kept: Iterable[Ticking]) -> list[Ticking]:
    """Of each name that this release has, the state that has ticked last."""
    newest: dict[str, Ticking] = {}
    for each in kept:
        name = each.state.name
        if name in SENSORS_AND_SCHEDULES and (name not in newest or each.last > newest[name].last):
            newest[name] = each
    return list(newest.values())
