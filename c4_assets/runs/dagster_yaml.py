"""The file ``dagster.yaml`` of the Dagster instance: made from one template, and kept where the site has its own."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError
from resources.settings import Settings

HEADER = (
    "# Written by C4 from its settings, and again when they or C4 change. Change it, and C4 leaves it as it is.\n"
    "# sha256 of what follows: "
)

LINKED_BESIDE = "workspace.yaml"
"""Releases up to 0.2 put a link into ``DAGSTER_HOME``, to a ``dagster.yaml`` with this file of C4's beside it."""


def dagster_yaml(template: Path, settings: Settings) -> str:
    """The file for a deployment: its storage, and how many runs there are at once."""
    import jinja2

    # On a cluster a run only waits for its jobs.
    most_runs, backfill_runs = (20, 8) if settings.runs.executor == "slurm" else (8, 4)
    made = jinja2.Template(template.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined).render(
        postgres=settings.runs.dagster_storage == "postgres", most_runs=most_runs, backfill_runs=backfill_runs
    )
    return _sealed(f"\n{made}\n")


def put_dagster_yaml(file: Path, text: str) -> None:
    """Writes the file, unless the site has its own or what is there is the same.

    Raises:
        ConfigurationError: there is a link of the site's that leads nowhere.
    """
    _refuse_lost_link(file)
    if is_the_sites_own(file) or (not file.is_symlink() and file.is_file() and file.read_text() == text):
        return
    with atomic_write(file) as temporary:  # takes the place of a link and does not follow it
        temporary.write_text(text, encoding="utf-8")


def _refuse_lost_link(file: Path) -> None:
    """A site's link may lead to another storage, and SQLite in its place would hide all runs. C4's own links may go."""
    if not file.is_symlink() or file.exists():
        return
    target = file.parent / file.readlink()
    of_c4 = target.name == file.name and target.parent.name != "slurm"
    if of_c4 and (not target.parent.exists() or (target.parent / LINKED_BESIDE).is_file()):
        return
    raise ConfigurationError(
        f"{file} is a link to {target}, which is not there. Bring that file back, or remove the link: C4 then writes a "
        "file of its own. If it led to deploy/slurm/dagster.yaml of C4, set runs.dagster_storage to postgres first."
    )


def missing_keys(file: Path, text: str) -> list[str]:
    """Keys that C4's text has and the file of a site lacks, such as ``python_logs`` or ``run_monitoring.enabled``.

    Storage and concurrency are the site's to decide.
    """
    try:
        own = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return []  # Dagster names the line
    return list(
        _missing(own or {}, {k: v for k, v in yaml.safe_load(text).items() if k not in ("storage", "concurrency")})
    )


def _missing(own: Any, wanted: Mapping[str, Any]) -> list[str]:
    if not isinstance(own, dict):
        return []
    found: list[str] = []
    for key, value in wanted.items():
        if key not in own:
            found.append(key)
        elif isinstance(value, dict) and key in ("telemetry", "run_monitoring"):
            table = cast("dict[str, Any]", value)
            found += [f"{key}.{each}" for each in _missing(cast("dict[str, Any]", own)[key], table)]
    return found


def _sealed(text: str) -> str:
    return f"{HEADER}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def is_the_sites_own(file: Path) -> bool:
    """Whether a site has written, changed or linked the file."""
    if not file.exists():  # nor where its link leads
        return False
    if file.is_symlink():
        target = file.resolve()
        return not (target.name == file.name and (target.parent / LINKED_BESIDE).is_file())
    text = file.read_text(encoding="utf-8", errors="replace")
    return not text.startswith(HEADER) or text != _sealed(text.removeprefix(HEADER).partition("\n")[2])
