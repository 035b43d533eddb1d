"""Weights of models: fetched once, checked, and kept as a folder that is whole or absent.

They are taken from a published wheel, which is downloaded with pip's own configuration (so a site's mirror is used) and
never installed, or from a folder or archive that the operator names.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit
from urllib.request import urlopen

from resources.errors import ConfigurationError, Unavailable
from resources.file_lock import locked

SAVED_MODEL_FILES = ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index")
"""The files of a SavedModel, relative to its folder. Nothing else is ever taken from an archive."""

MAX_FILE_BYTES = 1024**3
"""Largest file that is taken from an archive: what is larger is an attack or a mistake."""

DOWNLOAD_TIMEOUT_S = 60


@dataclass(frozen=True)
class Release:
    """A published model: the requirement that pip downloads, and the digests of its :data:`SAVED_MODEL_FILES`."""

    requirement: str
    sha256: dict[str, str]


RELEASES = {
    # The same bytes as the model that MARCO's authors published; the wheel is licensed Apache-2.0.
    "marco": Release(
        "dls-marco-score-ispyb==1.0.1",
        {
            "saved_model.pb": "d2fdbb72a05634a26d3811149c098b1767e405e7edf0b2ea24d6e72676bddb03",
            "variables/variables.data-00000-of-00001": (
                "1cb4860c694cea1ff8a20d543b85bbb26e267cb882149b16bab760ff17cdd93c"
            ),
            "variables/variables.index": "3ae3ee721db35db2aa575a14c08ebe81c0f7872d2889def5932e87b646206540",
        },
    )
}


def locate(model: str, models: Path) -> Path:
    """The folder of a model: a fetched name below ``models``, or a path.

    Raises:
        ConfigurationError: there is no SavedModel; the message says how to get one.
    """
    folder = _folder(model, models)
    if all((folder / file).is_file() for file in SAVED_MODEL_FILES):
        return folder
    if "/" in model:
        raise ConfigurationError(f"{model}: there is no SavedModel (saved_model.pb, variables/) in this folder.")
    raise ConfigurationError(
        f"The model {model!r} has not been fetched into {models}: run `c4 model fetch {model}` where there is a "
        "network, or name the path of a SavedModel."
    )


def weights_sha256(model: str, models: Path) -> str:
    """Digest of a model's files. That of a release is known in advance, so nothing is fetched for it.

    Raises:
        ConfigurationError: the model is no release, and its files do not exist.
    """
    if model in RELEASES:
        return _digest(RELEASES[model].sha256)
    return files_sha256(locate(model, models))


def files_sha256(folder: Path) -> str:
    """Digest of the files of the SavedModel in a folder."""
    return _digest({file: _sha256(folder / file) for file in SAVED_MODEL_FILES})


def _digest(digests: dict[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{digests[file]}  {file}" for file in SAVED_MODEL_FILES).encode()).hexdigest()


def fetched(models: Path) -> dict[str, Path]:
    """The models that have been fetched, by name."""
    folders = sorted(models.iterdir()) if models.is_dir() else []
    return {folder.name: folder for folder in folders if all((folder / file).is_file() for file in SAVED_MODEL_FILES)}


def fetch(name: str, models: Path, source: str | None = None) -> Path:
    """Puts a model's files into ``models/name``, all of them or none. A complete model that exists is kept.

    Args:
        name: a key of :data:`RELEASES`, whose digests are then checked, or a name of your own.
        source: a folder, an archive (.whl, .zip) or its URL; by default the release's wheel.

    Raises:
        ConfigurationError: no such release or source, or the files are not those of the release.
        Unavailable: the wheel could not be downloaded.
    """
    if "/" in name or name.startswith("."):
        raise ConfigurationError(f"{name!r} cannot be the name of a model: use letters, digits and hyphens.")
    if source is None and name not in RELEASES:
        raise ConfigurationError(
            f"No published model is called {name!r} (there is {', '.join(RELEASES)}): give its path or address with "
            "--from."
        )
    release = RELEASES.get(name)
    requirement = release.requirement if release else ""
    target = models / name
    models.mkdir(parents=True, exist_ok=True)
    # One fetch at a time: the second finds the model complete.
    with locked(models / f".{name}.lock"):
        if name in fetched(models) and not (release and _wrong_files(target, release)):
            return target
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models) as scratch:
            unpacked = Path(scratch, "model")
            found = _obtain(source, Path(scratch)) if source else _download_wheel(requirement, Path(scratch))
            _unpack(found, unpacked)
            if release and (wrong := _wrong_files(unpacked, release)):
                raise ConfigurationError(
                    f"{', '.join(wrong)} of {source or requirement} is not the published file (sha256 "
                    "differs): the download is damaged, or a mirror serves something else. Nothing was kept."
                )
            shutil.rmtree(target, ignore_errors=True)  # damaged, or left by an interrupted fetch
            unpacked.rename(target)
    return target


def _wrong_files(folder: Path, release: Release) -> list[str]:
    return [file for file, digest in release.sha256.items() if _sha256(folder / file) != digest]


def _obtain(source: str, scratch: Path) -> Path:
    if urlsplit(source).scheme in ("http", "https"):
        return _download(source, scratch)
    path = Path(source.removeprefix("file://")).expanduser()
    if not path.exists():
        raise ConfigurationError(f"{path} is not there: give a SavedModel's folder, or a .whl or .zip that holds one.")
    return path


def _download_wheel(requirement: str, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(scratch), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["pip said nothing"]
        raise Unavailable(
            f"{requirement} could not be downloaded: {reason[-1]}\nWithout a network, download it elsewhere "
            f"(`pip download --no-deps {requirement}`) and run `c4 model fetch --from FILE.whl`."
        )
    return wheels[0]


def _download(address: str, scratch: Path) -> Path:
    file = scratch / (PurePosixPath(urlsplit(address).path).name or "model.zip")
    try:
        with urlopen(address, timeout=DOWNLOAD_TIMEOUT_S) as response, file.open("wb") as out:  # noqa: S310
            _copy(response, out, address)
    except OSError as error:
        raise Unavailable(f"{address} could not be downloaded: {error}. Nothing was kept.") from error
    return file


def _unpack(source: Path, target: Path) -> None:
    (target / "variables").mkdir(parents=True)
    if source.is_dir():
        for file in SAVED_MODEL_FILES:
            if not (source / file).is_file():
                raise ConfigurationError(f"{source} is not a SavedModel: it has no {file}.")
            shutil.copyfile(source / file, target / file)
        return
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            roots = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == SAVED_MODEL_FILES[0]]
            for file in SAVED_MODEL_FILES:
                member = str(roots[0] / file) if roots else ""
                if member not in names:
                    raise ConfigurationError(f"{source.name} holds no SavedModel: it has no {file}.")
                with archive.open(member) as packed, (target / file).open("wb") as out:
                    _copy(packed, out, member)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ConfigurationError(f"{source.name} is not a whole .whl or .zip file: {error}.") from error


def _copy(source: IO[bytes], target: IO[bytes], name: str) -> None:
    left = MAX_FILE_BYTES
    while chunk := source.read(1024**2):
        left -= len(chunk)
        if left < 0:
            raise ConfigurationError(f"{name} is larger than any file of a model. Nothing was kept.")
        target.write(chunk)


def _folder(model: str, models: Path) -> Path:
    return Path(model).expanduser().absolute() if "/" in model else models / model


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
