"""The executors: all steps in the run's process, a process per step, or a Slurm job per step."""

import dagster as dg

from c4_assets.deployment import SETTINGS
from c4_assets.runs.run_processes import noting_processes
from resources.executors.slurm.executor import slurm_executor

# The steps of a run follow one another, so a process per step is not faster: a run on one machine is one process, which
# imports once. With a process per step, each is forked from one that has imported what every step imports.
PRELOADED_MODULES = [
    "c4_assets.definitions",
    "dagster._cli",
    "dagster._core.storage.sqlite_storage",
    "pandas",
    "pyarrow.parquet",
    "great_expectations",
]
FORKSERVER = {"start_method": {"forkserver": {"preload_modules": PRELOADED_MODULES}}}

EXECUTORS = {
    "in_process": noting_processes(dg.in_process_executor),
    "multiprocess": noting_processes(dg.multiprocess_executor).configured(FORKSERVER, name="multiprocess"),
    "slurm": noting_processes(slurm_executor(lambda: SETTINGS)),
}
