"""Brings an archive of release 0.1, which was keyed by scorer versions, to model versions.

Every step is a rename, so it can be interrupted anywhere and goes on from there. Nothing is read or written anew: years
of images take seconds.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from resources.file_lock import locked

DATASETS = ("probabilities", "thumbnails")
LOCK_WAIT_S = 600


def is_of_an_earlier_release(root: Path, model_versions: Mapping[str, str]) -> bool:
    """Whether there is anything to upgrade.

    Args:
        model_versions: the model version of every scorer version.
    """
    return any(True for _ in _earlier_folders(root, model_versions))


def upgrade_archive(root: Path, staging: Path, model_versions: Mapping[str, str]) -> int:
    """Renames what is keyed by a scorer version, and gives back the staging area's space. Returns the days renamed.

    Days that two scorer versions of the same numbers have are united by the next merge: that of the second becomes a
    checkpoint. What was staged is fetched again.

    Args:
        root: the archive.
        staging: the staging area, in which every scorer version had a folder.
        model_versions: the model version of every scorer version. Folders of others are left alone.
    """
    root.mkdir(parents=True, exist_ok=True)
    days = 0
    with locked(root / "upgrade.lock", timeout=LOCK_WAIT_S):
        for folder, model_version in list(_earlier_folders(root, model_versions)):
            dataset = folder.parent.name
            for day in sorted(folder.iterdir()):
                _rename_day(root, dataset, day, model_version)
                days += dataset == "probabilities"
            folder.rmdir()
        for scorer_version in model_versions:
            shutil.rmtree(staging / scorer_version, ignore_errors=True)
    return days


def _earlier_folders(root: Path, model_versions: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    for scorer_version, model_version in model_versions.items():
        folders = [root / dataset / f"scorer={scorer_version}" for dataset in DATASETS]
        for folder in (*folders, root / "checkpoints" / scorer_version):
            if folder.is_dir() and folder.name != model_version:
                yield folder, model_version


def _rename_day(root: Path, dataset: str, day: Path, model_version: str) -> None:
    key = day.name.removeprefix("day=")
    checkpoints = root / "checkpoints" / model_version / key
    new = root / dataset / f"model={model_version}" / day.name
    if dataset != "checkpoints" and not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        day.rename(new)
        return
    checkpoints.mkdir(parents=True, exist_ok=True)
    for file in sorted(day.iterdir()):
        if file.name.startswith("."):  # a killed writer's
            file.unlink()
            continue
        if dataset == "probabilities":
            file.rename(checkpoints / f"{day.parent.name.removeprefix('scorer=')}.parquet")
        elif dataset == "checkpoints":
            file.rename(checkpoints / file.name)
        else:
            file.unlink()  # the thumbnails of the same images
    day.rmdir()
