"""The secrets of a deployment, as values: what no log, message or page may hold."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, get_origin

from pydantic import BaseModel, SecretStr

from resources.redaction import passwords_in
from resources.settings.keys import Key, field_of, is_secret, is_table
from resources.settings.sources import Found

_SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY|TOKEN)$")
"""Names of variables that hold a secret of something that C4 talks to: of Dagster's storage, of a bucket."""

_SHORTEST_OF_OTHERS = 6
"""Characters of a variable's value that count as a secret: some have ``true`` or a number."""


def secret_values(model: type[BaseModel], found: Mapping[Key, Found], environment: Mapping[str, str]) -> Iterator[str]:
    """The values of all secret keys, the passwords in all addresses, and those of variables that are not C4's own."""
    for key, each in found.items():
        field = field_of(model, key)
        if field is not None and is_secret(field):
            several = get_origin(field.annotation) is tuple
            yield from (word for text in _texts(each.value) for word in (_words(text) if several else [text]))
        else:
            yield from (password for text in _texts(each.value) for password in passwords_in(text))
    for name, value in environment.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_OF_OTHERS:
            yield value


def secrets_in(value: object) -> Iterator[str]:
    """The values of all secrets in settings, wherever the model has them."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from secrets_in([getattr(value, name) for name in type(value).model_fields])
    elif is_table(value):
        yield from secrets_in(list(value.values()))
    elif isinstance(value, list | tuple):
        yield from (text for each in cast("Sequence[object]", value) for text in secrets_in(each))


def _words(text: str) -> list[str]:
    """The entries of a list that a variable or a file of a secret has as text."""
    return re.findall(r"[^\s\"'\[\],]+", text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif is_table(value):
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, Iterable):
        yield from (text for each in cast("Iterable[object]", value) for text in _texts(each))
