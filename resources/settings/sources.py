"""Where settings come from: the site's file, a folder of secrets, variables. Each value remembers its source."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, TomlConfigSettingsSource

from resources.settings.keys import (
    Key,
    dotted,
    field_of,
    flat,
    is_secret,
    key_of,
    known_keys,
    nearest,
    variable_of,
)
from resources.settings.types import without_secrets

CONFIG, SECRETS = "C4_CONFIG", "C4_SECRETS"

NO_SETTINGS = (CONFIG, SECRETS, "C4_DEMO_HOME", "C4_REAL_IMAGES")
"""Variables that no key of the file belongs to: where to look, the demo's folder, the images of C4's own tests."""

OF_KUBERNETES = re.compile(r"C4_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
"""Variables that Kubernetes gives each container for a service that is called ``c4`` or ``c4-…``."""


@dataclass(frozen=True)
class Found:
    """A value, and where it comes from in words."""

    value: Any
    source: str


@dataclass
class Read:
    """What one source holds, and what of it cannot be used."""

    found: dict[Key, Found] = field(default_factory=dict[Key, Found])
    problems: list[str] = field(default_factory=list[str])


def site_file(environment: Mapping[str, str]) -> Path | None:
    """The site's file: the one that ``C4_CONFIG`` names, or ``c4.toml`` in C4's home, where there is one."""
    if named := environment.get(CONFIG, "").strip():
        return Path(named).expanduser().absolute()
    home = Path(environment.get("C4_HOME", "").strip() or "~/.c4").expanduser().absolute()
    return file if (file := home / "c4.toml").is_file() else None


def read_site_file(settings: type[BaseSettings], file: Path | None) -> Read:
    """The values of the site's file, each with its line; nothing without a file. Secrets in it are a problem."""
    if file is None:
        return Read()
    try:
        text = file.read_text(encoding="utf-8")
        tables = TomlConfigSettingsSource(settings, file).toml_data
    except OSError as error:
        return Read(problems=[f"{CONFIG} names {file}, which cannot be read: {error.strerror}."])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Read(problems=[f"{file} is not TOML: {error}."])
    lines, read = _lines(text), Read()
    for key, value in flat(tables).items():
        line = next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)
        source = f"{file}, line {line}" if line else str(file)
        if not (known := known_or_problem(settings, key, source, read.problems)):
            continue
        if is_secret(known) or (isinstance(value, str) and "://" in value and without_secrets(value) != value):
            read.problems.append(
                f"{dotted(key)} ({source}) holds a secret, which does not belong into this file: put it into "
                f"{variable_of(key)}, or into the file {'_'.join(key)} in the folder that {SECRETS} names."
            )
        else:
            read.found[key] = Found(value, source)
    return read


def read_secrets(settings: type[BaseSettings], environment: Mapping[str, str]) -> Read:
    """The files of the folder that ``C4_SECRETS`` names, each called like a variable without ``C4_``."""
    named = environment.get(SECRETS, "").strip()
    if not named:
        return Read()
    folder = Path(named).expanduser().absolute()
    try:
        # Kubernetes keeps the versions of a mounted secret beside it, in folders with a dot.
        files = [file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.is_file()]
        texts = {f"C4_{file.name.upper()}": file.read_text(encoding="utf-8") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "one of its files is not text"
        return Read(problems=[f"{SECRETS} names {folder}, which cannot be read: {why}."])
    return _read_names(settings, texts, {f"C4_{file.name.upper()}": str(file) for file in files})


def read_variables(settings: type[BaseSettings], environment: Mapping[str, str], also_known: Collection[str]) -> Read:
    """The variables ``C4_SECTION_KEY``.

    Args:
        also_known: variables that are read elsewhere.
    """
    in_kubernetes = "KUBERNETES_SERVICE_HOST" in environment
    variables = {
        name: value
        for name, value in environment.items()
        if name.startswith("C4_")
        and name not in NO_SETTINGS
        and name not in also_known
        and not (in_kubernetes and OF_KUBERNETES.fullmatch(name) and not _is_key(settings, name))
    }
    return _read_names(settings, variables, {name: name for name in variables})


def known_or_problem(settings: type[BaseSettings], key: Key, source: str, problems: list[str]) -> FieldInfo | None:
    """What the settings say of a key, or None and a sentence among the problems."""
    if (known := field_of(settings, key)) is None:
        names = {dotted(each[:length]): None for each, _ in known_keys(settings) for length in range(1, len(each) + 1)}
        problems.append(f"There is no setting {dotted(key)} ({source}).{nearest(dotted(key), names)}")
    return known


def _is_key(settings: type[BaseSettings], variable: str) -> bool:
    key = key_of(variable, settings)
    return key is not None and field_of(settings, key) is not None


def _read_names(settings: type[BaseSettings], texts: Mapping[str, str], sources: Mapping[str, str]) -> Read:
    read, known = Read(), dict[str, str]()
    for name, text in texts.items():
        if not _is_key(settings, name):
            names = [variable_of(key) for key, _ in known_keys(settings)]
            read.problems.append(f"{sources[name]} names no setting.{nearest(name, names)}")
        elif text.strip():
            known[name] = text.strip()
    keys = {name: key for name in known if (key := key_of(name, settings))}
    variables = EnvSettingsSource(settings)
    variables.env_vars = {f"{variables.env_prefix}{'__'.join(key)}".lower(): known[name] for name, key in keys.items()}
    origins = {key: sources[name] for name, key in keys.items()}
    read.found = {key: Found(value, origins[key]) for key, value in flat(variables()).items()}
    return read


_KEY = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]")
_ENTRY = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def _lines(text: str) -> dict[Key, int]:
    """The line of each key and table of a TOML file, from 1. Keys of inline tables have their table's."""
    table: Key = ()
    lines: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            lines.setdefault(table, number)
        elif entry := _ENTRY.match(line):
            lines.setdefault((*table, *_parts(entry[1])), number)
    return lines


def _parts(written: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, written))
