"""What a compute node sees of a deployment, as one line of JSON in a file.

``python -m resources.executors.slurm.probe ANSWER LOCK [image_store] [imaging_database]``: ``ANSWER`` is the file, and
``LOCK`` the name of a file that the machine that checks has locked in each shared folder.
"""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import dagster as dg

from resources.atomic_write import atomic_write
from resources.file_lock import why_not_held
from resources.image_store import open_image_store
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings
from resources.settings.types import without_secrets

STORE_TIMEOUT_S = 15
"""Seconds that the storage host may take to answer a probe."""

NO_SUCH_IMAGE = "c4-slurm-check-asks-for-no-image.jpg"


@dataclass(frozen=True)
class SharedView:
    """A deployment as one machine sees it. All machines of a deployment must see the same folders and instance."""

    host: str
    python: str
    dagster: str
    folders: dict[str, str]
    unusable: dict[str, str] = field(default_factory=dict[str, str])
    """Folders that cannot be used, and why: a sentence."""
    services: dict[str, str] = field(default_factory=dict[str, str])
    """Addresses of the image store and the imaging database, without passwords, by the resource's name."""
    unreachable: dict[str, str] = field(default_factory=dict[str, str])
    """Which of them did not answer, and why: a sentence."""
    instance: str = ""
    """Identity of the Dagster instance's storage."""
    instance_error: str = ""
    gpus: str = ""
    clock: float = 0.0
    """When it was looked at, by the machine's own clock, in seconds since 1970."""


def shared_view(
    settings: Settings, instance: dg.DagsterInstance | None = None, lock: str = "", needs: Collection[str] = ()
) -> SharedView:
    """Collects what this machine sees. Never raises: what does not work is part of the result.

    Args:
        lock: name of a file in each folder that another machine has locked.
        needs: resources to ask for an answer: ``image_store``, ``imaging_database``.
    """
    folders = {
        "staging (C4_SCRATCH)": settings.staging,
        "archive (C4_DATA)": settings.archive,
        "models (C4_MODELS)": settings.models,
    }
    if not settings.thumbnails.is_relative_to(settings.data):
        folders["thumbnails (C4_THUMBNAILS)"] = settings.thumbnails
    identity, error = "", ""
    try:
        identity = _identity(instance or dg.DagsterInstance.get())
    except Exception as problem:  # whatever the storage raises belongs into the result
        error = f"{type(problem).__name__}: {problem}".splitlines()[0]
    ask: Mapping[str, Callable[[Settings], None]] = {"image_store": _ask_store, "imaging_database": _ask_database}
    return SharedView(
        host=platform.node(),
        python=platform.python_version(),
        dagster=dg.__version__,
        folders={name: str(folder) for name, folder in folders.items()},
        unusable={name: problem for name, folder in folders.items() if (problem := _why_unusable(folder, lock))},
        services={
            "image_store": without_secrets(settings.store.url),
            "imaging_database": without_secrets(settings.database.url),
        },
        unreachable={name: problem for name in needs if (problem := _answer(ask[name], settings))},
        instance=identity,
        instance_error=error,
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        clock=time.time(),
    )


def _identity(instance: dg.DagsterInstance) -> str:
    from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

    storage = instance.run_storage
    return storage.get_run_storage_id() if isinstance(storage, SqlRunStorage) else type(storage).__name__


def _why_unusable(folder: Path, lock: str) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return f"{error.strerror or error}. It must be on a file system that nodes share."
    return why_not_held(folder / lock) if lock else ""


def _answer(ask: Callable[[Settings], None], settings: Settings) -> str:
    try:
        ask(settings)
    except Exception as problem:  # drivers raise errors of their own
        return str(problem) or type(problem).__name__
    return ""


def _ask_store(settings: Settings) -> None:
    store = open_image_store(settings.store.url, replace(settings.ssh, timeout=STORE_TIMEOUT_S))
    try:
        list(store.fetch([NO_SUCH_IMAGE]))  # a store that answers says that there is none
    finally:
        store.close()


def _ask_database(settings: Settings) -> None:
    from sqlalchemy import text

    database = ImagingDatabase.of(settings)
    with database.reading("check") as connection:
        connection.execute(text("select 1 from images where 1 = 0"))
    database.engine.dispose()


def main(answer: Path, lock: str, *needs: str) -> None:
    """Writes what this machine sees to a file."""
    view = shared_view(Settings.from_environment(), lock=lock, needs=needs)
    with atomic_write(answer) as temporary:
        temporary.write_text(json.dumps(asdict(view)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
