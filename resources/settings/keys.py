"""Names of a setting: ``store.url`` in the file, ``C4_STORE_URL`` as a variable, ``store_url`` in a secrets folder."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, TypeAlias, TypeGuard, Union, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

Key: TypeAlias = tuple[str, ...]

PREFIX = "C4_"

ANY_STEP = "<step>"
"""Stands for names that the site chooses, in :func:`known_keys`."""


def dotted(key: Key) -> str:
    """The key as it is written in the file."""
    return ".".join(key)


def variable_of(key: Key) -> str:
    """The variable that overrides a key: ``C4_SECTION_KEY``, and two underscores before each level further down."""
    return PREFIX + "__".join(["_".join(key[:2]), *key[2:]]).upper()


def key_of(variable: str, model: type[BaseModel]) -> Key | None:
    """The key that a variable overrides, known or not; None if it names no section and no key outside of them."""
    name = variable.removeprefix(PREFIX).lower()
    if name in model.model_fields:
        return (name,)
    for section, field in model.model_fields.items():
        if table_of(field.annotation) and name.startswith(f"{section}_"):
            return (section, *name.removeprefix(f"{section}_").split("__"))
    return None


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a table: of a section, of one that may be missing, or of each entry of a dictionary."""
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(table_of, get_args(annotation))), None)
    if get_origin(annotation) is dict:
        return table_of(get_args(annotation)[1])
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def field_of(model: type[BaseModel], key: Key) -> FieldInfo | None:
    """What the model says of a key; None if it does not know it."""
    field = model.model_fields.get(key[0])
    if field is None or len(key) == 1:
        return field
    table, rest = table_of(field.annotation), key[1:]
    if table is not None and get_origin(field.annotation) is dict:
        rest = rest[1:]
    return field_of(table, rest) if table is not None and rest else None


def known_keys(model: type[BaseModel], above: Key = ()) -> Iterator[tuple[Key, FieldInfo]]:
    """All keys that hold a value, in the order of the model."""
    for name, field in model.model_fields.items():
        table = table_of(field.annotation)
        if table is None:
            yield (*above, name), field
        else:
            steps = (ANY_STEP,) if get_origin(field.annotation) is dict else ()
            yield from known_keys(table, (*above, name, *steps))


def is_secret(field: FieldInfo) -> bool:
    """Whether a key is a password by itself."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def nearest(name: str, names: Iterable[str]) -> str:
    """A question for the operator, with the most similar of some names, or nothing."""
    found = difflib.get_close_matches(name, list(names), 1, 0.6)
    return f" Did you mean {found[0]}?" if found else ""


def is_table(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value of TOML, YAML or the settings is a table."""
    return isinstance(value, Mapping)


def flat(table: Mapping[str, Any], above: Key = ()) -> dict[Key, Any]:
    """The values of nested tables by their keys."""
    values: dict[Key, Any] = {}
    for name, value in table.items():
        key = (*above, str(name))
        values |= flat(value, key) if is_table(value) else {key: value}
    return values


def nested(values: Mapping[Key, Any]) -> dict[str, Any]:
    """The nested tables of values by their keys. A value where a table should be wins over the table."""
    tables: dict[str, Any] = {}
    for key in sorted(values, key=len):
        table: Any = tables
        for name in key[:-1]:
            table = cast("dict[str, Any]", table).setdefault(name, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[key[-1]] = values[key]
    return tables
