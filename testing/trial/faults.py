"""What goes wrong in a backfill of days: services and servers that are killed, and come back after a while.

Every fault hits a process by its id, takes as long as the outage is to last, and mends what it has done.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from subprocess import run

import dagster as dg

from testing.trial.deployment import wait_until
from testing.trial.site import BACKFILL_TAG, Site

Fault = Callable[[Site, float], str]
"""Strikes, waits so many seconds, mends; returns what was hit, in words."""


def kill_daemon(site: Site, outage: float) -> str:
    """Dagster's daemon, without notice. Its runs go on; nothing is queued or monitored meanwhile."""
    pid = site.deployment.daemon_pid
    site.deployment.kill_daemon()
    time.sleep(outage)
    site.deployment.start_daemon()
    return f"dagster-daemon {pid}"


def kill_run_worker(site: Site, outage: float) -> str:
    """The process of a run of the backfill. Its step's process is left behind and may go on beside the retry."""
    found: list[tuple[str, int]] = []

    def at_work() -> bool:
        wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        runs = [each for each in site.deployment.instance.get_runs(wanted) if BACKFILL_TAG in each.tags]
        found.extend((each.run_id, pid) for each in runs if (pid := site.deployment.run_worker(each.run_id)))
        return bool(found)

    wait_until("a run of the backfill is at work", at_work, 120)
    run_id, pid = found[0]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    time.sleep(outage)
    return f"run worker {pid} of run {run_id[:8]}"


def kill_slurmd(site: Site, outage: float) -> str:
    """The Slurm daemon of a node that has a job. The controller gives the node up, and the job with it."""
    cluster = site.cluster
    if cluster is None:
        raise RuntimeError("there is no cluster")
    nodes: list[str] = []

    def has_a_job() -> bool:
        command = ["squeue", "--noheader", "--states=RUNNING", "--format=%N"]
        done = run(command, env=cluster.environment, capture_output=True, text=True, check=False)
        nodes.extend(done.stdout.split())
        return bool(nodes)

    wait_until("a job runs on the cluster", has_a_job, 120)
    cluster.stop_daemon(nodes[0], signal.SIGKILL)
    time.sleep(outage)
    cluster.start()
    return f"slurmd of {nodes[0]}"


def stop_database(site: Site, outage: float) -> str:
    """The imaging database, at once, as when its machine dies."""
    pid = site.server.processes()[0]
    site.server.stop(signal.SIGQUIT)
    time.sleep(outage)
    site.server.start()
    return f"postgres {pid}"


def stop_storage(site: Site, outage: float) -> str:
    """The storage host's sshd with all its sessions."""
    site.storage.stop()
    time.sleep(outage)
    site.storage.start()
    return f"sshd at port {site.storage.port}"


FAULTS: dict[str, Fault] = {
    "daemon": kill_daemon,
    "run worker": kill_run_worker,
    "imaging database": stop_database,
    "storage host": stop_storage,
    "slurmd": kill_slurmd,
}


def faults_of(executor: str) -> dict[str, Fault]:
    """The faults that a deployment with that executor can have, in the order of striking."""
    return {name: fault for name, fault in FAULTS.items() if name != "slurmd" or executor == "slurm"}
