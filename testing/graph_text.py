"""The asset graph as text: what a change of it changes is read in a diff.

``python -m testing.graph_text`` prints it for the default settings; ``--write`` puts it into the snapshot of the tests.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parents[1] / "tests" / "snapshots" / "graph.txt"


def graph_text(definitions: Any) -> str:
    """Assets with partitions, dependencies, checks and policies; jobs; sensors; schedules. One fact a line."""
    graph = definitions.resolve_asset_graph()
    lines: list[str] = []
    for key in sorted(graph.get_all_asset_keys(), key=str):
        lines += [f"asset {key.to_user_string()}", *(f"  {line}" for line in _asset(graph, key))]
    repository = definitions.get_repository_def()
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            nodes = ", ".join(sorted(node.name for node in job.graph.nodes))
            lines += [f"job {job.name}", f"  runs {nodes}"]
    for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name):
        every = f"  every {sensor.minimum_interval_seconds} s, {sensor.default_status.value.lower()}"
        lines += [f"sensor {sensor.name}", every, f"  asks for {_targets(sensor)}"]
    for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name):
        at = f"  at {schedule.cron_schedule} {schedule.execution_timezone}, {schedule.default_status.value.lower()}"
        lines += [f"schedule {schedule.name}", at, f"  asks for {schedule.job_name}"]
    return "\n".join(lines) + "\n"


def _targets(sensor: Any) -> str:
    return ", ".join(target.job_name for target in sensor.targets if target.job_name) or "no run"


def _asset(graph: Any, key: Any) -> Iterator[str]:
    node = graph.get(key)
    yield "external" if node.is_external else "made by C4"
    if node.partitions_def:
        partitions = node.partitions_def
        yield f"partitions {type(partitions).__name__} {partitions.start:%Y-%m-%d} {partitions.timezone}"
    if parents := sorted(parent.to_user_string() for parent in node.parent_keys):
        yield f"from {', '.join(parents)}"
    if node.is_materializable:
        yield f"pool {', '.join(sorted(node.pools or ())) or 'none'}"
    if node.backfill_policy:
        yield f"backfill {node.backfill_policy.max_partitions_per_run} partitions a run"
    if policy := node.freshness_policy:
        yield f"fresh {_policy(policy)}"
    for check in sorted(node.check_keys, key=str):
        blocking = graph.get_check_spec(check).blocking
        yield f"check {check.name}{', blocking' if blocking else ''}"


def _policy(policy: Any) -> str:
    if hasattr(policy, "deadline_cron"):
        return f"if made within {_hours(policy.lower_bound_delta)} before {policy.deadline_cron} {policy.timezone}"
    warn, fail = policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()
    return f"for {_hours(warn)}, failed after {_hours(fail)}"


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"


def main() -> None:
    """Prints the graph, or writes the snapshot."""
    from c4_assets.definitions import defs

    text = graph_text(defs)
    if sys.argv[1:] == ["--write"]:
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
