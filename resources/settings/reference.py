"""The settings as texts: what is in effect, an example file, a JSON Schema, and the tables of the documentation.

``python -m resources.settings.reference`` writes those that are part of the repository.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from resources.settings.keys import Key, dotted, is_secret, is_table, known_keys, table_of, variable_of
from resources.settings.settings import Settings
from resources.settings.slurm import JobOptions
from resources.settings.types import HIDDEN, without_secrets

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "deploy" / "c4.toml"
SCHEMA = PROJECT / "deploy" / "c4.schema.json"
PAGE = PROJECT / "docs" / "configuration.md"
BEGIN, END = "<!-- generated from the settings -->", "<!-- end of what is generated -->"

COMMON: tuple[Key, ...] = (
    ("home",),
    ("data",),
    ("scratch",),
    ("scratch_gigabytes",),
    ("database", "url"),
    ("database", "password"),
    ("store", "url"),
    ("store", "ssh_key"),
    ("runs", "executor"),
    ("runs", "start_date"),
    ("runs", "poll_minutes"),
    ("slurm", "folder"),
    ("slurm", "environment_file"),
    ("slurm", "partition"),
    ("slurm", "account"),
    ("checks", "images", "plate_format"),
    ("checks", "labels", "scorers"),
)
"""What most sites look at. All else is rarely needed."""


def effective(settings: Settings, show_sources: bool = False) -> str:
    """The settings in effect as a ``c4.toml``; secrets are hidden, in lines that are comments.

    Args:
        show_sources: each line ends with where its value comes from.
    """
    lines = [f"# {settings.file}" if settings.file else "# There is no c4.toml: variables and defaults."]
    lines += _table(settings, (), settings if show_sources else None)
    lines += [f"# {name} is of an older release." for name in settings.old_variables]
    return "\n".join(lines) + "\n"


def _table(table: BaseModel | Mapping[str, Any], key: Key, sources: Settings | None) -> Iterator[str]:
    names = table if isinstance(table, Mapping) else type(table).model_fields
    values = {name: table[name] if isinstance(table, Mapping) else getattr(table, name) for name in names}
    tables = {name: value for name, value in values.items() if isinstance(value, BaseModel) or is_table(value)}
    entries = [(name, value) for name, value in values.items() if name not in tables and value not in (None, ())]
    if key and entries:
        yield f"\n[{'.'.join(map(_name, key))}]"
    for name, value in entries:
        written = _value(value)
        comment = "#" if HIDDEN in written else ""
        source = f"  # {sources.source_of((*key, name))}" if sources else ""
        yield f"{comment}{_name(name)} = {written}{source}"
    for name, value in tables.items():
        yield from _table(value, (*key, name), sources)


def _name(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SecretStr):
        return f'"{HIDDEN}"'
    if isinstance(value, int | float | date):
        return str(value)
    if isinstance(value, BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields}
        return _value({name: each for name, each in given.items() if each not in (None, ())})
    if is_table(value):
        return "{ " + ", ".join(f"{_name(name)} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in cast('Sequence[Any]', value))}]"
    return json.dumps(without_secrets(str(value)), ensure_ascii=False)


def example() -> str:
    """A file with every setting as a comment: what most sites look at, and below it what is rarely needed."""
    lines = [
        "# The settings of a C4 deployment. Name your copy in C4_CONFIG, or put it into C4's home (~/.c4/c4.toml).",
        "# Every key has its default here, or an example where there is none; take away the # of what you change.",
        "# A variable overrides a key: C4_DATABASE_URL the key url of [database]. Passwords do not belong here.",
        *_example(Settings, ()),
    ]
    return "\n".join(lines) + "\n"


def _example(model: type[BaseModel], key: Key) -> Iterator[str]:
    fields = {(*key, name): field for name, field in model.model_fields.items()}
    plain = {each: field for each, field in fields.items() if table_of(field.annotation) is None}
    common = {each: field for each, field in plain.items() if each in COMMON and not is_secret(field)}
    yield from (line for each, field in common.items() for line in _entry(each, field))
    if rare := {each: field for each, field in plain.items() if each not in common}:
        yield from (["", "# Rarely needed:"] if common else [])
        yield from (line for each, field in rare.items() for line in _entry(each, field))
    for each, field in fields.items():
        if table := table_of(field.annotation):
            yield from _example_table(each, field, table)


def _example_table(key: Key, field: FieldInfo, table: type[BaseModel]) -> Iterator[str]:
    about = field.description or (table.__doc__ or "").strip()
    yield from ("", *_comment(about))
    if not issubclass(table, JobOptions) or key == ("slurm",):
        header = f"[{dotted(key)}]"
        optional = key[0] == "slurm" or field.default is None  # an empty table would lack what it requires
        yield f"#{header}" if optional else header
        yield from _example(table, key)
        return
    for given in field.examples or []:
        [(name, inner)] = given.items() if key[-1] == "steps" else [("", given)]
        yield f"#[{dotted((*key, name) if name else key)}]"
        yield from (f"#{option} = {_value(value)}" for option, value in inner.items())


def _entry(key: Key, field: FieldInfo) -> Iterator[str]:
    if is_secret(field):
        yield from _comment(f"{field.description} Not here, but in {variable_of(key)} or a secrets folder.")
        return
    yield from _comment(field.description or "")
    default = str(field.default).format(home="~/.c4", data="~/.c4") if _is_place(field) else field.default
    yield f"#{key[-1]} = {_value(field.examples[0] if field.examples and not _has_default(field) else default)}"


def _has_default(field: FieldInfo) -> bool:
    return not field.is_required() and field.default not in (None, ()) and not (_is_place(field) and field.examples)


def _is_place(field: FieldInfo) -> bool:
    return isinstance(field.default, str | Path) and "{" in str(field.default)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 116, break_long_words=False, break_on_hyphens=False)]


def schema() -> str:
    """The JSON Schema of the file, by which editors complete and check it."""
    made = Settings.model_json_schema()
    for key, field in known_keys(Settings):
        if is_secret(field):
            del made["$defs"][_model_of(key).__name__]["properties"][key[-1]]  # refused in the file
    for model in (made, *made["$defs"].values()):
        for described in model["properties"].values():
            if isinstance(described.get("default"), dict):
                del described["default"]  # each of its keys has one of its own
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **made}, indent=2) + "\n"


def _model_of(key: Key) -> type[BaseModel]:
    """The table that a key of the settings is in."""
    model: type[BaseModel] = Settings
    for name in key[:-1]:
        model = table_of(model.model_fields[name].annotation) or model
    return model


def tables() -> str:
    """The tables of the documentation, as Markdown."""
    keys = dict(known_keys(Settings))
    rare = [key for key in keys if key not in COMMON and key[0] != "checks" and not _repeated(key)]
    thresholds = [key for key in keys if key not in COMMON and key[0] == "checks"]
    parts = (
        ("What most sites look at", COMMON),
        ("Rarely needed", rare),
        ("Thresholds of the data quality checks", thresholds),
    )
    return "\n\n".join(f"### {title}\n\n{_markdown(names, keys)}" for title, names in parts)


def _repeated(key: Key) -> bool:
    """Whether a key of the section ``slurm`` stands in one of its tables as well as in the section itself."""
    return key[0] == "slurm" and len(key) > 2 and key[1] != "login"


def _markdown(names: Iterable[Key], keys: Mapping[Key, FieldInfo]) -> str:
    lines = ["| key | variable | default | what it decides |", "| --- | --- | --- | --- |"]
    for key in names:
        unset = keys[key].is_required() or keys[key].default in (None, ())
        default = keys[key].default
        shown = _value(default) if isinstance(default, bool | tuple) else str(default)
        written = "–" if unset else f"`{shown.replace('{', '<').replace('}', '>')}`"
        about = (keys[key].description or "").replace("|", "\\|")
        lines.append(f"| `{dotted(key)}` | `{variable_of(key)}` | {written} | {about} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The text of the documentation's page with its tables made anew."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    EXAMPLE.write_text(example(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
