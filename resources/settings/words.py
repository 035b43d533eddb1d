"""What is wrong with a setting, in words for the operator."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from resources.settings.keys import Key, dotted
from resources.settings.types import without_secrets

_RULES = {
    "missing": "it is required",
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "finite_number": "it must be a finite number",
    "string_type": "it must be a text",
    "path_type": "it must be a path",
    "date_type": "it must be a date like 2006-01-01",
    "date_parsing": "it must be a date like 2006-01-01",
    "date_from_datetime_parsing": "it must be a date like 2006-01-01",
    "date_from_datetime_inexact": "it must be a date like 2006-01-01",
    "tuple_type": 'it must be a list like ["one", "two"]',
    "model_type": "it must be a table with keys of its own",
    "dict_type": "it must be a table with keys of its own",
    "extra_forbidden": "there is no such setting",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}


def problems_of(error: ValidationError, found: Mapping[Key, Any], secret: Collection[Key] = ()) -> list[str]:
    """A sentence for every value that cannot be used, with its key, its source and the rule.

    Args:
        found: values with their ``source`` by key.
        secret: keys whose values are not shown.
    """
    return [_problem(detail, found, secret) for detail in error.errors(include_url=False)]


def _problem(detail: ErrorDetails, found: Mapping[Key, Any], secret: Collection[Key]) -> str:
    key = tuple(str(part) for part in detail["loc"])
    known = next((key[:length] for length in range(len(key), 0, -1) if key[:length] in found), None)
    source = f" ({found[known].source})" if known else ""
    scalar = isinstance(detail["input"], str | int | float) and not any(key[: len(each)] == each for each in secret)
    shown = f" = {_shown(detail['input'])}" if scalar else ""
    return f"{dotted(key)}{shown}{source} cannot be used: {_rule(detail)}{_why(detail, key, found)}."


def _why(detail: ErrorDetails, key: Key, found: Mapping[Key, Any]) -> str:
    """For a key that only its table requires: what has brought the table."""
    table = key[:-1]
    beside = next((each for each in found if each[: len(table)] == table), None)
    if detail["type"] != "missing" or not table or beside is None:
        return ""
    return f", because {dotted(beside)} is set ({found[beside].source})"


def _shown(value: Any) -> str:
    return repr(without_secrets(value) if isinstance(value, str) else value)


def _rule(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _RULES:
        return _RULES[kind]
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"it must be {words} {context[bound]}"
    if kind == "literal_error":
        return f"it must be {context['expected']}"
    if kind == "value_error":
        return f"it {said}" if (said := str(context["error"])).startswith("must") else said
    return detail["msg"].replace("Input should be", "it must be")
