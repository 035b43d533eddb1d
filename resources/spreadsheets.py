"""Cells of CSV files as spreadsheets read them."""

from collections.abc import Mapping
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""With these a spreadsheet takes text for a formula, or passes over what comes first and looks again."""


def harmless(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts no spreadsheet runs as a formula: an apostrophe comes first, which it does not show.

    Numbers stay numbers.
    """
    return {
        name: f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
        for name, value in row.items()
    }
