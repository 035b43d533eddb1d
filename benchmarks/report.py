"""What all benchmarks do alike: contenders take turns, and what was found is a table or one JSON object."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median


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


def seconds_of(work: Callable[[], object]) -> float:
    """How many seconds a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each returns, in interleaved rounds: what else the machine does meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {name: median(each) for name, each in found.items()}
