"""Checks of what is installed: versions that belong together, and what this deployment's settings need."""

import importlib.util
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from c4_assets.operations.doctor.examine import Check
from resources.extras import EXTRA_OF, how_to_install
from resources.findings import Finding, Verdict
from resources.settings import Settings

SECTION = "Versions"

SCORES = ("pyarrow", "simplejpeg", "imagehash")
JUDGES = ("pandas", "great_expectations", "scipy", "statsmodels")

DRIVERS = {"postgresql": "psycopg2", "oracle": "oracledb"}

LIBRARIES = ("dagster-webserver", "dagster-postgres", "dagster-k8s")


def version_checks(settings: Settings | None) -> list[Check]:
    """The checks of this section; what the settings need only where they can be read."""
    checks = [Check("versions.c4", SECTION, "versions", lambda: [_versions(version)])]
    if settings is not None:
        checks.append(Check("versions.extras", SECTION, "packages", lambda: [_extras(settings)]))
    return checks


def needed_by(settings: Settings) -> dict[str, str]:
    """Packages that a deployment needs on this machine beyond the base, and what for."""
    needed: dict[str, str] = {}
    if settings.runs.executor != "slurm":
        needed |= dict.fromkeys(SCORES, "scoring") | dict.fromkeys(JUDGES, "checks")
    if settings.store.url.startswith(("ssh://", "sftp://")):
        needed["asyncssh"] = "store.url"
    if settings.slurm and settings.slurm.login:
        needed["asyncssh"] = "slurm.login"
    if driver := DRIVERS.get(settings.database.url.partition(":")[0].partition("+")[0]):
        needed[driver] = "database.url"
    if settings.runs.dagster_storage == "postgres":
        needed["dagster_postgres"] = "runs.dagster_storage"
    return needed


def _extras(settings: Settings) -> Finding:
    needed = needed_by(settings)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = sorted({EXTRA_OF[name] for name in missing})
        what = "; ".join(f"{name}, which {needed[name]} needs, is not installed" for name in missing)
        return Finding("versions.extras", what, Verdict.FAILED, how_to_install(*extras))
    return Finding("versions.extras", "every package is installed that these settings need")


def _versions(version_of: Callable[[str], str]) -> Finding:
    """Whether Dagster is the release that C4 is made for, and its libraries are of that release."""
    dagster, c4 = version_of("dagster"), _version_or(version_of, "c4", "from a checkout")
    told = f"C4 {c4}, Dagster {dagster}, Python {platform.python_version()}"
    wanted = _pinned().get("dagster", dagster)
    if wanted != dagster:
        fix = f"pip install dagster=={wanted} dagster-webserver=={wanted}"
        return Finding("versions.c4", f"{told}; this C4 is made for Dagster {wanted}", Verdict.FAILED, fix)
    major, minor, patch = [*dagster.split("."), "0", "0"][:3]
    library = f"0.{int(minor) + 16}.{patch}" if major == "1" and minor.isdigit() else dagster
    for name in LIBRARIES:
        found = _version_or(version_of, name, "")
        belongs = dagster if name == "dagster-webserver" else library
        if found and found != belongs:
            what = f"{told}; {name} {found} does not belong to it"
            return Finding("versions.c4", what, Verdict.FAILED, f"pip install {name}=={belongs}")
    return Finding("versions.c4", told)


def _pinned() -> Mapping[str, str]:
    try:
        names = requires("c4") or []
    except PackageNotFoundError:
        return {}
    pairs = (name.partition(";")[0].strip().partition("==") for name in names)
    return {name: pinned for name, mark, pinned in pairs if mark}


def _version_or(version_of: Callable[[str], str], name: str, otherwise: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return otherwise
