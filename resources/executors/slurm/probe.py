"""What a compute node sees of a deployment, as one line of JSON: ``python -m resources.executors.slurm.probe``."""

import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dagster as dg

from resources.settings import Settings


@dataclass(frozen=True)
class SharedView:
    """A deployment as one machine sees it. All machines of a deployment must see the same folders and instance."""

    host: str
    python: str
    dagster: str
    folders: dict[str, str]
    unusable: dict[str, str] = field(default_factory=dict[str, str])
    """Folders that cannot be written to, and why."""
    instance: str = ""
    """Identity of the Dagster instance's storage."""
    instance_error: str = ""
    gpus: str = ""


def shared_view(settings: Settings, instance: dg.DagsterInstance | None = None) -> SharedView:
    """Collects what this machine sees. Never raises: what does not work is part of the result."""
    folders = {"C4_STAGING": settings.staging, "C4_ARCHIVE": settings.archive, "C4_MODELS": settings.models}
    identity, error = "", ""
    try:
        identity = _identity(instance or dg.DagsterInstance.get())
    except Exception as problem:  # whatever the storage raises belongs into the result
        error = f"{type(problem).__name__}: {problem}".splitlines()[0]
    return SharedView(
        host=platform.node(),
        python=platform.python_version(),
        dagster=dg.__version__,
        folders={name: str(folder) for name, folder in folders.items()},
        unusable={name: problem for name, folder in folders.items() if (problem := _cannot_write(folder))},
        instance=identity,
        instance_error=error,
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    )


def _identity(instance: dg.DagsterInstance) -> str:
    from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

    storage = instance.run_storage
    return storage.get_run_storage_id() if isinstance(storage, SqlRunStorage) else type(storage).__name__


def _cannot_write(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(shared_view(Settings.from_environment()))) + "\n")
