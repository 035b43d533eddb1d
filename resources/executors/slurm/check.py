"""Checks a site's Slurm settings, from this machine and, by a small job, from a compute node of each kind."""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from resources.errors import C4Error
from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.probe import SharedView, shared_view
from resources.executors.slurm.script import JobScript, Step, write_script
from resources.executors.slurm.shared_files import refuse_sqlite_on_network_file_system
from resources.executors.slurm.site import open_transport, plan_step
from resources.executors.step_resources import StepResources
from resources.settings import JobOptions, Settings, Site, SubmitRules

PROBE_RESOURCES = {"cpu": StepResources(minutes=5), "gpu": StepResources(gpus=1, minutes=5)}


@dataclass(frozen=True)
class SiteFinding:
    """One line for the operator: what was checked, and what to fix if it does not work."""

    what: str
    fix: str | None = None


def check_site(
    site: Site, settings: Settings, instance: dg.DagsterInstance, kinds: tuple[str, ...], patience: float
) -> Iterator[SiteFinding]:
    """Checks everything that a run on Slurm needs; stops where the rest cannot be checked.

    Args:
        kinds: of :data:`PROBE_RESOURCES`, those to send a job to.
        patience: seconds that each job may take, waiting included.
    """
    client = SlurmClient(open_transport(site))
    try:
        yield from _check_from_here(client, site, instance)
        if site.backfill != SubmitRules():
            for kind in kinds:
                yield _check_backfill_job(client, site, settings, instance, kind)
        for kind in kinds:
            yield from _check_from_a_node(client, site, settings, instance, kind, patience)
    except C4Error as error:
        yield SiteFinding("Slurm", str(error))
    finally:
        client.transport.close()


def _check_from_here(client: SlurmClient, site: Site, instance: dg.DagsterInstance) -> Iterator[SiteFinding]:
    where = client.transport.name
    version = client.transport.run(["sinfo", "--version"]).out.strip()
    yield SiteFinding(f"{version} on {where}")
    partitions = client.partitions()
    gpus = sum(partition.gpus for partition in partitions.values())
    yield SiteFinding(f"partitions: {', '.join(partitions)}" + ("" if gpus else "; none has GPUs"))
    rules = {
        ".".join(("slurm", *above, *key)): options
        for above, each in (((), site), (("backfill",), site.backfill))
        for key, options in _rules(each)
    }
    for key, options in rules.items():
        name = options.partition
        if name and name not in partitions:
            yield SiteFinding(f"partition of {key}", f"There is no partition {name}; set it to one of those above.")
        elif name and not partitions[name].up:
            yield SiteFinding(f"partition of {key}", f"Partition {name} is down: ask the cluster's administrators.")
    gpu_partition = partitions.get(plan_step(site, "", PROBE_RESOURCES["gpu"])[1].partition or "")
    if gpu_partition and not gpu_partition.gpus:
        yield SiteFinding("GPUs", f"Partition {gpu_partition.name} has none: set slurm.gpu.partition to one that has.")
    accounts = client.keeps_accounts()
    yield SiteFinding(
        "accounts (sacct)" if accounts else "no accounts (sacct): max memory and who cancelled stay unknown"
    )
    try:
        refuse_sqlite_on_network_file_system(instance)
        yield SiteFinding("the Dagster instance may be shared")
    except C4Error as error:
        yield SiteFinding("the Dagster instance", str(error))


def _rules(rules: SubmitRules) -> Iterator[tuple[tuple[str, ...], JobOptions]]:
    yield (), rules
    yield ("cpu",), rules.cpu
    yield ("gpu",), rules.gpu
    yield from ((("steps", name), options) for name, options in rules.steps.items())


