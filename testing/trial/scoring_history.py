"""One backfill of a whole history, from pressing the button to the last score, with hourly runs and faults in it."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import dagster as dg

from resources.errors import Unavailable
from resources.imaging_database.work import pending_by_day
from testing.trial.dagster_ui import Backfill, backfill, launch_backfill, launch_run
from testing.trial.deployment import wait_until
from testing.trial.faults import Fault
from testing.trial.history import image_plate_now
from testing.trial.site import BACKFILL_TAG, Site
from testing.trial.verdict import scored

LONGEST_S = 4 * 3600
PASSES = 3
HOURLY = {"dagster/priority": "10"}


@dataclass
class Struck:
    """A fault: what was hit, how much was scored then, and the seconds from its mending to the next score.

    Of faults at the heels of each other only the last one's seconds are known; the others' are 0.
    """

    name: str
    hit: str
    scored: int
    recovered_s: float


@dataclass
class Outcome:
    """What a trial of a backfill took. Seconds are of the wall, CPU seconds of the whole machine."""

    images: int
    launch_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    passes: int = 0
    runs: Mapping[str, int] = field(default_factory=dict[str, int])
    idle_s: float = 0.0
    instance_bytes: int = 0
    daemon_mb: float = 0.0
    hourly_alone: list[float] = field(default_factory=list[float])
    hourly_during: list[float] = field(default_factory=list[float])
    struck: list[Struck] = field(default_factory=list[Struck])

    @property
    def all_runs(self) -> int:
        """Runs of the backfill, those that were tried again included."""
        return sum(self.runs.values())


def score_history(
    site: Site, faults: Mapping[str, Fault], outage: float, hourly: int = 0, spread: bool = True
) -> Outcome:
    """Scores a history by backfills, and strikes it with faults on the way.

    A backfill that leaves something pending is followed by another one over what it has left, as an operator does: with
    no faults, and with all those that a deployment overcomes by itself, there is one pass.

    Args:
        hourly: how many runs of today are timed before it, and as many during it.
        spread: the faults strike spread over what is to be scored; otherwise one at the heels of the other, as soon as
            images are staged.

    Raises:
        RuntimeError: something is still pending after several passes.
    """
    outcome = Outcome(site.plan.history.images)
    outcome.hourly_alone = [time_hourly_run(site, number) for number in range(hourly)]
    before_bytes, cpu, started = site.instance_bytes(), machine_cpu_seconds(), time.monotonic()
    days = [day.isoformat() for day in site.plan.history.dates]
    while days:
        if outcome.passes == PASSES:
            raise RuntimeError(f"{len(days)} days are still pending after {PASSES} backfills: {days[:5]}")
        pressed = time.monotonic()
        backfill_id = launch_backfill(site.deployment, days)
        if not outcome.passes:
            outcome.launch_s = time.monotonic() - pressed
            if site.plan.late_daemon:
                site.deployment.start_daemon()
            wait_until("a run of the backfill is at work", lambda: _at_work(site), 300)
            outcome.hourly_during = [time_hourly_run(site, hourly + number) for number in range(hourly)]
            outcome.struck = strike(site, faults, outage, backfill_id, spread)
        wait_until("the backfill has ended", lambda of=backfill_id: state(site, of).ended, LONGEST_S)
        outcome.passes += 1
        pending = pending_by_day(site.database, site.scorer_version, site.settings.runs.max_attempts)
        days = sorted(day.isoformat() for day in pending)
    outcome.wall_s, outcome.cpu_s = time.monotonic() - started, machine_cpu_seconds() - cpu
    outcome.instance_bytes = site.instance_bytes() - before_bytes
    outcome.daemon_mb = peak_memory_of(site.deployment.daemon_pid)
    outcome.runs, outcome.idle_s = _runs(site)
    return outcome


def strike(site: Site, faults: Mapping[str, Fault], outage: float, backfill_id: str, spread: bool) -> list[Struck]:
    """Strikes with one fault after another: spread over what is to be scored, or each as soon as images are staged.

    Raises:
        RuntimeError: the backfill was over before a fault could strike: there was too little to do.
    """
    struck: list[Struck] = []

    def gone_on() -> bool:
        return scored_now(site) > struck[-1].scored or _over(site, backfill_id)

    for number, (name, fault) in enumerate(faults.items(), start=1):
        due = site.plan.history.images * number // (len(faults) + 2) if spread else 0
        wait_until(
            f"{due} images are scored and others are staged",
            lambda due=due: (scored_now(site) >= due and (spread or _in_the_middle(site))) or _over(site, backfill_id),
            7200,
        )
        if _over(site, backfill_id):
            raise RuntimeError(f"The backfill was over before {name} could be struck: give it more to do.")
        hit = fault(site, outage)
        mended = time.monotonic()
        struck.append(Struck(name, hit, scored_now(site), 0.0))
        if spread or number == len(faults):
            wait_until(f"the backfill goes on after {name}", gone_on, 1800)
            struck[-1].recovered_s = time.monotonic() - mended
    return struck


def time_hourly_run(site: Site, number: int) -> float:
    """Images a plate, runs today's job as the sensor asks for it, and returns the seconds from asking to its end.

    Raises:
        RuntimeError: the run failed.
    """
    image_plate_now(site.database, site.plan.history, number)
    today = datetime.now(UTC).date().isoformat()
    run_id = launch_run(site.deployment, "score_images", {**HOURLY, "dagster/partition": today})
    instance = site.deployment.instance
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    wanted = dg.RunsFilter(run_ids=[run_id], statuses=ended)
    wait_until(f"the hourly run {run_id} has ended", lambda: instance.get_runs(wanted), 1800)
    (record,) = instance.get_run_records(wanted)
    if record.dagster_run.status is not dg.DagsterRunStatus.SUCCESS:
        raise RuntimeError(f"the hourly run {run_id} ended as {record.dagster_run.status.value}")
    return (record.end_time or 0.0) - record.create_timestamp.timestamp()


def scored_now(site: Site) -> int:
    """Images that have a score; -1 while the database is away."""
    try:
        return scored(site)
    except Unavailable:
        return -1


def state(site: Site, backfill_id: str) -> Backfill:
    """How a backfill stands; as under way while the webserver is too busy to say."""
    try:
        return backfill(site.deployment, backfill_id)
    except OSError:
        return Backfill("REQUESTED", 0)


def machine_cpu_seconds() -> float:
    """CPU seconds that all processes of the machine have used since it started, the kernel's included."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / 100


