"""Checks of the settings: whether they can be read, what is old in them, and who may read their secrets."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from c4_assets.operations.doctor.examine import Check
from resources.errors import ConfigurationError
from resources.findings import Finding, Verdict
from resources.secret_files import CHMOD_PRIVATE, TOO_OPEN, environment_of_services, is_too_open
from resources.settings import Settings
from resources.settings.old_variables import ALL, new_names
from resources.settings.sources import SECRETS, site_file
from resources.wording import counted

SECTION = "Configuration"

OTHERS_WRITE = 0o022


def read_settings(environment: Mapping[str, str] = os.environ) -> tuple[Settings | None, str]:
    """The settings, or why they cannot be used."""
    try:
        return Settings.from_environment(environment), ""
    except ConfigurationError as error:
        return None, str(error)


def configuration_checks(
    settings: Settings | None, problem: str, environment: Mapping[str, str] = os.environ
) -> list[Check]:
    """The checks of this section. All but the first need no settings.

    Args:
        settings, problem: as :func:`read_settings` gives them.
    """
    secrets = secret_files(settings, environment)
    return [
        Check("configuration.settings", SECTION, "settings", lambda: [_settings(settings, problem, environment)]),
        Check("configuration.old_variables", SECTION, "old variables", lambda: [_old_variables(environment)]),
        Check(
            "configuration.permissions",
            SECTION,
            "who may read and change the settings",
            lambda: _permissions(site_file(environment), secrets, environment),
            mend=lambda: _tighten(site_file(environment), secrets, environment),
        ),
    ]


def _settings(settings: Settings | None, problem: str, environment: Mapping[str, str]) -> Finding:
    id_, file = "configuration.settings", site_file(environment)
    if settings is None:
        return Finding(id_, "the settings cannot be used", Verdict.FAILED, problem)
    return Finding(id_, f"settings are read from {file or 'variables alone: there is no c4.toml'}")


def _old_variables(environment: Mapping[str, str]) -> Finding:
    id_ = "configuration.old_variables"
    old = sorted(name for name in ALL if environment.get(name, "").strip())
    if not old:
        return Finding(id_, "no variable is of an older release")
    said = "; ".join(f"{name} {words}" for name, words in new_names(old).items())
    fix = f"{said}. `c4 config` prints what is in effect as a file c4.toml: take it, and unset the old variables."
    return Finding(
        id_, f"variables of an older release, which a later one refuses: {', '.join(old)}", Verdict.WARNED, fix
    )


def secret_files(settings: Settings | None, environment: Mapping[str, str]) -> list[Path]:
    """Files that hold a secret: of the secrets folder, the environments of jobs and services, and the ssh key."""
    found: list[Path] = []
    if named := environment.get(SECRETS, "").strip():
        folder = Path(named).expanduser().absolute()
        if folder.is_dir():
            found += [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    if settings:
        found += [environment_of_services(settings.home, user_manager) for user_manager in (False, True)]
    if settings and settings.slurm and settings.slurm.environment_file:
        found.append(settings.slurm.environment_file)
    if settings and settings.store.ssh_key:
        found.append(settings.store.ssh_key)
    return [file for file in found if os.path.isfile(file)]  # noqa: PTH113 - Path.is_file raises where it may not look


def _too_open(
    file: Path | None, secrets: Iterable[Path], environment: Mapping[str, str]
) -> Iterator[tuple[Path, str, str]]:
    """Files that others may do too much with: the file, what they may, and chmod's words that end it."""
    if file and file.is_file() and file.stat().st_mode & OTHERS_WRITE:
        yield file, "change it, and so what C4 runs", "go-w"
    # A container has no other users, and Kubernetes mounts secrets for all of them.
    if "KUBERNETES_SERVICE_HOST" in environment:
        return
    for secret in secrets:
        if is_too_open(secret.stat().st_mode):
            yield secret, "read or change it, and it holds a secret", CHMOD_PRIVATE


def _permissions(file: Path | None, secrets: list[Path], environment: Mapping[str, str]) -> Iterator[Finding]:
    id_ = "configuration.permissions"
    found = list(_too_open(file, secrets, environment))
    for path, may, how in found:
        what = f"others may {may}: {path} (mode {stat.S_IMODE(path.stat().st_mode):o})"
        yield Finding(id_, what, Verdict.FAILED, f"chmod {how} {path}", safe=os.geteuid() in (0, path.stat().st_uid))
    if not found:
        number = counted(len(secrets), "file")
        kept = f"{number} with secrets, closed to others" if secrets else "no file with secrets is named"
        yield Finding(id_, kept)


def _tighten(file: Path | None, secrets: list[Path], environment: Mapping[str, str]) -> Iterator[str]:
    for path, _, how in list(_too_open(file, secrets, environment)):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(TOO_OPEN if how == CHMOD_PRIVATE else OTHERS_WRITE))
        yield f"chmod {how} {path}"
