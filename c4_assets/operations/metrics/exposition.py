"""Samples as Prometheus reads them: by HTTP, or as a file for the textfile collector of node_exporter."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from c4_assets.operations.metrics.catalogue import BOUNDS_S, BY_NAME, METRICS, Counts, Metric, Sample
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

ENDING = ".prom"
"""The files that node_exporter's textfile collector reads."""


class _Collector:
    """Prometheus' client asks it at every scrape."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def describe(self) -> Iterator["Family"]:
        """None: registering must ask nothing."""
        return iter(())

    def collect(self) -> Iterator["Family"]:
        """All families that have a sample, in the catalogue's order."""
        found: dict[str, list[Sample]] = {}
        for sample in self._samples():
            found.setdefault(sample.name, []).append(sample)
        if unknown := found.keys() - BY_NAME.keys():
            raise ValueError(f"no metrics of the catalogue: {', '.join(sorted(unknown))}")
        return (_family(metric, found[metric.name]) for metric in METRICS if metric.name in found)


def _family(metric: Metric, samples: Iterable[Sample]) -> "Family":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for sample in samples:
            if isinstance(sample.value, Counts):
                bounds = [*(str(float(bound)) for bound in BOUNDS_S), "+Inf"]
                buckets = list(zip(bounds, sample.value.buckets, strict=True))
                histogram.add_metric(sample.labels, buckets, sample.value.total)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for sample in samples:
        if not isinstance(sample.value, Counts):
            family.add_metric(sample.labels, sample.value)
    return family


def registry(samples: Callable[[], Iterable[Sample]]) -> "CollectorRegistry":
    """What an HTTP server of ``prometheus_client`` serves: the samples, asked for at each scrape."""
    from prometheus_client import CollectorRegistry

    made = CollectorRegistry(auto_describe=False)
    made.register(_Collector(samples))
    return made


def as_text(samples: Iterable[Sample]) -> bytes:
    """Samples in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(registry(lambda: samples))


def write_textfile(file: Path, samples: Iterable[Sample]) -> None:
    """Writes the samples into a file at once: who reads meanwhile sees the old file or the new.

    Raises:
        ConfigurationError: node_exporter would not read a file of that name, or its folder is not there.
    """
    if file.suffix != ENDING:
        raise ConfigurationError(f"{file}: node_exporter reads only files that end in {ENDING}.")
    if not file.parent.is_dir():
        raise ConfigurationError(f"{file.parent} is no folder: name the one of --collector.textfile.directory.")
    text = as_text(samples)
    with atomic_write(file) as temporary:
        temporary.write_bytes(text)
        temporary.chmod(0o644)  # node_exporter runs as an account of its own
