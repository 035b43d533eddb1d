"""Checks of the Dagster instance: its storage, file, daemons, ticks, pools and runs.

Each is a function of an open instance that says what it has seen; time is an argument where time matters.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import yaml
from dagster._daemon.daemon import DAEMON_HEARTBEAT_ERROR_LIMIT

from c4_assets.operations.doctor.examine import Check
from c4_assets.runs.causes import cause_of
from c4_assets.runs.dagster_yaml import is_the_sites_own, missing_keys, put_dagster_yaml
from c4_assets.runs.lost_runs import end_lost_runs, find_lost_runs, free_slots
from c4_assets.runs.pools import POOLS
from c4_assets.runs.ticking import SENSORS_AND_SCHEDULES, SILENT_AFTER, Ticking, all_kept, in_use
from resources.errors import ConfigurationError, Unavailable
from resources.findings import Finding, Verdict
from resources.redaction import beginning
from resources.wording import duration

SECTION = "Dagster"

FREED_AFTER = timedelta(minutes=5)
"""Run monitoring frees the slots of an ended run after one minute, at its next turn."""

RENAMED_WITHIN = timedelta(days=30)
"""A sensor's state that nothing has used for longer than this is of no interest any more."""

BOTH_WITHIN = timedelta(days=1)
"""Two code locations have both a sensor that ticks if both states were used within this time."""

STORAGE = "dagster.storage"


class OpenedInstance:
    """The instance, once the check of its storage has opened it."""

    def __init__(self, open_instance: Callable[[], dg.DagsterInstance]) -> None:
        self._open = open_instance
        self._instance: dg.DagsterInstance | None = None

    def open(self) -> dg.DagsterInstance:
        """Opens it, and asks its storage something."""
        instance = self._open()
        instance.get_runs_count()
        self._instance = instance
        return instance

    def __call__(self) -> dg.DagsterInstance:
        if self._instance is None:
            raise RuntimeError("the storage has not been opened")
        return self._instance


def instance_checks(
    home: Path,
    shipped: Callable[[], str],
    opened: OpenedInstance,
    prepare: Callable[[], object],
    now: Callable[[], datetime],
) -> list[Check]:
    """The checks of this section.

    Args:
        home: ``DAGSTER_HOME``.
        shipped: the ``dagster.yaml`` that C4 has for these settings.
        prepare: makes the home of a new deployment.
    """

    def prepared() -> Iterator[str]:
        prepare()
        yield f"prepared {home}"

    def renewed() -> Iterator[str]:
        put_dagster_yaml(home / "dagster.yaml", shipped())
        yield f"renewed {home / 'dagster.yaml'}"

    def ended() -> Iterator[str]:
        for each in end_lost_runs(opened()):
            yield f"ended a dead run. {each}"

    def freed() -> Iterator[str]:
        for run_id in sorted({run_id for _, run_id in leaked_slots(opened(), now())}):
            free_slots(opened(), run_id)
            yield f"freed the slots of run {run_id[:8]}"

    after = (STORAGE,)
    away = (
        "Its database hangs or is not reached: see whether PostgreSQL at DAGSTER_POSTGRES_HOST answers (`pg_isready`), "
        "or whether the disk of DAGSTER_HOME does."
    )
    return [
        Check("dagster.yaml", SECTION, "dagster.yaml", lambda: [dagster_yaml(home, shipped())], mend=renewed),
        Check(STORAGE, SECTION, "Dagster's storage", lambda: [storage(home, opened)], silence=away, mend=prepared),
        Check("dagster.daemons", SECTION, "daemons", lambda: daemons(opened(), now()), after),
        Check("dagster.ticks", SECTION, "sensors and schedules", lambda: ticks(opened(), now()), after),
        Check("dagster.pools", SECTION, "pools", lambda: pools(opened(), now()), after, mend=freed),
        Check("dagster.runs", SECTION, "runs", lambda: runs(opened()), after, mend=ended),
    ]


