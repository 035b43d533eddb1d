"""What runs the steps: this process, a process each, or a Slurm job each."""

import dagster as dg

from resources.executors.slurm.executor import slurm_executor

# The steps of a run follow one another, so a process for each buys no speed: a run on one machine is one process, which
# imports once. Where each is to have its own, it is forked from one that has imported what every step imports.
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
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor.configured(FORKSERVER, name="multiprocess"),
    "slurm": slurm_executor,
}
