"""The model of the backlog: how long a history takes, from rates that were measured. It is a model, and is called so.

A run of the backfill fetches its images over one connection, classifies them on one device while all cores decode, and
writes their scores over one connection to the database, one after the other. What several runs do at once is bounded by
each thing that they share, and by how many of them there are:

    fetch     connections × rate of a connection
    decode    cores × rate of a core
    model     devices × rate of a device
    database  writers × rate of a writer
    share     runs at once × n / (overhead + n × (1/fetch + 1/classify + 1/write))

with n images a run, and classify = min(a device, all cores) for a run that is alone. The backlog goes at the least of
the five, and that one is its bottleneck: the asymptotic bounds of operational analysis (Denning and Buzen, The
Operational Analysis of Queueing Network Models, ACM Computing Surveys 10, 1978). They are bounds from above: runs that
wait for one another although nothing is full, hosts that fail, and hourly runs that overtake are not in them.
"""

from dataclasses import dataclass
from math import ceil

DAY_S = 86_400


@dataclass(frozen=True)
class Rates:
    """What one of each does.

    Args:
        fetch: images/s of a connection to the storage host.
        decode: images/s of a core.
        model: images/s of a device.
        write: scores/s of a connection to the database.
        overhead_s: seconds of a run beside those: its wait for a place, the start of its process, its bookkeeping.
    """

    fetch: float
    decode: float
    model: float
    write: float
    overhead_s: float


@dataclass(frozen=True)
class Means:
    """How many of each there are. ``at_once`` is how many runs of the backfill may work at once."""

    connections: int
    devices: int
    cores: int
    at_once: int
    writers: int = 1


@dataclass(frozen=True)
class Load:
    """What is to be scored, and how many images one run takes."""

    images: int
    a_run: float


def bounds(rates: Rates, means: Means, a_run: float) -> dict[str, float]:
    """Images/s that each thing allows, by the names that ``c4 backlog`` gives to limits."""
    return {
        "fetch": means.connections * rates.fetch,
        "decode": means.cores * rates.decode,
        "model": means.devices * rates.model,
        "database": means.writers * rates.write,
        "share": means.at_once * a_run / run_seconds(rates, means.cores, a_run),
    }


def run_seconds(rates: Rates, cores: int, a_run: float) -> float:
    """Seconds of a run that waits for nobody."""
    return rates.overhead_s + work_seconds(rates, cores, a_run)


def work_seconds(rates: Rates, cores: int, a_run: float) -> float:
    """What a run that waits for nobody needs without its overhead."""
    classify = min(rates.model, cores * rates.decode)
    return a_run * (1 / rates.fetch + 1 / classify + 1 / rates.write)


def bottleneck(rates: Rates, means: Means, a_run: float) -> str:
    """The name of the least bound."""
    found = bounds(rates, means, a_run)
    return min(found, key=lambda name: found[name])


def seconds(rates: Rates, means: Means, load: Load) -> float:
    """How long the load takes."""
    return load.images / min(bounds(rates, means, load.a_run).values())


def overhead_seconds(rates: Rates, means: Means, load: Load, took_s: float) -> float:
    """The overhead a run of a backfill that took so many seconds and had no other limit than its runs at once.

    Args:
        rates: their own overhead is not looked at.
    """
    runs = load.images / load.a_run
    return max(0.0, took_s * means.at_once / runs - work_seconds(rates, means.cores, load.a_run))


def paper_seconds(images: int, inspection_s: float, inspection: int, jobs: int) -> float:
    """How long the paper's method takes: a job an inspection, on one connection, so many jobs at once.

    Each job is given a device and cores of its own, and waits for no queue: both are in its favour.

    Args:
        inspection_s: seconds of a job.
        inspection: images of an inspection.
    """
    return ceil(images / inspection) * inspection_s / jobs