def dagster_yaml(home: Path, shipped: str) -> Finding:
    """Whether the file is there, is C4's of these settings, or lacks nothing of it."""
    id_, file = "dagster.yaml", home / "dagster.yaml"
    if not file.exists():
        fix = "C4 writes it when it first opens the instance: `c4 doctor --fix`, or `c4 ui`."
        if file.is_symlink():
            fix = f"It is a link to {file.readlink()}: bring that file back, or remove the link."
        return Finding(id_, f"{file} is not there", Verdict.FAILED, fix, safe=not file.is_symlink())
    if not is_the_sites_own(file):
        if file.read_text(encoding="utf-8") == shipped:
            return Finding(id_, f"{file} is C4's, of these settings")
        what = f"{file} is C4's of other settings or of another release"
        return Finding(
            id_, what, Verdict.WARNED, "`c4 doctor --fix` or the next start of `c4 ui` renews it.", safe=True
        )
    try:
        yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return Finding(id_, f"{file} is not YAML", Verdict.FAILED, str(error))
    if lacking := missing_keys(file, shipped):
        fix = "Take them over from what C4 has for these settings: `c4 config --dagster-yaml`."
        return Finding(id_, f"{file} is the site's own and lacks {', '.join(lacking)}", Verdict.FAILED, fix)
    return Finding(id_, f"{file} is the site's own and has what C4 needs")


def storage(home: Path, opened: OpenedInstance) -> Finding:
    """Whether the instance can be opened and asked."""
    if not (home / "dagster.yaml").exists():  # opening it would make SQLite's files
        fix = "`c4 doctor --fix`, or the first `c4 run` or `c4 ui`, makes it."
        return Finding(STORAGE, f"there is no Dagster instance in {home} yet", Verdict.FAILED, fix, safe=True)
    try:
        instance = opened.open()
    except Unavailable as error:
        return Finding(STORAGE, f"the Dagster instance in {home} is being made", Verdict.NOT_SEEN, str(error))
    except Exception as error:  # its storages raise whatever their drivers do
        cause = error.__cause__ if isinstance(error, ConfigurationError) and error.__cause__ else error
        why = str(error) if isinstance(cause, OSError) else _why(cause)
        return Finding(STORAGE, f"the Dagster instance in {home} cannot be opened", Verdict.FAILED, why)
    name = type(instance.run_storage).__name__
    return Finding(STORAGE, f"the storage answers ({'PostgreSQL' if 'Postgres' in name else 'SQLite'})")


