"""The dashboard for Grafana as code: ``python -m c4_assets.operations.metrics.dashboard`` writes it into ``deploy/``.

Totals move when a run ends, so rates are over an hour and not over Grafana's own interval.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DASHBOARD_FILE = Path(__file__).parents[3] / "deploy" / "grafana" / "c4.json"

GRID_COLUMNS = 24
"""Columns of Grafana's grid."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

IS_UP = [{"type": "value", "options": {"0": {"text": "down", "color": "red"}, "1": {"text": "up", "color": "green"}}}]
PASSES = [
    {"type": "value", "options": {"0": {"text": "fails", "color": "red"}, "1": {"text": "passes", "color": "green"}}}
]

FULL, HALF, THIRD = 24, 12, 8


@dataclass(frozen=True)
class Panel:
    """One panel. ``queries`` are pairs of an expression and the legend of its series.

    Attributes:
        red_from: value from which a number is red; below it is green.
        words: Grafana's mappings of values to words.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    kind: Literal["stat", "timeseries", "state-timeline", "table"] = "timeseries"
    unit: str = "short"
    width: int = HALF
    height: int = 8
    description: str = ""
    red_from: float | None = None
    words: Sequence[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def _up(title: str, metric: str) -> Panel:
    return Panel(title, [(metric, "")], "stat", width=4, height=4, words=IS_UP)


def _age(title: str, metric: str, red_from: float, description: str = "") -> Panel:
    return Panel(title, [(f"time() - max({metric})", "")], "stat", "s", 4, 4, description, red_from)


def _quantile(share: float) -> str:
    return f"histogram_quantile({share}, sum by (le, step) (increase(c4_step_duration_seconds_bucket[6h])))"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is it well?",
        (
            _up("Imaging database", "c4_database_up"),
            _up("Image store", "c4_store_up"),
            _up("Slurm", "c4_slurm_up"),
            _up("Dagster", "c4_dagster_up"),
            _age("Daemon's last sign", "c4_daemon_heartbeat_timestamp_seconds", 600),
            Panel(
                "Alerts",
                [('count(ALERTS{alertname=~"C4.*", alertstate="firing"}) or vector(0)', "")],
                "stat",
                width=4,
                height=4,
                red_from=1,
            ),
            _age("Last imaged", "c4_last_imaged_timestamp_seconds", 3 * 86400),
            _age("Last scored", "c4_last_scored_timestamp_seconds", 3 * 86400),
            _age(
                "Oldest image that waits",
                "c4_oldest_pending_timestamp_seconds",
                86400,
                "Of those that a run could score now. Empty where none waits.",
            ),
            Panel("Failed images", [('c4_images{state="failed"}', "")], "stat", width=4, height=4),
            Panel("Withheld images", [('c4_images{state="withheld"}', "")], "stat", width=4, height=4),
            Panel(
                "Runs failed, 24 hours",
                [('sum(increase(c4_runs_ended_total{outcome="failure"}[24h])) or vector(0)', "")],
                "stat",
                width=4,
                height=4,
                red_from=1,
            ),
            Panel(
                "Open incidents", [("sum(c4_incidents_open) or vector(0)", "")], "stat", width=4, height=4, red_from=1
            ),
            Panel("Messages waiting", [("c4_messages_waiting", "")], "stat", width=4, height=4, red_from=1),
        ),
    ),
    (
        "Throughput",
        (
            Panel(
                "Images an hour",
                [
                    ("increase(c4_images_fetched_total[1h])", "fetched"),
                    ("increase(c4_images_classified_total[1h])", "classified"),
                    ("increase(c4_images_written_total[1h])", "written"),
                    ("increase(c4_image_failures_total[1h])", "failed"),
                ],
                description="Counted when a run ends.",
            ),
            Panel(
                "Runs ended an hour",
                [("sum by (dagster_job, outcome) (increase(c4_runs_ended_total[1h]))", "{{dagster_job}} {{outcome}}")],
            ),
            Panel(
                "Runs waiting and at work",
                [('c4_runs{status=~"queued|not_started|starting|started|canceling"}', "{{status}}")],
            ),
            Panel(
                "Pools",
                [
                    ("c4_pool_slots_used", "{{pool}} used"),
                    ("c4_pool_slots", "{{pool}} limit"),
                    ("c4_pool_steps_waiting", "{{pool}} waiting"),
                ],
            ),
        ),
    ),
    (
        "Backlog",
        (
            Panel("Images by state", [("c4_images", "{{state}}"), ("c4_images_listed", "listed")]),
            Panel(
                "Older than the sensor's window",
                [("c4_backlog_images", "images"), ("c4_backlog_partitions", "days")],
                description="Only a backfill scores them: c4 backlog.",
            ),
        ),
    ),
    (
        "Stages",
        (
            Panel("Duration of a step, median", [(_quantile(0.5), "{{step}}")], unit="s", width=THIRD),
            Panel("Duration of a step, 95 %", [(_quantile(0.95), "{{step}}")], unit="s", width=THIRD),
            Panel(
                "Steps failed an hour",
                [("sum by (step) (increase(c4_step_failures_total[1h]))", "{{step}}")],
                width=THIRD,
            ),
        ),
    ),
    (
        "Checks",
        (
            Panel(
                "Newest verdicts",
                [('c4_check_passed{severity=~"blocking|warning"}', "{{asset}}: {{check}} ({{severity}})")],
                "state-timeline",
                width=FULL,
                height=14,
                words=PASSES,
            ),
        ),
    ),
    (
        "Hosts",
        (
            Panel("Disk used", [("1 - c4_disk_free_bytes / c4_disk_size_bytes", "{{place}}")], unit="percentunit"),
            Panel("Disk free", [("c4_disk_free_bytes", "{{place}}")], unit="bytes"),
            Panel(
                "Age of the last sign of each daemon",
                [("time() - c4_daemon_heartbeat_timestamp_seconds", "{{daemon}}")],
                unit="s",
            ),
            Panel(
                "Age of the last tick",
                [("time() - c4_tick_timestamp_seconds", "{{kind}} {{name}}")],
                unit="s",
            ),
            Panel(
                "Sources of these metrics",
                [("c4_source_up", "{{source}}")],
                "state-timeline",
                words=IS_UP,
                description="What is down has no metrics now.",
            ),
            Panel("How long they take to answer", [("c4_source_duration_seconds", "{{source}}")], unit="s"),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "title": "C4",
        "uid": "c4",
        "tags": ["c4"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "links": [],
        "annotations": {"list": []},
        "panels": list(_placed()),
    }


def _placed() -> Iterator[dict[str, Any]]:
    """Rows and panels from left to right and from top to bottom."""
    number, y = 1, 0
    for title, panels in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": y},
        }
        number, x, y, line = number + 1, 0, y + 1, 0
        for panel in panels:
            if x + panel.width > GRID_COLUMNS:
                x, y, line = 0, y + line, 0
            yield _as_json(panel, number, x, y)
            number, x, line = number + 1, x + panel.width, max(line, panel.height)
        y += line


def _as_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    targets = [
        {
            "refId": chr(ord("A") + n),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "instant": panel.kind == "stat",
            "range": panel.kind != "stat",
        }
        for n, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "mappings": list(panel.words),
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"min": 0} if panel.kind == "timeseries" else {}),
            },
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if panel.kind == "stat" else {},
    }


def as_text() -> str:
    """The dashboard as the file in ``deploy/grafana/`` has it."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD_FILE.write_text(as_text())
