"""Clusters, login nodes and Dagster instances for the tests: real ones, started here and ended by their process ids."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from testing.ports import free_ports
from testing.slurm_cluster import Cluster
from testing.slurm_configuration import Shape

PROJECT = Path(__file__).parents[2]


@contextmanager
def running_cluster(folder: Path, *, accounting: bool = False) -> Generator[Cluster]:
    """A cluster of three nodes, two of them with two GPUs each; SLURM_CONF names it meanwhile."""
    shape = Shape(port=free_ports(8), accounting=accounting, node_timeout=5)
    cluster = Cluster(folder, shape)
    before = os.environ.get("SLURM_CONF")
    try:
        cluster.start()
        os.environ["SLURM_CONF"] = str(cluster.conf)
        yield cluster
    finally:
        cluster.stop()
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before


def job_script(folder: Path, body: str, *options: str, name: str = "test") -> Path:
    """A job that is no step: shell lines and sbatch options."""
    path = folder / f"{name}.sh"
    directives = "".join(f"#SBATCH {option}\n" for option in (f"--job-name={name}", f"-o {path}.out", *options))
    path.write_text(f"#!/bin/bash\n{directives}{body}\n")
    return path


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(happened: Callable[[], object], within: float = 60, what: str = "") -> None:
    """Waits until something is true; fails after that many seconds."""
    end = time.monotonic() + within
    while not happened():
        assert time.monotonic() < end, f"Waited {within} s in vain until {what or happened}."
        time.sleep(0.1)