def _why(error: BaseException) -> str:
    """The line of an error that says most: Dagster's own begin with the whole schema of a configuration."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = next((line for line in lines if "environment variable" in line), lines[0])
    said = said[said.find("You have attempted") :] if "You have attempted" in said else said
    return f"{beginning(said, 300).rstrip('.')}. See runs.dagster_storage, and dagster.yaml there."


def daemons(instance: dg.DagsterInstance, now: datetime) -> Iterator[Finding]:
    """Whether each daemon that this instance needs has given a sign of life, and told of no error."""
    id_ = "dagster.daemons"
    needed, beats = instance.get_required_daemon_types(), instance.get_daemon_heartbeats()
    if not any(name in beats for name in needed):
        fix = "Nothing is scored by itself without one: start `c4 ui` or its service (docs/operations.md)."
        yield Finding(id_, "no daemon has run here yet", Verdict.WARNED, fix)
        return
    since = {name: now - datetime.fromtimestamp(beats[name].timestamp, UTC) for name in needed if name in beats}
    silent = [name for name in needed if name not in since or since[name] > SILENT_AFTER]
    for name in silent:
        how = f"is silent for {duration(since[name])}" if name in since else "has never given a sign of life"
        fix = "See why it ended (`journalctl -u c4-daemon` where systemd runs it), and start it again, or `c4 ui`."
        yield Finding(id_, f"the daemon {name} {how}", Verdict.FAILED, fix)
    failing: list[str] = []
    for name in needed:
        if name not in silent and (errors := beats[name].errors):
            said = cause_of(errors[0])[1]
            if len(errors) < DAEMON_HEARTBEAT_ERROR_LIMIT:
                yield Finding(id_, f"the daemon {name} tells of an error", Verdict.WARNED, said)
                continue
            failing.append(name)
            fix = f"It says: {said}. If it still does after five minutes, restart `c4 ui` or the services."
            yield Finding(id_, f"the daemon {name} fails again and again", Verdict.FAILED, fix)
    if not silent and not failing:
        yield Finding(id_, f"all {len(needed)} daemons live")


def ticks(instance: dg.DagsterInstance, now: datetime) -> Iterator[Finding]:
    """Which sensors and schedules are stopped or fail, and which have a state that is of no use any more."""
    id_ = "dagster.ticks"
    kept = list(all_kept(instance))
    trouble = list(_strays(kept, now))
    used = in_use(kept)
    for each in used:
        name, kind = each.state.name, each.state.instigator_type.value.lower()
        if not each.state.is_running:
            fix = f"Start it again: in the UI, Automation, the switch of {name}. Or say who stopped it, and why."
            trouble.append(Finding(id_, f"the {kind} {name} is stopped", Verdict.FAILED, fix))
        elif failed := each.failed_in_a_row:
            said = each.why_failed or "no reason is kept"
            often = "its last tick has" if len(failed) == 1 else f"its last {len(failed)} ticks have"
            verdict = Verdict.FAILED if each.is_failing else Verdict.WARNED
            trouble.append(Finding(id_, f"the {kind} {name} fails: {often} failed", verdict, f"It says: {said}"))
    yield from trouble
    if not trouble:
        yield Finding(id_, f"no sensor or schedule is stopped or fails ({len(used)} have run)")


def _strays(kept: Sequence[Ticking], now: datetime) -> Iterator[Finding]:
    """States that a renamed sensor, or a renamed code location, has left: whoever took over has begun anew."""
    places: dict[str, set[str]] = defaultdict(set)
    for each in kept:
        name, ago = each.state.name, timedelta(seconds=now.timestamp() - each.last)
        if name not in SENSORS_AND_SCHEDULES and ago < RENAMED_WITHIN:
            what = f"{name} has a state, and this release has no sensor or schedule of that name"
            fix = "It was renamed: see in the UI, Automation, that what took its place is on. Its cursor began anew."
            yield Finding("dagster.ticks", what, Verdict.WARNED, fix)
        elif name in SENSORS_AND_SCHEDULES and ago < BOTH_WITHIN:
            places[name].add(each.state.selector.location_name)
    for name, locations in places.items():
        if len(locations) > 1:
            what = f"{name} has a state in each of the code locations {' and '.join(sorted(locations))}"
            fix = (
                "Both ask for runs: let every service load the same workspace.yaml, and stop the one that is not meant."
            )
            yield Finding("dagster.ticks", what, Verdict.WARNED, fix)


def leaked_slots(instance: dg.DagsterInstance, now: datetime) -> list[tuple[str, str]]:
    """Slots that runs hold which have ended or are gone: the pool, and the run's id."""
    events = instance.event_log_storage
    held = [
        (pool, slot.run_id)
        for pool in sorted({*events.get_concurrency_keys(), *POOLS})
        for slot in events.get_concurrency_info(pool).claimed_slots
    ]
    ids = sorted({run_id for _, run_id in held})
    records: Sequence[dg.RunRecord] = instance.get_run_records(dg.RunsFilter(run_ids=ids)) if ids else ()
    known = {record.dagster_run.run_id: record for record in records}
    latest = now.timestamp() - FREED_AFTER.total_seconds()

    def is_leaked(run_id: str) -> bool:
        record = known.get(run_id)
        if record is None:
            return True
        return record.dagster_run.is_finished and (record.end_time or record.update_timestamp.timestamp()) < latest

    return [(pool, run_id) for pool, run_id in held if is_leaked(run_id)]


def pools(instance: dg.DagsterInstance, now: datetime) -> Iterator[Finding]:
    """Whether slots are held by runs that are over, and whether a pool lets anything through."""
    id_ = "dagster.pools"
    leaked: dict[str, list[str]] = defaultdict(list)
    for pool, run_id in leaked_slots(instance, now):
        leaked[pool].append(run_id[:8])
    for pool, ids in leaked.items():
        what = f"{len(ids)} slots of the pool {pool} are held by runs that are over ({', '.join(sorted(set(ids))[:3])})"
        fix = "`c4 doctor --fix` frees them; in the UI: Deployment, Concurrency."
        yield Finding(id_, what, Verdict.FAILED, fix, safe=True)
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    shut = [pool for pool in POOLS if limits.get(pool) == 0]
    for pool in shut:
        fix = f"In the UI: Deployment, Concurrency, give {pool} its limit again ({POOLS[pool]} by default)."
        yield Finding(id_, f"the pool {pool} has the limit 0, so that its steps wait for ever", Verdict.FAILED, fix)
    if not leaked and not shut:
        told = ", ".join(f"{pool} {limits.get(pool, limit)}" for pool, limit in POOLS.items())
        yield Finding(id_, f"no slot of a pool is held by a run that is over (limits: {told})")


def runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Whether a run counts as being at work whose process is gone."""
    lost = find_lost_runs(instance)
    for each in lost:
        fix = "`c4 doctor --fix` ends it; so does the sensor lost_runs within a minute, where a daemon runs."
        yield Finding("dagster.runs", f"a run is dead: {each}", Verdict.FAILED, fix, safe=True)
    if not lost:
        yield Finding("dagster.runs", "every run that is started has its process")