def _check_backfill_job(
    client: SlurmClient, site: Site, settings: Settings, instance: dg.DagsterInstance, kind: str
) -> SiteFinding:
    """Checks whether Slurm would accept a backfill's job. None is submitted: it might wait long behind hourly ones."""
    script = _probe_script(site, settings.file, instance, kind, backfill=True)
    _, options = plan_step(site, "", PROBE_RESOURCES[kind], backfill=True)
    client.write_file(script.path, script.text)
    if refusal := client.refusal(script.path):
        return SiteFinding(f"a {kind} job of a backfill", f"{refusal} See slurm.backfill in the settings.")
    said = options.model_dump(include={"partition", "account", "qos", "nice"}, exclude_none=True)
    where = ", ".join(f"{name} {value}" for name, value in said.items())
    return SiteFinding(f"a {kind} job of a backfill would be taken ({where or 'as any other'})")


def _check_from_a_node(
    client: SlurmClient, site: Site, settings: Settings, instance: dg.DagsterInstance, kind: str, patience: float
) -> Iterator[SiteFinding]:
    script = _probe_script(site, settings.file, instance, kind)
    client.write_file(script.path, script.text)
    try:
        job_id = client.submit(script.path)
    except C4Error as error:
        yield SiteFinding(f"a {kind} job", f"{error} See slurm.{kind} and slurm in the settings.")
        return
    state = _wait(client, job_id, patience)
    answer = client.read_files([script.out, script.err])
    if state or not answer.get(script.out, "").startswith("{"):
        said = answer.get(script.err) or answer.get(script.out) or "nothing"
        yield SiteFinding(
            f"a {kind} job", f"Job {job_id} {state or 'ended without an answer'}. It said: {said} ({script.err})"
        )
        return
    yield from _compare_views(kind, SharedView(**json.loads(answer[script.out])), shared_view(settings, instance))


def _compare_views(kind: str, there: SharedView, here: SharedView) -> Iterator[SiteFinding]:
    node = f"{kind} node {there.host}"
    fix = "Set it in c4.toml or the site's environment_file, or in `python` for the Python environment."
    yield SiteFinding(f"{node} runs Python {there.python} with C4")
    if there.dagster != here.dagster:
        yield SiteFinding(f"{node}: Dagster", f"It is {there.dagster} there and {here.dagster} here. {fix}")
    for name, folder in here.folders.items():
        if there.folders.get(name) != folder:
            yield SiteFinding(f"{node}: {name}", f"It is {there.folders.get(name)} there and {folder} here. {fix}")
        elif problem := there.unusable.get(name):
            yield SiteFinding(f"{node}: {name}", f"{folder}: {problem}. It must be on a file system that nodes share.")
        else:
            yield SiteFinding(f"{node} writes to {name} {folder}")
    if there.instance_error:
        yield SiteFinding(
            f"{node}: the Dagster instance", f"{there.instance_error} Set runs.dagster_storage to postgres."
        )
    elif there.instance != here.instance:
        yield SiteFinding(
            f"{node}: the Dagster instance", f"It is another one than here. Is it SQLite on a local disk? {fix}"
        )
    else:
        yield SiteFinding(f"{node} reaches the Dagster instance")
    if kind == "gpu" and not there.gpus:
        yield SiteFinding(f"{node}: GPUs", "CUDA_VISIBLE_DEVICES is not set: does the partition have GPUs (gres.conf)?")
    elif kind == "gpu":
        yield SiteFinding(f"{node} hands out GPU {there.gpus}")


def _probe_script(
    site: Site, settings_file: Path | None, instance: dg.DagsterInstance, kind: str, backfill: bool = False
) -> JobScript:
    step = Step(
        run_id=f"check-{uuid.uuid4().hex[:12]}",
        key=kind,
        attempt=1,
        name=f"check_{kind}",
        job="c4 slurm check",
        resources=PROBE_RESOURCES[kind],
        arguments="",
        python=sys.executable,
        dagster_home=instance.root_directory,
        working_directory=str(Path.cwd()) if (Path.cwd() / "resources").is_dir() else None,
        backfill=backfill,
        settings_file=settings_file,
    )
    return write_script(step, site, ("-m", "resources.executors.slurm.probe"))


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
