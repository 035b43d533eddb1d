"""Every metric that C4 exports, with its kind, unit and labels (``docs/metrics.md`` shows this table).

Units and endings are Prometheus' own (prometheus.io/docs/practices/naming): seconds, bytes, ``_total`` for what only
grows, ``_timestamp_seconds`` for moments, whose age is ``time() - x`` also while the exporter is stopped. No label
holds a plate, an image or a run: each value of a label is a time series that Prometheus keeps. None is called ``job``
or ``instance``, which Prometheus sets itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from resources.records import ImageState

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric. ``about`` is the row of the dashboard and the section of the documentation that it belongs to."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Counts:
    """What a histogram holds: how many values were at most each bound of :data:`BOUNDS_S`, and the sum of all.

    ``buckets`` are cumulative and have one more than the bounds, the number of all values.
    """

    buckets: tuple[int, ...]
    total: float


@dataclass(frozen=True)
class Sample:
    """One value of a metric. ``labels`` are the values of the metric's labels, in their order."""

    name: str
    value: float | Counts
    labels: tuple[str, ...] = ()


BOUNDS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
"""Bounds of the buckets of a step's duration, in seconds: a step takes a second where nothing is new, and a step of a
backfill may take its four hours (``minutes=240`` of the assets)."""

STATES = (ImageState.SCORED, ImageState.FAILED, ImageState.WITHHELD, ImageState.PENDING, ImageState.RETRYING)

SOURCES, IMAGES, RUNS, STEPS, CHECKS, HOSTS, ALERTS = "sources", "images", "runs", "steps", "checks", "hosts", "alerts"


def _metric(about: str, kind: Kind, name: str, text: str, *labels: str) -> Metric:
    return Metric(name, kind, text, labels, about)


METRICS: tuple[Metric, ...] = (
    _metric(SOURCES, "gauge", "c4_build_info", "Always 1; the release of C4 that is installed.", "version"),
    _metric(
        SOURCES,
        "gauge",
        "c4_model_info",
        "Always 1; the scorer version of the current model, to which all counts of images belong.",
        "scorer_version",
    ),
    _metric(
        SOURCES,
        "gauge",
        "c4_source_up",
        "1 where what is asked has answered; its other metrics are absent else.",
        "source",
    ),
    _metric(
        SOURCES,
        "gauge",
        "c4_source_timestamp_seconds",
        "When it answered last; its metrics are of this time.",
        "source",
    ),
    _metric(SOURCES, "gauge", "c4_source_duration_seconds", "How long that answer took.", "source"),
    _metric(SOURCES, "gauge", "c4_database_up", "1 if the imaging database answers."),
    _metric(SOURCES, "gauge", "c4_store_up", "1 if the image store gives an image, or says that it has none."),
    _metric(SOURCES, "gauge", "c4_slurm_up", "1 if Slurm names its partitions; absent without Slurm."),
    _metric(SOURCES, "gauge", "c4_dagster_up", "1 if Dagster's storage answers."),
    _metric(IMAGES, "gauge", "c4_images_listed", "Images that the imaging database lists, all states together."),
    _metric(
        IMAGES,
        "gauge",
        "c4_images",
        "Images of the current model by state (docs/words.md); retrying ones are pending as well.",
        "state",
    ),
    _metric(
        IMAGES,
        "gauge",
        "c4_images_counted_timestamp_seconds",
        "When images were counted: all of history, or those since the last count of history.",
        "part",
    ),
    _metric(
        IMAGES,
        "gauge",
        "c4_backlog_images",
        "Pending images that were imaged before the sensor's window (runs.window_days): only a backfill scores them.",
    ),
    _metric(
        IMAGES, "gauge", "c4_backlog_partitions", "Days of imaging before the sensor's window that have pending images."
    ),
    _metric(
        IMAGES,
        "gauge",
        "c4_oldest_pending_timestamp_seconds",
        "When the oldest image was imaged that a run could score now, within the sensor's window; absent without one.",
    ),
    _metric(IMAGES, "gauge", "c4_last_imaged_timestamp_seconds", "When the newest inspection was imaged."),
    _metric(IMAGES, "gauge", "c4_last_scored_timestamp_seconds", "When the current model's newest score was given."),
    _metric(IMAGES, "counter", "c4_images_fetched_total", "Images fetched from the store, by runs that have ended."),
    _metric(
        IMAGES,
        "counter",
        "c4_images_classified_total",
        "Images classified by the current model, by runs that have ended.",
    ),
    _metric(IMAGES, "counter", "c4_images_written_total", "Scores written, by runs that have ended."),
    _metric(IMAGES, "counter", "c4_image_failures_total", "Failed images written, one each attempt, likewise."),
    _metric(RUNS, "gauge", "c4_runs", "Dagster's runs by status; ended ones until they are pruned.", "status"),
    _metric(
        RUNS,
        "counter",
        "c4_runs_ended_total",
        "Runs that have ended, by Dagster's job and outcome.",
        "dagster_job",
        "outcome",
    ),
    _metric(
        RUNS, "gauge", "c4_runs_counted_timestamp_seconds", "Until when ended runs are in the totals and histograms."
    ),
    _metric(RUNS, "gauge", "c4_pool_slots", "Steps that may use a pool at once.", "pool"),
    _metric(RUNS, "gauge", "c4_pool_slots_used", "Steps that hold a slot of a pool.", "pool"),
    _metric(RUNS, "gauge", "c4_pool_steps_waiting", "Steps that wait for a slot of a pool.", "pool"),
    _metric(RUNS, "gauge", "c4_daemon_heartbeat_timestamp_seconds", "Last heartbeat of each daemon.", "daemon"),
    _metric(RUNS, "gauge", "c4_tick_timestamp_seconds", "Last tick of each sensor and schedule.", "kind", "name"),
    _metric(RUNS, "gauge", "c4_tick_failed", "1 if that tick has failed.", "kind", "name"),
    _metric(STEPS, "histogram", "c4_step_duration_seconds", "Time that steps took, of runs that have ended.", "step"),
    _metric(STEPS, "counter", "c4_step_failures_total", "Steps that failed, of runs that have ended.", "step"),
    _metric(
        CHECKS,
        "gauge",
        "c4_check_passed",
        "Whether the newest evaluation of a data quality check passed; severity is what its failure is.",
        "asset",
        "check",
        "severity",
    ),
    _metric(CHECKS, "gauge", "c4_check_evaluated_timestamp_seconds", "When that was.", "asset", "check"),
    _metric(
        ALERTS,
        "gauge",
        "c4_incidents_open",
        "Incidents that have not ended, by what operators hear of them (docs/alerts.md); absent where there are none.",
        "event",
        "severity",
    ),
    _metric(ALERTS, "gauge", "c4_messages_waiting", "Messages to people that no channel has taken yet."),
    _metric(ALERTS, "gauge", "c4_oldest_message_timestamp_seconds", "When the oldest was made; absent without one."),
    _metric(HOSTS, "gauge", "c4_disk_free_bytes", "Room for C4's account on the file system of a folder.", "place"),
    _metric(HOSTS, "gauge", "c4_disk_size_bytes", "Size of that file system.", "place"),
)

BY_NAME = {metric.name: metric for metric in METRICS}


def as_table(metrics: Sequence[Metric] = METRICS) -> str:
    """The metrics as a table in Markdown."""
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in metrics
    ]
    return "\n".join(["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(as_table())
