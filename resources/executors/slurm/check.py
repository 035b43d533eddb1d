"""Checks a site's Slurm settings, from this machine and, by a small job, from a compute node of each kind."""

import json
import sys
import time
import uuid
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from resources.clock_skew import skew
from resources.errors import C4Error
from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.probe import SharedView, shared_view
from resources.executors.slurm.script import JobScript, Step, write_script
from resources.executors.slurm.shared_files import refuse_sqlite_on_network_file_system
from resources.executors.slurm.site import open_transport, plan_step
from resources.executors.step_resources import StepResources
from resources.file_lock import locked
from resources.findings import Finding, Verdict
from resources.secret_files import CHMOD_PRIVATE, is_too_open
from resources.settings import JobOptions, Settings, Site, SubmitRules

SERVICES = {"image_store": "the image store", "imaging_database": "the imaging database"}
"""Names of resources in messages."""

PROBE_RESOURCES = {"cpu": StepResources(minutes=5), "gpu": StepResources(gpus=1, minutes=5)}


def check_site(
    site: Site,
    settings: Settings,
    instance: dg.DagsterInstance,
    kinds: tuple[str, ...],
    patience: float,
    needs: Mapping[str, Collection[str]] | None = None,
) -> Iterator[Finding]:
    """Checks everything that a run on Slurm needs; stops where the rest cannot be checked.

    Args:
        kinds: of :data:`PROBE_RESOURCES`, those to send a job to.
        patience: seconds that each job may take, waiting included.
        needs: of each kind, which of :data:`SERVICES` its steps use on compute nodes.
    """
    client = SlurmClient(open_transport(site))
    try:
        yield from _check_from_here(client, site, instance)
        if site.backfill != SubmitRules():
            for kind in kinds:
                yield _check_backfill_job(client, site, settings, instance, kind)
        for kind in kinds:
            probe = _Probe(site, settings, instance, kind, tuple((needs or {}).get(kind, ())))
            yield from _check_from_a_node(client, probe, patience)
    except C4Error as error:
        yield _line("slurm.answers", "Slurm", str(error))
    finally:
        client.transport.close()


def _line(id_: str, what: str, fix: str = "") -> Finding:
    """What was checked, and what to fix if it does not work."""
    return Finding(id_, what, Verdict.FAILED if fix else Verdict.PASSED, fix)


def _short(folder: str) -> str:
    """``archive`` of ``archive (C4_DATA)``."""
    return folder.partition(" ")[0]


def _check_from_here(client: SlurmClient, site: Site, instance: dg.DagsterInstance) -> Iterator[Finding]:
    where = client.transport.name
    yield _line("slurm.answers", f"{client.version()} on {where}")
    if greeting := client.transport.greeting:
        said = f"the shell of {where} greets every session, which C4 leaves out: {greeting}"
        yield _line("slurm.greeting", said)
    if site.environment_file:
        yield _check_environment_file(client, site.environment_file)
    partitions = client.partitions()
    gpus = sum(partition.gpus for partition in partitions.values())
    yield _line("slurm.partitions", f"partitions: {', '.join(partitions)}" + ("" if gpus else "; none has GPUs"))
    rules = {
        ".".join(("slurm", *above, *key)): options
        for above, each in (((), site), (("backfill",), site.backfill))
        for key, options in _rules(each)
    }
    for key, options in rules.items():
        for name in _names(options):
            if name not in partitions:
                yield _line(
                    f"{key}.partition",
                    f"partition of {key}",
                    f"There is no partition {name}; set it to one of those above.",
                )
            elif not partitions[name].up:
                yield _line(
                    f"{key}.partition",
                    f"partition of {key}",
                    f"Partition {name} is down: ask the cluster's administrators.",
                )
    for_gpus = _names(plan_step(site, "", PROBE_RESOURCES["gpu"])[1])
    if for_gpus and not any(partitions[name].gpus for name in for_gpus if name in partitions):
        names = " and ".join(for_gpus)
        yield _line(
            "slurm.gpus", "GPUs", f"There are none in partition {names}: set slurm.gpu.partition to one that has some."
        )
    accounts = client.keeps_accounts()
    yield _line(
        "slurm.accounts",
        "accounts (sacct)" if accounts else "no accounts (sacct): max memory and who cancelled stay unknown",
    )
    try:
        refuse_sqlite_on_network_file_system(instance)
        yield _line("slurm.dagster", "the Dagster instance may be shared")
    except C4Error as error:
        yield _line("slurm.dagster", "the Dagster instance", str(error))


