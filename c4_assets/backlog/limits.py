"""Decides from observations what limits the backlog now: a pure function, so that every case can be tested."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from resources.wording import counted, duration

Name = Literal[
    "nothing",
    "paused",
    "not started",
    "daemon",
    "no answer",
    "staging",
    "fetch",
    "decode",
    "model",
    "database",
    "slurm",
    "overhead",
    "share",
    "unknown",
]

NO_RUN_WORKS: tuple[Name, ...] = ("paused", "not started", "daemon")
"""Limits that end by themselves at no time: no rate of earlier days tells when the backlog ends."""

FETCH, CLASSIFY, PREDICT, WRITE = "raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores"
STEPS = (FETCH, CLASSIFY, PREDICT, WRITE)

MAX_DAEMON_SILENCE = timedelta(minutes=5)
"""Silence after which the daemon counts as stopped. It sends a heartbeat every half minute."""

BUSY_LOAD_PER_CORE = 0.9
"""Runnable processes per core from which on one more run makes nothing faster."""


@dataclass(frozen=True)
class StepTimes:
    """What the steps of one asset did in the last hour, over all observed runs, in seconds.

    ``held`` is the time before they were launched (they wait for a slot of their pool), ``queued`` from then until they
    ran (in the Slurm queue, or starting a process), ``working`` until they ended. ``images`` and ``took`` (seconds) are
    of the newest materialisations and give their rate. ``retrying`` is the number of steps that have failed and wait
    for their next attempt; ``trouble`` is the message of one such failure.
    """

    held: float = 0.0
    queued: float = 0.0
    working: float = 0.0
    images: int = 0
    took: float = 0.0
    retrying: int = 0
    trouble: str = ""

    @property
    def per_second(self) -> float:
        """Images per second of one step while it works, 0 if unknown."""
        return self.images / self.took if self.took else 0.0


@dataclass(frozen=True)
class Pool:
    """A pool of Dagster: its limit, slots that are taken, and steps that wait for one."""

    limit: int
    taken: int = 0
    waiting: int = 0

    @property
    def is_full(self) -> bool:
        return self.waiting > 0 and self.taken >= self.limit


@dataclass(frozen=True)
class Observations:
    """The facts that the decision is made from. ``None`` stands for what could not be observed."""

    pending: int = 0
    backfills: int = 0
    """Number of running backfills."""
    paused: int = 0
    daemon_silent: timedelta | None = timedelta()
    """Time since the daemon's last heartbeat; ``None`` if there never was one."""
    runs_queued: int = 0
    runs_started: int = 0
    share: int | None = None
    """Most runs of backfills at the same time."""
    max_runs: int | None = None
    """Most runs of any kind at the same time."""
    all_runs_started: int = 0
    steps: Mapping[str, StepTimes] = field(default_factory=dict[str, StepTimes])
    model_waited: float = 0.0
    model_computed: float = 0.0
    pools: Mapping[str, Pool] = field(default_factory=dict[str, Pool])
    staged: int = 0
    staging_room: int = 1
    """``staged`` and ``staging_room`` are the bytes that are staged, and that may be."""
    slurm: bool = False
    """Whether steps are Slurm jobs. Otherwise ``queued`` is not a queue but the start of processes."""
    load_per_core: float | None = None
    """Runnable processes per core of the machine that runs the steps."""


@dataclass(frozen=True)
class Limit:
    """What limits the backlog, by name and in a sentence for the operator."""

    name: Name
    why: str


def limit(observed: Observations) -> Limit:
    """Names the one thing that limits the backlog now."""
    return _idle_limit(observed) or _blocking_limit(observed) or _slowest_limit(observed)


def _idle_limit(observed: Observations) -> Limit | None:
    """Why no run works on the backlog, if none does."""
    if not observed.pending:
        return Limit("nothing", "Nothing that was counted is pending.")
    if not observed.backfills:
        if observed.paused:
            return Limit("paused", f"{counted(observed.paused, 'backfill')} paused: `c4 backlog resume` goes on.")
        return Limit("not started", "No backfill runs: `c4 backlog start` begins one.")
    if observed.daemon_silent is None or observed.daemon_silent > MAX_DAEMON_SILENCE:
        since = f"for {duration(observed.daemon_silent)}" if observed.daemon_silent else "ever"
        return Limit(
            "daemon", f"Dagster's daemon has given no sign of life {since}, and it starts the runs: is it running?"
        )
    return None


