"""Variables and files of version 0.1, which keep working for one release. All that knows of them is here."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings

from resources.settings.keys import Key, dotted, flat, is_table, variable_of
from resources.settings.sources import Found, Read, known_or_problem
from resources.settings.types import Section
from resources.settings.words import problems_of

log = logging.getLogger("c4.settings")

RENAMED: Mapping[str, Key] = {
    "C4_IMAGING_DATABASE_URL": ("database", "url"),
    "C4_IMAGING_DATABASE_PASSWORD": ("database", "password"),
    "C4_ORACLE_WALLET_PASSWORD": ("database", "wallet_password"),
    "C4_DATABASE_TIMEOUT_SECONDS": ("timeout_seconds",),
    "C4_SSH_TIMEOUT_SECONDS": ("timeout_seconds",),
    "C4_IMAGE_STORE_URL": ("store", "url"),
    "C4_SSH_KEY": ("store", "ssh_key"),
    "C4_SSH_KNOWN_HOSTS": ("store", "known_hosts"),
    "C4_STAGING_GIGABYTES": ("scratch_gigabytes",),
    "C4_EXECUTOR": ("runs", "executor"),
    "C4_START_DATE": ("runs", "start_date"),
    "C4_SENSOR_MINUTES": ("runs", "poll_minutes"),
    "C4_SENSOR_WINDOW_DAYS": ("runs", "window_days"),
    "C4_BACKFILL_DAYS": ("runs", "backfill_days"),
    "C4_MAX_ATTEMPTS": ("runs", "max_attempts"),
    "C4_KEEP_RUNS_DAYS": ("runs", "keep_days"),
}
FOLDERS = {"C4_STAGING": "staging", "C4_ARCHIVE": "archive", "C4_DATA_DOCS": "data_docs"}
MODEL = {
    "C4_MODEL": "model",
    "C4_ENGINE": "engine",
    "C4_PRECISION": "precision",
    "C4_CRYSTAL_THRESHOLD": "crystal_threshold",
}
OTHER = {
    "C4_ORACLE_WALLET": "stands in the address now: C4_DATABASE_URL=…?wallet_location=FOLDER",
    "C4_SLURM_CONFIG": "names a file whose keys stand in section slurm of c4.toml now",
    "C4_CHECKS_CONFIG": "names a file whose keys stand in section checks of c4.toml now",
    "C4_STAGING": "is the folder staging in C4_SCRATCH (scratch in c4.toml) now",
    "C4_ARCHIVE": "is the folder archive in C4_DATA (data in c4.toml) now",
    "C4_DATA_DOCS": "is the folder data-docs in C4_DATA (data in c4.toml) now",
    **dict.fromkeys(MODEL, "belongs to a model now: see `c4 model --help`"),
    "C4_BATCH_SIZE": "has no effect any more",
    "C4_RETRY_SECONDS": "has no effect any more",
}
ALL = frozenset([*RENAMED, *OTHER])


class LegacyModel(Section):
    """The one model of version 0.1 and how it computes."""

    model: str = "marco"
    engine: Literal["auto", "tensorflow", "openvino"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    crystal_threshold: float = Field(default=0.25, gt=0, le=1)


@dataclass
class Old(Read):
    """What old variables say.

    Attributes:
        folders: paths by the name of the settings' property that they replace.
        wallet: the folder of Oracle's wallet.
        names: the old variables that are set.
    """

    folders: dict[str, Path] = field(default_factory=dict[str, Path])
    wallet: str | None = None
    model: LegacyModel | None = None
    names: list[str] = field(default_factory=list[str])


def read_old_variables(settings: type[BaseSettings], environment: Mapping[str, str]) -> Old:
    """What the old variables say that are set."""
    given = {name: value.strip() for name, value in environment.items() if name in ALL and value.strip()}
    old = Old(names=sorted(given), wallet=given.get("C4_ORACLE_WALLET"))
    for name in given:
        if name in RENAMED:
            _keep_longest_timeout(old, RENAMED[name], Found(given[name], name))
        elif name in FOLDERS:
            old.folders[FOLDERS[name]] = Path(given[name]).expanduser().absolute()
    if model := {key: given[name] for name, key in MODEL.items() if name in given}:
        try:
            old.model = LegacyModel.model_validate(model)
        except ValidationError as error:
            sources = {(key,): Found(given[name], name) for name, key in MODEL.items() if name in given}
            old.problems += problems_of(error, sources)
    for name, section in (("C4_SLURM_CONFIG", "slurm"), ("C4_CHECKS_CONFIG", "checks")):
        if name in given:
            values = _read_yaml(old, name, Path(given[name]).expanduser(), section)
            source = f"{given[name]} ({name})"
            old.found |= {
                key: Found(value, source)
                for key, value in values.items()
                if known_or_problem(settings, key, source, old.problems)
            }
    return old


def put_wallet_into_address(found: dict[Key, Found], wallet: str) -> None:
    """Names the folder of Oracle's wallet in the address of the database."""
    address = found.get(("database", "url"))
    if address and "wallet_location=" not in str(address.value):
        joint = "&" if "?" in str(address.value) else "?"
        found["database", "url"] = Found(f"{address.value}{joint}wallet_location={wallet}", address.source)


def _keep_longest_timeout(old: Old, key: Key, found: Found) -> None:
    """Two old time-outs are one now: the longer one, so that nothing is given up earlier than before."""
    other = old.found.get(key)
    if other and str(other.value).isdigit() and str(found.value).isdigit() and int(other.value) > int(found.value):
        return
    old.found[key] = found


def _read_yaml(old: Old, name: str, file: Path, section: str) -> dict[Key, Any]:
    import yaml

    try:
        content = cast("object", yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except OSError as error:
        old.problems.append(f"{name} names {file}, which cannot be read: {error.strerror}.")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        old.problems.append(f"{file} ({name}) is not YAML: {error}.")
        return {}
    if not is_table(content):
        old.problems.append(f"{file} ({name}) must hold keys and values.")
        return {}
    return flat({section: _slurm_section(content) if section == "slurm" else content})


def _slurm_section(content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a ``slurm.yaml`` as those of the section ``slurm``."""

    def moved(rules: Mapping[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in rules.items() if key not in ("defaults", "kinds")}
        return {**(rules.get("defaults") or {}), **(rules.get("kinds") or {}), **rest}

    rest = {key: value for key, value in content.items() if key not in ("transport", "backlog", "backfill")}
    transport = dict(content.get("transport") or {})
    login = {"login": transport} if transport.pop("kind", "local") == "ssh" else {}
    backfill = moved(content.get("backlog") or content.get("backfill") or {})
    return {**moved(rest), **login, "backfill": backfill}


@cache
def warn_once(names: tuple[str, ...]) -> None:
    """Says once in a process which variables have other names now."""
    if not names:
        return
    log.warning(
        "Some variables are of an older release and will be refused by a later one: %s. `c4 config` prints what is "
        "in effect as a file c4.toml.",
        "; ".join(f"{name} {words}" for name, words in new_names(names).items()),
    )


def new_names(names: Iterable[str]) -> dict[str, str]:
    """What each old variable is called now, in words that follow its name."""
    new = {name: f"is {variable_of(key)} ({dotted(key)} in c4.toml) now" for name, key in RENAMED.items()}
    return {name: (new | OTHER)[name] for name in names}
