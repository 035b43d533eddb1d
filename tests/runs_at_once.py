"""Stages several days at once, a run and a process each, in the deployment that the environment describes.

    python -m tests.runs_at_once 2026-03-31 2026-04-01

The processes are forks of one that has loaded the definitions, which takes most of a run's time.
"""

import os
import sys

import dagster as dg

from c4_assets.definitions import defs


def stage(day: str) -> bool:
    with dg.DagsterInstance.get() as instance:
        job = defs.resolve_job_def("score_images")
        selection = [dg.AssetKey("raw_inspection_images")]
        return job.execute_in_process(partition_key=day, instance=instance, asset_selection=selection).success


def main(days: list[str]) -> None:
    children: list[int] = []
    for day in days:
        if (child := os.fork()) == 0:
            os._exit(0 if stage(day) else 1)
        children.append(child)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    main(sys.argv[1:])