def peak_memory_of(pid: int) -> float:
    """Most memory that a process has had so far, MB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM:"))


def _at_work(site: Site) -> bool:
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    return any(BACKFILL_TAG in run.tags for run in site.deployment.instance.get_runs(wanted))


def _in_the_middle(site: Site) -> bool:
    """Whether images lie between fetching and writing back. A run that has just started does nothing yet."""
    with suppress(FileNotFoundError):  # a folder may go while it is looked at
        return _at_work(site) and any(path.is_file() for path in site.settings.staging.rglob("*"))
    return False


def _over(site: Site, backfill_id: str) -> bool:
    return state(site, backfill_id).ended


def _runs(site: Site) -> tuple[dict[str, int], float]:
    """How many runs of backfills ended how, and the median seconds of a run in which no step was at work."""
    counts: dict[str, int] = {}
    idle: list[float] = []
    for record in site.deployment.instance.get_run_records():
        run = record.dagster_run
        if BACKFILL_TAG not in run.tags:
            continue
        counts[run.status.value] = counts.get(run.status.value, 0) + 1
        if run.status is dg.DagsterRunStatus.SUCCESS:
            idle.append(_idle_seconds(site.deployment.instance, record))
    return counts, median(idle) if idle else 0.0


def _idle_seconds(instance: dg.DagsterInstance, record: dg.RunRecord) -> float:
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.PIPELINE_STARTING}
    at: dict[tuple[str | None, str], float] = {}
    for event_record in instance.get_records_for_run(record.dagster_run.run_id, of_type=kinds).records:
        event = event_record.event_log_entry.dagster_event
        if event:
            at[event.step_key, event.event_type_value] = event_record.timestamp
    launched = at[None, "PIPELINE_STARTING"]
    busy = [at[step, "STEP_SUCCESS"] - began for (step, kind), began in at.items() if kind == "STEP_START"]
    return (record.end_time or launched) - launched - sum(busy)
