"""Traces: one a run, as a real listener decodes them; a collector that is away or hangs costs next to nothing."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from c4_assets.deployment_home import dagster_instance
from c4_assets.runs import traces
from resources import tracing
from resources.settings import Settings
from resources.tracing import MAX_WAITING_SPANS, Span, Step, run_place, step_place, tick_place
from testing.http_receiver import Answer, HttpReceiver, http_receiver
from testing.listeners import hang_up, listener, say_nothing
from testing.ports import free_port
from tests.conftest import Facility, photograph

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@contextmanager
def collector(status: int = 200) -> Generator[tuple[HttpReceiver, str]]:
    """A collector, and its address."""
    with http_receiver() as receiver:
        receiver.answer = Answer(status, b"")
        yield receiver, f"{receiver.url}/v1/traces"


def spans_of(receiver: HttpReceiver) -> list[Any]:
    """What a collector has received."""
    found: list[Any] = []
    for each in receiver.received:
        assert each.headers["content-type"] == "application/x-protobuf"
        request: Any = ExportTraceServiceRequest.FromString(each.body)
        for resource in request.resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def turn_on(monkeypatch: pytest.MonkeyPatch, facility: Facility, endpoint: str) -> None:
    settings = Settings.model_validate({"home": facility.settings.home, "tracing": {"endpoint": endpoint}})
    monkeypatch.setattr(traces, "SETTINGS", settings)


@pytest.fixture
def kept(facility: Facility) -> Facility:
    """A facility over Dagster's storage on disk, which has ticks."""
    facility.instance.dispose()
    facility.instance = dagster_instance(facility.settings)
    return facility


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def requested_by(instance: dg.DagsterInstance, run_id: str) -> str:
    """Records a sensor's tick that has asked for a run, as the daemon does. Returns the tick's number."""
    place = RemoteRepositoryOrigin(
        ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="c4_assets.definitions"), "c4"), "c4"
    )
    origin = RemoteInstigatorOrigin(place, "new_inspections")
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING))
    now = datetime.now(UTC).timestamp()
    tick = instance.create_tick(
        TickData(
            origin.get_id(),
            "new_inspections",
            InstigatorType.SENSOR,
            TickStatus.SUCCESS,
            now - 30,
            run_ids=[run_id],
            end_timestamp=now - 29,
            selector_id=origin.get_selector().get_id(),
        )
    )
    instance.add_run_tags(run_id, {"dagster/tick": str(tick.tick_id), "c4/tick": "5f0c9a1e77b2"})
    return str(tick.tick_id)


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_a_run_is_one_trace_from_its_tick_to_its_inspections(kept: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    for plate in ("P1", "P2"):
        kept.add_plate(plate, {f"secret-name-{n}.jpg": photograph(n) for n in range(3)})
    with collector() as (receiver, endpoint):
        turn_on(monkeypatch, kept, endpoint)
        run_id = kept.score().run_id
        tick = requested_by(kept.instance, run_id)
        told = traces.tell(kept.instance, tracing.sender(endpoint), LONG_AGO)
    assert (told.runs, told.lost) == (1, 0)
    assert told.until < datetime.now(UTC) - timedelta(seconds=59), "what ends while a look is made is seen by the next"
    spans = {span.span_id: span for span in spans_of(receiver)}
    assert len(spans) == len(spans_of(receiver)) == 10
    asked = spans.pop(tick_place(tick).span.to_bytes(8, "big"))
    assert asked.name == "tick new_inspections"
    assert {span.trace_id for span in spans.values()} == {run_place(run_id).trace.to_bytes(16, "big")}
    (run,) = (span for span in spans.values() if not span.parent_span_id)
    assert run.name == "run score_images"
    assert attributes(run)["c4.status"] == "success"
    assert attributes(run)["c4.correlation"] == "5f0c9a1e77b2", "as the lines of the run in the log"
    (link,) = run.links
    assert (link.trace_id, link.span_id) == (asked.trace_id, asked.span_id)
    steps = {span.name: span for span in spans.values() if span.parent_span_id == run.span_id}
    assert set(steps) == {
        "step raw_inspection_images",
        "step marco_probabilities",
        "step class_predictions",
        "step db_scores",
    }
    for stage, step in (("fetch", "raw_inspection_images"), ("classify", "marco_probabilities")):
        of_step = [span for span in spans.values() if span.parent_span_id == steps[f"step {step}"].span_id]
        assert [span.name for span in of_step] == [f"{stage} inspection"] * 2
        assert sorted(attributes(span)["c4.plate"] for span in of_step) == ["P1", "P2"]
        assert [attributes(span)["c4.images"] for span in of_step] == [3, 3]
        for span in of_step:
            assert run.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= run.end_time_unix_nano
    assert not any(b"secret-name" in each.body for each in receiver.received), "no path leaves the facility"


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_a_failed_run_says_so_and_each_attempt_at_a_step_is_a_span(
    kept: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.add_plate("P1", {"1.jpg": photograph(1)})
    kept.images.rename(kept.images.with_name("unmounted"))
    with collector() as (receiver, endpoint):
        turn_on(monkeypatch, kept, endpoint)
        run_id = kept.score(raise_on_error=False).run_id
        traces.tell(kept.instance, tracing.sender(endpoint), LONG_AGO)
    spans = {span.name: span for span in spans_of(receiver)}
    assert spans["run score_images"].status.message == "failure"
    tries = [span for span in spans_of(receiver) if span.name == "step raw_inspection_images"]
    assert [span.status.message for span in tries] == ["step_up_for_retry"] * 3 + ["step_failure"]
    known = {step_place(run_id, "raw_inspection_images", n).span.to_bytes(8, "big") for n in range(4)}
    assert {span.span_id for span in tries} == known
    fetched = [span for span in spans_of(receiver) if span.name == "fetch inspection"]
    assert {span.parent_span_id for span in fetched} == known, "each belongs to its attempt"
    assert {span.status.message for span in fetched} == {"Unavailable"}


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_a_collector_that_is_away_fails_no_run(kept: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.add_plate("P1", {"1.jpg": photograph(1)})
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    turn_on(monkeypatch, kept, endpoint)
    assert kept.score().success
    assert kept.progress().scored == 1
    assert traces.tell(kept.instance, tracing.sender(endpoint), LONG_AGO).lost >= 5


@pytest.mark.parametrize("answer", [say_nothing, hang_up], ids=lambda answer: answer.__name__)
def test_a_collector_that_hangs_delays_a_step_by_two_seconds_at_most(answer: Any) -> None:
    with listener(answer) as port:
        sender = tracing.sender(f"http://127.0.0.1:{port}/v1/traces")
        began = time.monotonic()
        sender.send(Span("work", run_place(str(n)), 1.0, 2.0) for n in range(MAX_WAITING_SPANS + 100))
        assert time.monotonic() - began < 1
        assert sender.flush() > 100
        assert time.monotonic() - began < 3.5


def test_a_collector_that_refuses_loses_spans_and_says_how_many() -> None:
    with collector(503) as (_, endpoint):
        sender = tracing.sender(endpoint)
        sender.send([Span("work", run_place("1"), 1.0, 2.0)])
        assert sender.flush() == 1
        assert sender.flush() == 0


def test_spans_are_sent_while_a_long_step_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "SEND_EVERY_S", 0)
    with collector() as (receiver, endpoint):
        sender = tracing.sender(endpoint)
        with tracing.at_work_on(Step(sender, "run", "step", 0)), tracing.inspection_span("fetch", 1, "P1", 3):
            pass
        receiver.wait_for(1)
        assert len(spans_of(receiver)) == 1


def test_without_an_endpoint_nothing_is_loaded() -> None:
    program = (
        "import sys; from c4_assets.definitions import defs; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus_client'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_only_http_is_an_address_of_a_collector() -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Settings.model_validate({"tracing": {"endpoint": "file:///etc/passwd"}})