def _names(options: JobOptions) -> list[str]:
    """The partitions of jobs: sbatch takes several, separated by commas."""
    return [name for name in (options.partition or "").split(",") if name]


def _check_environment_file(client: SlurmClient, file: Path) -> Finding:
    done = client.transport.run(["stat", "--dereference", "--format=%a", str(file)])
    mode = done.out.strip()
    if done.code or not mode.isdigit():
        why = done.err.strip() or f"stat said {mode!r}"
        return _line(
            "slurm.environment_file", "environment_file", f"It cannot be read on {client.transport.name}: {why}."
        )
    if is_too_open(int(mode, 8)):
        return _line(
            "slurm.environment_file",
            "environment_file",
            f"Others may read or change it (mode {mode}), and it holds passwords: chmod {CHMOD_PRIVATE} {file}",
        )
    return _line("slurm.environment_file", f"environment_file {file} is nobody else's")


def _rules(rules: SubmitRules) -> Iterator[tuple[tuple[str, ...], JobOptions]]:
    yield (), rules
    yield ("cpu",), rules.cpu
    yield ("gpu",), rules.gpu
    yield from ((("steps", name), options) for name, options in rules.steps.items())


def _check_backfill_job(
    client: SlurmClient, site: Site, settings: Settings, instance: dg.DagsterInstance, kind: str
) -> Finding:
    """Checks whether Slurm would accept a backfill's job. None is submitted: it might wait long behind hourly ones."""
    script = _Probe(site, settings, instance, kind).script("", backfill=True)
    _, options = plan_step(site, "", PROBE_RESOURCES[kind], backfill=True)
    client.write_file(script.path, script.text)
    if refusal := client.refusal(script.path):
        return _line(
            f"slurm.backfill.{kind}", f"a {kind} job of a backfill", f"{refusal} See slurm.backfill in the settings."
        )
    said = options.model_dump(include={"partition", "account", "qos", "nice"}, exclude_none=True)
    where = ", ".join(f"{name} {value}" for name, value in said.items())
    said = f"a {kind} job of a backfill would be taken ({where or 'as any other'})"
    return _line(f"slurm.backfill.{kind}", said)


@dataclass(frozen=True)
class _Probe:
    """A job that sees what steps of a kind would see."""

    site: Site
    settings: Settings
    instance: dg.DagsterInstance
    kind: str
    needs: tuple[str, ...] = ()
    run_id: str = field(default_factory=lambda: f"check-{uuid.uuid4().hex[:12]}")

    @property
    def answer(self) -> Path:
        """The file that the job writes: its standard output may have words of the prologue."""
        return self.site.folder / self.run_id / f"{self.kind}.json"

    def script(self, lock: str, backfill: bool = False) -> JobScript:
        step = Step(
            run_id=self.run_id,
            key=self.kind,
            attempt=1,
            name=f"check_{self.kind}",
            job="c4 slurm check",
            resources=PROBE_RESOURCES[self.kind],
            arguments="",
            python=sys.executable,
            dagster_home=self.instance.root_directory,
            working_directory=str(Path.cwd()) if (Path.cwd() / "resources").is_dir() else None,
            backfill=backfill,
            settings_file=self.settings.file,
        )
        arguments = ("-m", "resources.executors.slurm.probe", str(self.answer), lock, *self.needs)
        return write_script(step, self.site, arguments)


def _check_from_a_node(client: SlurmClient, probe: _Probe, patience: float) -> Iterator[Finding]:
    here, lock = shared_view(probe.settings, probe.instance), f".{probe.run_id}.lock"
    script = probe.script(lock)
    with ExitStack() as held:
        for name, folder in here.folders.items():
            try:
                held.enter_context(_held(Path(folder), lock))
            except (C4Error, OSError) as error:
                yield _line(f"slurm.{_short(name)}", f"{name} on this machine", str(error))
        client.write_file(script.path, script.text)
        submitted = time.time()
        try:
            job_id = client.submit(script.path)
        except C4Error as error:
            advice = f"{error} See slurm.{probe.kind} and slurm in the settings."
            yield _line(f"slurm.{probe.kind}.job", f"a {probe.kind} job", advice)
            return
        state = _wait(client, job_id, patience)
    answer = client.read_files([probe.answer, script.out, script.err])
    ended = time.time()
    if state or probe.answer not in answer:
        said = answer.get(script.err) or answer.get(script.out) or "nothing"
        yield _line(
            f"slurm.{probe.kind}.job",
            f"a {probe.kind} job",
            f"Job {job_id} {state or 'ended without an answer'}. It said: {said} ({script.err})",
        )
        return
    there = SharedView(**json.loads(answer[probe.answer]))
    yield from _compare_views(probe, there, here)
    if there.clock:
        yield _compare_clocks(probe, there, submitted, ended)


