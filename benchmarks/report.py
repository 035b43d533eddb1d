"""How every benchmark says what it found: a table for people, one JSON object for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure. ``ratio`` is how many times better it is than the baseline's, whose own is 1."""

    name: str
    value: float
    unit: str
    ratio: float


def report(benchmark: str, baseline: str, rows: Sequence[Row], as_json: bool) -> None:
    """Prints the rows on stdout, either as a table or as ``{"benchmark", "baseline", "rows"}``."""
    if as_json:
        found = {"benchmark": benchmark, "baseline": baseline, "rows": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps(found) + "\n")
        return
    width = max(len(row.name) for row in rows)
    sys.stdout.write(f"{benchmark}: times better than {baseline}\n")
    for row in rows:
        sys.stdout.write(f"{row.name:<{width}} {row.value:>12,.2f} {row.unit:<10} {row.ratio:>7.2f}\n")
