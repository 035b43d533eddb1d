"""Traces: what a run spent its time on, sent to an OpenTelemetry collector. Off unless ``tracing.endpoint`` is set.

Ids follow from what a span is of. So the process of each step, and the daemon that tells of the run as a whole, agree
on them without being told of each other. A collector that is away or slow fails nothing and delays a step by
:data:`FLUSH_S` at most: spans that find no room or no listener are dropped.
"""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

log = logging.getLogger("c4.traces")

SEND_S = 2.0
"""Longest wait for an answer of the collector."""

SEND_EVERY_S = 10.0
"""How often spans are sent while a step works: one that is killed has told of nearly all that it did."""

FLUSH_S = 2.0
"""Longest wait at the end of a step until its spans are sent."""

MAX_WAITING_SPANS = 2048
"""Spans that may wait to be sent. A day of a busy facility has some hundred inspections."""

SPANS_A_REQUEST = 512
"""Spans a request."""


@dataclass(frozen=True)
class Place:
    """Where a span stands: its own id, and that of its trace."""

    trace: int
    span: int


def run_place(run_id: str) -> Place:
    """The span of a run. Its trace is the run's."""
    return Place(_number(f"run {run_id}", 16), _number(f"run {run_id}", 8))


def step_place(run_id: str, step: str, attempt: int) -> Place:
    """The span of an attempt at a step, from 0."""
    return Place(run_place(run_id).trace, _number(f"step {run_id} {step} {attempt}", 8))


def tick_place(tick: str) -> Place:
    """The span of a tick, in a trace of its own: it may have asked for several runs."""
    return Place(_number(f"tick {tick}", 16), _number(f"tick {tick}", 8))


def _number(text: str, length: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:length], "big") or 1


@dataclass
class Span:
    """Something that took time; ``start`` and ``end`` are seconds since 1970. ``error`` is empty where it went well."""

    name: str
    place: Place
    start: float
    end: float = 0.0
    parent: Place | None = None
    links: tuple[Place, ...] = ()
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])
    error: str = ""


@dataclass(frozen=True)
class Step:
    """The step that this process works on, to which the spans of its inspections belong."""

    sender: "Sender"
    run_id: str
    name: str
    attempt: int

    @property
    def place(self) -> Place:
        return step_place(self.run_id, self.name, self.attempt)


_at_work: ContextVar[Step | None] = ContextVar("c4_traced_step", default=None)


@contextmanager
def at_work_on(step: Step) -> Generator[None]:
    """Spans of inspections within the block belong to the step."""
    token = _at_work.set(step)
    try:
        yield
    finally:
        _at_work.reset(token)


@contextmanager
def inspection_span(stage: str, inspection_id: int, plate: str = "", images: int = 0) -> Generator[Span | None]:
    """The work on one inspection as a span; ``None`` where traces are off. Plate and images may be set later.

    Paths of images are not in it.
    """
    step = _at_work.get()
    if step is None:
        yield None
        return
    began = time.time()
    number = _number(f"{step.place.span} {stage} {inspection_id} {began}", 8)
    span = Span(f"{stage} inspection", Place(step.place.trace, number), began, parent=step.place)
    span.attributes |= {"c4.inspection_id": inspection_id, "c4.plate": plate, "c4.images": images}
    try:
        yield span
    except Exception as error:
        span.error = type(error).__name__
        raise
    finally:
        span.end = time.time()
        step.sender.send([span])


@cache
def sender(endpoint: str) -> "Sender":
    """What sends spans from this process to a collector."""
    return Sender(endpoint)


class Sender:
    """Sends spans as OTLP over HTTP, as protobuf: a bounded queue, emptied by a thread of its own now and then.

    It loads the messages of OTLP alone: the SDK's exporter loads an HTTP library, which takes each step longer than all
    of its spans, and its flush knows no limit (open-telemetry/opentelemetry-python #4555).
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._waiting: deque[Span] = deque(maxlen=MAX_WAITING_SPANS)
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._lost = 0

    def send(self, spans: Iterable[Span]) -> None:
        """Puts spans into the queue, without waiting."""
        for span in spans:
            self._lost += len(self._waiting) == MAX_WAITING_SPANS
            self._waiting.append(span)
        if time.monotonic() - self._began > SEND_EVERY_S:
            self._start()

    def flush(self) -> int:
        """Waits until they are sent, for :data:`FLUSH_S` at most. Returns how many were not, since the last time."""
        ends = time.monotonic() + FLUSH_S
        while self._waiting or (self._thread and self._thread.is_alive()):
            left = ends - time.monotonic()
            if left <= 0:
                break
            self._start().join(left)
        lost, self._lost = self._lost + len(self._waiting), 0
        return lost

    def _start(self) -> threading.Thread:
        if self._thread is None or not self._thread.is_alive():
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._send_all, name="c4-traces", daemon=True)
            self._thread.start()
        return self._thread

    def _send_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(SPANS_A_REQUEST, len(self._waiting)))]
            try:
                self._post(otlp(batch))
            except Exception as error:  # a collector may answer whatever it likes
                self._lost += len(batch)
                log.debug("%d spans are lost: %s", len(batch), type(error).__name__)

    def _post(self, body: bytes) -> None:
        from urllib.request import Request, urlopen

        headers = {"Content-Type": "application/x-protobuf"}
        request = Request(self._endpoint, body, headers)  # noqa: S310 - the settings take http and https alone
        with urlopen(request, timeout=SEND_S):  # noqa: S310
            pass


def otlp(spans: Iterable[Span]) -> bytes:
    """Spans as a collector reads them: an ``ExportTraceServiceRequest``.

    Raises:
        ModuleNotFoundError: the extra ``tracing`` is not installed.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Status

    request: Any = ExportTraceServiceRequest()
    of_c4 = request.resource_spans.add()
    service = of_c4.resource.attributes.add()
    service.key, service.value.string_value = "service.name", "c4"
    scope = of_c4.scope_spans.add()
    scope.scope.name = "c4"
    for span in spans:
        made = scope.spans.add()
        made.name, made.trace_id, made.span_id = span.name, _bytes(span.place.trace, 16), _bytes(span.place.span, 8)
        if span.parent:
            made.parent_span_id = _bytes(span.parent.span, 8)
        made.start_time_unix_nano = round(span.start * 1e9)
        made.end_time_unix_nano = round(max(span.start, span.end) * 1e9)
        for place in span.links:
            link = made.links.add()
            link.trace_id, link.span_id = _bytes(place.trace, 16), _bytes(place.span, 8)
        for key, value in span.attributes.items():
            attribute = made.attributes.add()
            attribute.key = key
            setattr(attribute.value, _kind(value), value)
        made.kind = 1  # internal
        made.status.code = Status.STATUS_CODE_ERROR if span.error else Status.STATUS_CODE_OK
        made.status.message = span.error
    return request.SerializeToString()


def _bytes(number: int, length: int) -> bytes:
    return number.to_bytes(length, "big")


def _kind(value: str | int | float | bool) -> str:
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    return kinds[type(value)]