def _compare_clocks(probe: _Probe, there: SharedView, submitted: float, ended: float) -> Finding:
    """Whether the node looked while its job was known to be there. One that waited long hides more."""
    id_, whose = f"slurm.{probe.kind}.clock", f"the {probe.kind} node {there.host}"
    ahead = there.clock - min(max(there.clock, submitted), ended)
    if ahead:
        return skew(id_, whose, ahead)
    return _line(
        id_, f"the clock of {whose} agrees with this machine's, as far as a job of {ended - submitted:.0f} s shows"
    )


@contextmanager
def _held(folder: Path, name: str) -> Generator[None]:
    """Locks a file in a folder, by which a node sees whether it is the same folder and whether locks hold."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / name):
        try:
            yield
        finally:
            (folder / name).unlink(missing_ok=True)


def _compare_views(probe: _Probe, there: SharedView, here: SharedView) -> Iterator[Finding]:
    of, node = f"slurm.{probe.kind}", f"{probe.kind} node {there.host}"
    fix = "Set it in c4.toml or the site's environment_file, or in `python` for the Python environment."
    yield _line(f"{of}.python", f"{node} runs Python {there.python} with C4")
    if there.dagster != here.dagster:
        yield _line(
            f"{of}.dagster_version",
            f"{node}: Dagster",
            f"It is {there.dagster} there and {here.dagster} here. {fix}",
        )
    for name, folder in here.folders.items():
        id_ = f"{of}.{_short(name)}"
        if there.folders.get(name) != folder:
            yield _line(id_, f"{node}: {name}", f"It is {there.folders.get(name)} there and {folder} here. {fix}")
        elif problem := there.unusable.get(name):
            yield _line(id_, f"{node}: {name}", f"{folder}: {problem}")
        else:
            yield _line(id_, f"{node} writes to {name} {folder}, and sees the locks of this machine")
    for name in probe.needs:
        yield _compare_service(f"{of}.{name}", node, name, there, here)
    if there.instance_error:
        yield _line(
            f"{of}.dagster",
            f"{node}: the Dagster instance",
            f"{there.instance_error} Set runs.dagster_storage to postgres.",
        )
    elif there.instance != here.instance:
        yield _line(
            f"{of}.dagster",
            f"{node}: the Dagster instance",
            f"It is another one than here. Is it SQLite on a local disk? {fix}",
        )
    else:
        yield _line(f"{of}.dagster", f"{node} reaches the Dagster instance")
    if probe.kind == "gpu" and not there.gpus:
        advice = "CUDA_VISIBLE_DEVICES is not set: does the partition have GPUs (gres.conf)?"
        yield _line(f"{of}.gpus", f"{node}: GPUs", advice)
    elif probe.kind == "gpu":
        yield _line(f"{of}.gpus", f"{node} hands out GPU {there.gpus}")


def _compare_service(id_: str, node: str, name: str, there: SharedView, here: SharedView) -> Finding:
    what, address, local = SERVICES[name], there.services.get(name), here.services[name]
    if address != local:
        return _line(
            id_,
            f"{node}: {what}",
            f"It is {address} there and {local} here. Set it in c4.toml or the site's environment_file.",
        )
    if problem := there.unreachable.get(name):
        return _line(
            id_,
            f"{node}: {what}",
            f"{problem} Give nodes what they need to reach it, in c4.toml or the site's environment_file, or set "
            'where = "here" for the steps that use it (slurm.steps).',
        )
    return _line(id_, f"{node} reaches {what} {address}")


def _wait(client: SlurmClient, job_id: str, patience: float) -> str | None:
    """Waits for a job's end. One that does not end in time is cancelled, and its last state is returned."""
    deadline = time.monotonic() + patience
    words = "is not known"
    while time.monotonic() < deadline:
        poll = client.poll([job_id])
        if job := poll.jobs.get(job_id):
            if job.ended:
                return None
            words = job.describe()
        time.sleep(1)
    client.cancel([job_id])
    return f"{words} (cancelled after {patience:g} s)"
