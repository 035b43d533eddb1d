"""From a real cause to a real listener: what the two sensors of alerts see, tell and send."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest

from c4_assets.operations.alerts import state
from c4_assets.operations.alerts.state import alerts_folder
from c4_assets.runs import step_failures
from c4_assets.runs.watch.heartbeat import PING_EVERY, failing
from c4_assets.runs.watch.watching import NOT_SET_UP, deliver, watch
from resources.errors import ConfigurationError
from resources.file_lock import locked
from resources.settings import Settings
from sensors.messages import messages
from sensors.run_alerts import run_alerts
from testing.http_receiver import HANG_UP, Answer, HttpReceiver, http_receiver
from testing.postgresql import Server
from testing.settings import elsewhere
from tests.conftest import Facility, noon, photograph
from tests.watchers import Fails

START = datetime(2026, 11, 2, 22, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


@pytest.fixture
def operators() -> Iterator[HttpReceiver]:
    """Where operators hear of things."""
    with http_receiver() as receiver:
        yield receiver


class Deployment:
    """A facility whose two sensors tick, with the clock in our hands."""

    def __init__(self, facility: Facility, settings: Settings, now: datetime = START) -> None:
        self.facility, self.settings, self.now = facility, settings, now
        self.look()

    def look(self) -> str:
        said = watch(self.facility.instance, self.settings, self.now)
        deliver(self.settings, self.now)
        return said

    def let_pass(self, span: timedelta, every: timedelta = timedelta(seconds=30)) -> str:
        """Ticks until the time has passed: what the last look said."""
        said, end = "", self.now + span
        while self.now < end:
            self.now += every
            said = self.look()
        return said


@pytest.fixture
def make_deployment(make_facility: Callable[..., Facility], operators: HttpReceiver) -> Callable[..., Deployment]:
    """A deployment that tells ``operators`` by a webhook."""

    def make(**alerts: Any) -> Deployment:
        facility = make_facility(alerts={"webhook": f"{operators.url}/hook", "ui_url": "https://c4", **alerts})
        return Deployment(facility, facility.settings)

    return make


def titles(operators: HttpReceiver) -> list[str]:
    return [request.json["title"] for request in operators.received if request.path == "/hook"]


MINUTES = timedelta(minutes=1)


def test_a_run_that_fails_and_succeeds_later_is_two_messages(
    make_deployment: Callable[..., Deployment], operators: HttpReceiver
) -> None:
    deployment = make_deployment()
    facility = deployment.facility
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    store = facility.resources["image_store"]
    facility.resources["image_store"] = Fails(ConfigurationError("the share is another one"))
    facility.score(raise_on_error=False)
    said = deployment.let_pass(2 * MINUTES)
    assert "the share is another one" in said, "Dagster's UI shows the state of the alerts"
    facility.resources["image_store"] = store
    facility.score()
    deployment.let_pass(2 * MINUTES)
    opened, recovered = titles(operators)
    assert "failed in raw_inspection_images: the share is another one" in opened
    assert recovered.startswith("Runs succeed again")
    assert "Nothing is wrong" in deployment.look()


def test_a_database_that_is_away_for_eight_hours_while_a_backfills_runs_wait_is_exactly_two_messages(
    make_facility: Callable[..., Facility],
    operators: HttpReceiver,
    postgresql_server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgresql_server.address("watched")
    facility = make_facility(
        database={"url": url}, timeout_seconds=5, alerts={"webhook": f"{operators.url}/hook", "ui_url": "https://c4"}
    )
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    for number in range(200):
        facility.instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                status=dg.DagsterRunStatus.STARTED,
                tags={"dagster/backfill": "years", "dagster/partition": noon(number).date().isoformat()},
            )
        )
    deployment = Deployment(facility, facility.settings)
    deployment.let_pass(2 * MINUTES)
    monkeypatch.setattr(step_failures, "BACKFILL_ATTEMPTS", 1)
    postgresql_server.stop()
    try:
        facility.score(raise_on_error=False)
        facility.backfill(noon(1), noon(1), raise_on_error=False)
        deployment.let_pass(8 * 60 * MINUTES, every=5 * MINUTES)
        assert len(titles(operators)) == 1
    finally:
        postgresql_server.start()
    facility.score()
    deployment.let_pass(30 * MINUTES)
    away, back = [request.json for request in operators.received]
    assert away["event"] == back["event"] == "database-away"
    assert "does not answer" in away["title"]
    assert "200" in str(away["lines"])
    assert back["title"] == "The imaging database answers again"
    assert "7 h 56 min" in str(back["lines"])


def test_a_channel_that_fails_keeps_nobody_from_looking_and_loses_and_doubles_nothing(
    make_deployment: Callable[..., Deployment], operators: HttpReceiver
) -> None:
    deployment = make_deployment()
    facility = deployment.facility
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.resources["image_store"] = Fails(ConfigurationError("no"))
    facility.score(raise_on_error=False)
    operators.answer = Answer(500)
    said = deployment.let_pass(60 * MINUTES, every=2 * MINUTES)
    assert "waiting to be sent" in said
    operators.answer = Answer(200)
    tried = len(operators.received)
    deployment.let_pass(30 * MINUTES, every=2 * MINUTES)
    came = [request.json["id"] for request in operators.received[tried:]]
    assert len(came) == len(set(came))
    assert any("run-failed" in each for each in came)


def beats(operators: HttpReceiver) -> list[str]:
    return [request.path for request in operators.received if request.path.startswith("/ping")]


def test_the_heartbeat_is_heard_every_five_minutes_and_says_when_something_is_wrong(
    make_facility: Callable[..., Facility], operators: HttpReceiver
) -> None:
    facility = make_facility(alerts={"heartbeat_url": f"{operators.url}/ping/1?create=1"})
    deployment = Deployment(facility, facility.settings)
    deployment.let_pass(20 * MINUTES)
    assert beats(operators) == ["/ping/1?create=1"] * 5
    deployment.now -= timedelta(days=1)
    deployment.let_pass(6 * MINUTES)
    assert len(beats(operators)) == 7, "a clock that was ahead silences no heartbeat"
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    moved = facility.images.with_name("moved")
    facility.images.rename(moved)
    deployment.let_pass(20 * MINUTES)
    assert beats(operators)[-1] == "/ping/1/fail?create=1"
    moved.rename(facility.images)
    deployment.let_pass(MINUTES)
    assert beats(operators)[-1] == "/ping/1?create=1", "at once"


def test_a_ping_that_was_not_taken_is_repeated_by_the_next_look_whatever_it_says(
    make_facility: Callable[..., Facility], operators: HttpReceiver
) -> None:
    facility = make_facility(alerts={"heartbeat_url": f"{operators.url}/ping"})
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    operators.answer = HANG_UP
    deployment = Deployment(facility, facility.settings)
    deployment.let_pass(MINUTES)
    assert beats(operators) == ["/ping"] * 3, "each look of half a minute tries it"
    operators.answer = Answer(200)
    deployment.let_pass(2 * MINUTES)
    assert beats(operators) == ["/ping"] * 4, "and the first that is taken is enough for five minutes"
    facility.images.rename(facility.images.with_name("moved"))
    operators.answer = Answer(503)
    deployment.let_pass(20 * MINUTES)
    failed = beats(operators).count("/ping/fail")
    assert failed > 1
    deployment.let_pass(MINUTES)
    assert beats(operators).count("/ping/fail") == failed + 2
    operators.answer = Answer(200)
    deployment.let_pass(2 * MINUTES)
    assert beats(operators).count("/ping/fail") == failed + 3


def test_a_look_that_cannot_tell_what_it_has_seen_does_not_seem_alive(
    make_facility: Callable[..., Facility], operators: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility = make_facility(alerts={"heartbeat_url": f"{operators.url}/ping"})
    monkeypatch.setattr(state, "LONGEST_WAIT_S", 0.2)
    folder = alerts_folder(facility.settings.home)
    folder.mkdir(parents=True)
    with locked(folder / state.LOCK, 1), pytest.raises(TimeoutError):
        Deployment(facility, facility.settings)
    assert beats(operators) == []
    Deployment(facility, facility.settings)
    assert beats(operators) == ["/ping"]


def test_a_heartbeat_is_heard_in_each_interval_until_its_process_is_killed_and_then_never_again(
    facility: Facility, operators: HttpReceiver, tmp_path: Path
) -> None:
    interval, root = 1.0, Path(__file__).parents[1]
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    command = [sys.executable, "-m", "testing.watching", str(facility.settings.home), f"{operators.url}/ping/1"]
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen([*command, str(interval)], cwd=root, stdout=log, stderr=log)
    try:
        heard = [request.at for request in operators.wait_for(6, seconds=60)]
        gaps = [later - earlier for earlier, later in pairwise(heard)]
        assert min(gaps) > 0.5 * interval, "not with each look"
        assert max(gaps) < 3 * interval, "one in each interval, and some time for a look"
        assert daemon.poll() is None
    finally:
        daemon.kill()
        daemon.wait(10)
    time.sleep(0.5)  # what was on its way may still arrive
    alive = len(operators.received)
    time.sleep(4 * interval)
    assert len(operators.received) == alive
    assert set(beats(operators)) == {"/ping/1"}


@pytest.mark.parametrize(
    ("address", "answer", "reason"),
    [
        ("http://127.0.0.1:9/ping/secret-uuid", Answer(), "nothing listens at its port"),
        ("http://[127.0.0.1/ping/secret-uuid", Answer(), "it cannot be sent (ValueError)"),
        ("{monitor}/ping/secret-uuid/\N{SNOWMAN}", Answer(), "it cannot be sent (UnicodeEncodeError)"),
        ("{monitor}/ping/secret-uuid", Answer(404), "it answered 404"),
        ("{monitor}/ping/secret-uuid", Answer(1000), "the connection was dropped"),
        ("{monitor}/ping/secret-uuid", Answer(302, headers={"Location": "news:secret-uuid"}), "it answered 302"),
    ],
)
def test_whatever_a_heartbeats_monitor_answers_the_look_ends_well_and_its_address_is_in_no_message(
    make_facility: Callable[..., Facility],
    operators: HttpReceiver,
    caplog: pytest.LogCaptureFixture,
    address: str,
    answer: Answer,
    reason: str,
) -> None:
    operators.answer = answer
    facility = make_facility(alerts={"heartbeat_url": address.format(monitor=operators.url)})
    with caplog.at_level(logging.DEBUG):
        assert "Nothing is wrong" in Deployment(facility, facility.settings).look()
    assert f"the ping to heartbeat_url was not taken: {reason}" in caplog.text
    assert "secret-uuid" not in caplog.text


def test_failing_addresses_keep_their_query() -> None:
    assert failing("https://hc/ping/key/slug/?rid=1") == "https://hc/ping/key/slug/fail?rid=1"
    assert timedelta(minutes=5) == PING_EVERY


def skip_reason(sensor: object, facility: Facility) -> str:
    context = dg.build_sensor_context(instance=facility.instance, resources={"settings": facility.settings})
    return str(cast("Any", sensor)(context).skip_message)


def test_the_sensors_say_that_no_alerts_are_set_up_and_keep_nothing(facility: Facility) -> None:
    assert skip_reason(run_alerts, facility) == NOT_SET_UP
    assert "No channel is set up" in skip_reason(messages, facility)
    assert not (facility.settings.home / "alerts").exists()


def test_the_sensors_tick(make_deployment: Callable[..., Deployment], operators: HttpReceiver) -> None:
    facility = make_deployment().facility
    assert skip_reason(run_alerts, facility) == "Nothing is wrong."
    operators.answer = Answer(500)
    moved: Path = facility.images.with_name("moved")
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.images.rename(moved)
    assert "0 messages were sent, 0 wait." in skip_reason(messages, facility)
    quick = elsewhere(facility.settings, alerts={"webhook": f"{operators.url}/hook", "away_minutes": 0})
    facility.settings = quick
    later = datetime.now(UTC) + timedelta(minutes=6)  # the store is asked every five minutes
    watch(facility.instance, quick, later)
    assert "webhook takes no messages" in skip_reason(messages, facility)