def _blocking_limit(observed: Observations) -> Limit | None:
    """What blocks steps at this moment, however long they took before."""
    for name, what in ((FETCH, "storage host or the database"), (CLASSIFY, "classifier"), (WRITE, "database")):
        step = observed.steps.get(name, StepTimes())
        if step.retrying and step.retrying >= observed.runs_started:
            said = f": {step.trouble}" if step.trouble else ""
            return Limit(
                "no answer",
                f"The {what} failed; to be tried again: {counted(step.retrying, 'step')} of {name}{said}",
            )
    if observed.staged >= observed.staging_room:
        share = f"{observed.staged / 1e9:.1f} of {observed.staging_room / 1e9:.1f} GB are staged"
        behind = max(_classification(observed).items(), key=lambda part: part[1])[0]
        return Limit(
            "staging", f"{share}, so fetching waits for classification, whose limit is {_DESCRIPTIONS[behind]}."
        )
    for pool, name in _POOLS.items():
        state = observed.pools.get(pool)
        if state and state.is_full:
            slots = f"all {state.limit} slots of the pool {pool} are taken, {counted(state.waiting, 'step')} waiting"
            return Limit(name, f"{_DESCRIPTIONS[name].capitalize()}: {slots}{_rate(observed, name)}.")
    return None


def _slowest_limit(observed: Observations) -> Limit:
    """What runs spend most of their time on; or the backlog's share of runs, if more of them would help."""
    parts = _seconds_by_limit(observed)
    spent = sum(parts.values())
    waits_for_a_place = observed.runs_queued > 0
    if not spent:
        if waits_for_a_place and not observed.runs_started:
            return Limit(
                "share", f"{counted(observed.runs_queued, 'run')} queued and none started: {_queue_reason(observed)}."
            )
        return Limit("unknown", "No step has worked within the last hour: ask again when one has.")
    name: Name = max(parts, key=lambda part: parts[part])
    most = f"{_DESCRIPTIONS[name]} takes {100 * parts[name] / spent:.0f} % of a run's time{_rate(observed, name)}"
    if name == "slurm":
        return Limit(name, f"Slurm: {most}. The cluster has no node free for the steps.")
    if waits_for_a_place and not (observed.load_per_core is not None and observed.load_per_core >= BUSY_LOAD_PER_CORE):
        return Limit(
            "share",
            f"{counted(observed.runs_queued, 'run')} queued: {_queue_reason(observed)}. Of those started, {most}.",
        )
    if observed.load_per_core is not None and observed.load_per_core >= BUSY_LOAD_PER_CORE:
        most += f"; the cores of this machine are busy ({observed.load_per_core:.1f} processes a core)"
    if name == "overhead":
        most += ". More days a run (C4_RUNS_BACKFILL_DAYS) cost less of it"
    return Limit(name, f"{most[0].upper()}{most[1:]}.")


_DESCRIPTIONS: dict[Name, str] = {
    "fetch": "fetching",
    "decode": "decoding",
    "model": "the neural network",
    "database": "the database",
    "slurm": "waiting in the queue",
    "overhead": "starting steps",
}


_POOLS: dict[str, Name] = {"image_store": "fetch", "imaging_database": "database"}


def _seconds_by_limit(observed: Observations) -> dict[Name, float]:
    """Seconds that runs spent in the last hour, by limit."""
    steps = {name: observed.steps.get(name, StepTimes()) for name in STEPS}
    queued = sum(step.queued for step in steps.values())
    between = steps[CLASSIFY].held + steps[PREDICT].held + steps[PREDICT].working
    return {
        "fetch": steps[FETCH].held + steps[FETCH].working,
        **_classification(observed),
        "database": steps[WRITE].held + steps[WRITE].working,
        "slurm": queued if observed.slurm else 0.0,
        "overhead": between + (0.0 if observed.slurm else queued),
    }


def _classification(observed: Observations) -> dict[Name, float]:
    """Seconds of classifying, divided by the times that models waited for the decoder and computed."""
    working = observed.steps.get(CLASSIFY, StepTimes()).working
    known = observed.model_waited + observed.model_computed
    decode = observed.model_waited / known if known else 0.0
    return {"model": working * (1 - decode), "decode": working * decode}


def _rate(observed: Observations, name: Name) -> str:
    step = observed.steps.get({"fetch": FETCH, "decode": CLASSIFY, "model": CLASSIFY}.get(name, ""), StepTimes())
    return f" ({step.per_second:.1f} images a second and step)" if step.per_second else ""


def _queue_reason(observed: Observations) -> str:
    if observed.share is not None and observed.runs_started >= observed.share:
        return f"the backlog's share is {counted(observed.share, 'run')} at a time (dagster.yaml, dagster/backfill)"
    if observed.max_runs is not None and observed.all_runs_started >= observed.max_runs:
        return f"{observed.max_runs} runs are started, and dagster.yaml allows no more (max_concurrent_runs)"
    return "they wait for the daemon or for a run of the same days"
