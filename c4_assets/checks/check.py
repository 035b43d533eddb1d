"""A check: rows that must meet expectations, how severe a failure is, and what it stops."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from c4_assets.checks.thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["blocking", "warning", "information"]
"""A failed *blocking* check stops wrong data; a failed *warning* asks somebody to look; *information* is only counted
and never fails."""

Stops = Literal["inspection", "step", "label"]
"""What a blocking check stops: the inspection is withheld from the database, the step of the partition fails, or the
label is left out of what the model learns from."""

Tables = Mapping[str, "pd.DataFrame"]
"""The tables that checks judge, named by what a row is: ``images``, ``inspections``, ``labels`` and so on."""


@dataclass(frozen=True)
class Expect:
    """An expectation of Great Expectations, by its name and arguments there."""

    kind: str
    arguments: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the expectation is about."""
        return tuple(self.arguments.get("column_list") or (self.arguments["column"],))


def between(column: str, least: float | None = None, most: float | None = None) -> Expect:
    """Every value lies in the bounds. A missing value is not judged."""
    return Expect("expect_column_values_to_be_between", {"column": column, "min_value": least, "max_value": most})


def present(column: str) -> Expect:
    """No value is missing; NaN counts as missing."""
    return Expect("expect_column_values_to_not_be_null", {"column": column})


def absent(column: str) -> Expect:
    """There is no value."""
    return Expect("expect_column_values_to_be_null", {"column": column})


def one_of(column: str, values: Sequence[Any]) -> Expect:
    """Every value is one of those given. A missing value is not judged."""
    return Expect("expect_column_values_to_be_in_set", {"column": column, "value_set": list(values)})


def unique(*columns: str) -> Expect:
    """No two rows have equal values in all of the columns."""
    if len(columns) == 1:
        return Expect("expect_column_values_to_be_unique", {"column": columns[0]})
    return Expect("expect_compound_columns_to_be_unique", {"column_list": list(columns)})


@dataclass(frozen=True)
class Check:
    """A check of an asset.

    Attributes:
        name: name in Dagster; unique over all assets.
        asset: name of the asset whose step evaluates the check.
        table: name of the table that it judges.
        severity, stops: what a failure does.
        holds: what is true when the check passes, in a sentence for the operator.
        remedy: what to do when it fails.
        expectations: what the rows must meet, at the site's thresholds.
        shown: columns of offending rows to show: first those that identify the row, then those with what is wrong.
    """

    name: str
    asset: str
    table: str
    severity: Severity
    holds: str
    remedy: str
    expectations: Callable[[Thresholds], Sequence[Expect]]
    shown: tuple[str, ...]
    stops: Stops | None = None

    def __post_init__(self) -> None:
        if (self.severity == "blocking") != (self.stops is not None):
            raise ValueError(f"{self.name}: a blocking check says what it stops, and no other does")


@dataclass(frozen=True)
class Verdict:
    """The result of a check.

    Attributes:
        judged: number of rows that had the values in question.
        rows: the offending rows, as records of the table.
    """

    check: Check
    judged: int
    rows: tuple[dict[str, Any], ...]

    @property
    def met(self) -> bool:
        """Whether all rows meet the expectations."""
        return not self.rows

    @property
    def passed(self) -> bool:
        """The result for Dagster, in which information never fails."""
        return self.met or self.check.severity == "information"

    @property
    def sentence(self) -> str:
        """The result in a sentence."""
        if not self.judged:
            return "There was nothing to judge."
        if self.met:
            return f"All {self.judged} pass."
        return f"{len(self.rows)} of {self.judged} do not: {self.check.remedy}"


def format_value(value: object) -> str:
    """A value as text: numbers with four digits, empty if missing."""
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
