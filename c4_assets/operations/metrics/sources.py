"""Asks what the metrics come from: each source in its own thread, seldom, and without waiting for one that hangs."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from c4_assets.operations.metrics.catalogue import Sample
from resources.errors import C4Error

log = logging.getLogger("c4.metrics")

CACHE_S = 15.0
"""How long an answer is used again: that of Prometheus' usual interval of scraping, so that two servers that scrape
cost no more than one."""

SCRAPE_PATIENCE_S = 0.7
"""How long a scrape waits for answers before it goes out with those from before: it may take a second."""

LONGEST_ANSWER_S = 60.0
"""Seconds after which a source counts as one that does not answer, though it is still being asked."""


class NothingYet(Exception):
    """A source has nothing to tell yet, and nothing is wrong with it."""


@dataclass(frozen=True)
class Source:
    """Something that is asked for samples.

    Attributes:
        ask: asks it, with limits on time of its own; whatever it raises means that there is no answer, and
            :class:`NothingYet` that there is none to be had yet.
        every_s: how long an answer is used again.
        again_s: how long one that has failed, or has nothing yet, is left alone, where that is shorter.
        longest_s: see :data:`LONGEST_ANSWER_S`.
        up: name of the metric that is 1 if it has answered, besides ``c4_source_up``.
    """

    name: str
    ask: Callable[[], Iterable[Sample]]
    every_s: float = CACHE_S
    again_s: float = CACHE_S
    longest_s: float = LONGEST_ANSWER_S
    up: str = ""


@dataclass(frozen=True)
class _Answer:
    """What a source said, or that it has failed; ``at`` and ``took`` are of the last time that it answered."""

    samples: tuple[Sample, ...] = ()
    at: float = 0.0
    took: float = 0.0
    failure: str = ""


@dataclass
class _Asked:
    """One source and its newest answer, which is put in place as a whole."""

    source: Source
    answer: _Answer | None = None
    began: float = -math.inf
    """When it was asked last, on the monotonic clock."""
    thread: threading.Thread | None = None

    @property
    def is_asked(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def ask(self) -> None:
        started, before = time.monotonic(), self.answer or _Answer()
        try:
            samples = tuple(self.source.ask())
        except NothingYet:
            self.answer = None
        except Exception as error:  # drivers, Dagster and file systems raise whatever they like
            # The texts of others may hold a password.
            failure = f"{type(error).__name__}: {error}" if isinstance(error, C4Error) else type(error).__name__
            if failure != before.failure:
                log.warning("%s does not answer: %s", self.source.name, failure)
            self.answer = replace(before, samples=(), failure=failure)
        else:
            self.answer = _Answer(samples, time.time(), time.monotonic() - started)


class Sources:
    """All sources and their newest answers. Scrapes may come at once, from several threads."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._asked = [_Asked(source) for source in sources]
        self._lock = threading.Lock()

    def samples(self, patience_s: float = SCRAPE_PATIENCE_S) -> Iterator[Sample]:
        """Asks the sources whose answers are old, and yields what is known when all have answered or the wait is over.

        A source that fails, or has been asked for too long, has no samples but its ``…_up`` of 0: Prometheus then sees
        a series end, and no old value is taken for a new one. One that takes longer than the wait keeps the answer from
        before.

        Args:
            patience_s: longest wait in seconds; ``inf`` waits as long as each source may take.
        """
        with self._lock:
            for asked in self._asked:
                self._start_if_old(asked)
        began = time.monotonic()
        for asked in self._asked:
            if asked.thread is not None:
                asked.thread.join(max(0.0, began + min(patience_s, asked.source.longest_s) - time.monotonic()))
        for asked in self._asked:
            yield from _told(asked)

    def _start_if_old(self, asked: _Asked) -> None:
        now, rest = time.monotonic(), asked.source.every_s
        if asked.answer is None or asked.answer.failure:
            rest = min(rest, asked.source.again_s)
        if asked.is_asked or now - asked.began < rest:
            return
        asked.began = now
        asked.thread = threading.Thread(target=asked.ask, name=f"c4-metrics-{asked.source.name}", daemon=True)
        asked.thread.start()


def _told(asked: _Asked) -> Iterator[Sample]:
    source, answer = asked.source, asked.answer
    hangs = asked.is_asked and time.monotonic() - asked.began >= source.longest_s
    if answer is None and not hangs:
        return  # nothing is known yet
    is_up = answer is not None and not answer.failure and not hangs
    yield Sample("c4_source_up", float(is_up), (source.name,))
    if source.up:
        yield Sample(source.up, float(is_up))
    if answer and answer.at:
        yield Sample("c4_source_timestamp_seconds", answer.at, (source.name,))
        yield Sample("c4_source_duration_seconds", answer.took, (source.name,))
    if answer and is_up:
        yield from answer.samples
