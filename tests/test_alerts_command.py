"""``c4 alerts`` as an operator types it."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from c4_assets.command import app
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity, Subject
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, outbox_of, tell
from resources.errors import ConfigurationError
from testing.http_receiver import Answer, HttpReceiver, too_many
from tests.receivers import server as server
from tests.receivers import web as web
from tests.test_channel_texts import message


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("C4_", "DAGSTER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("C4_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def slack(home: Path, web: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> HttpReceiver:
    monkeypatch.setenv("C4_ALERTS_SLACK_WEBHOOK", f"{web.url}/services/planted-4711-secret")
    return web


def alerts(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["alerts", *arguments], terminal_width=200)


def test_without_a_channel_it_says_what_to_set_and_that_nobody_hears_of_anything(home: Path) -> None:
    for command in ("test", "send"):
        done = alerts(command)
        assert isinstance(done.exception, ConfigurationError)
        assert "alerts.slack_webhook" in str(done.exception)
    shown = alerts("list")
    assert shown.exit_code == 0
    assert "Nothing is wrong that C4 knows of." in shown.output
    assert "No channel is set up" in shown.output
    assert not list(home.iterdir())


def test_a_test_message_goes_through_each_channel_and_each_is_named(
    slack: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C4_ALERTS_WEBHOOK", f"{slack.url}/hook")
    done = alerts("test")
    assert (done.exit_code, done.output) == (0, "✓ slack: sent\n✓ webhook: sent\n")
    assert [request.path for request in slack.received] == ["/services/planted-4711-secret", "/hook"]
    assert slack.received[1].json["event"] == "test"
    assert alerts("test", "--channel", "webhook").output == "✓ webhook: sent\n"
    wrong = alerts("test", "--channel", "email")
    assert str(wrong.exception) == "There is no channel email. Those that are set up: slack, webhook."


def test_a_test_says_which_address_of_the_handbook_it_links_to(
    slack: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C4_ALERTS_HANDBOOK_URL", "https://docs.facility.org/handbook/{page}.md")
    linked = "https://docs.facility.org/handbook/test.md"
    assert alerts("test").output == f"✓ slack: sent\nThe message links to {linked}: see that it opens.\n"
    assert linked in str(slack.received[0].json)
    monkeypatch.setenv("C4_ALERTS_HANDBOOK_URL", "docs/handbook")
    assert alerts("test").output == "✓ slack: sent\nalerts.handbook_url is no web address.\n"


def test_tests_are_in_the_log_and_listed_as_no_messages(slack: HttpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "c4.alerts")
    alerts("test")
    slack.answer = too_many(30)
    alerts("test")
    assert [(vars(record)["channel"], record.getMessage()) for record in caplog.records] == [
        ("slack", "slack has taken a test message"),
        (
            "slack",
            "a test message has failed: slack: it answered 429 rate_limited. It wants to be asked again in 30 s.",
        ),
    ]
    assert "slack       set up; nothing was sent yet, tests apart" in alerts("list").output


def test_a_channel_that_is_away_is_told_with_the_reason_and_without_its_secret(slack: HttpReceiver) -> None:
    slack.answer = too_many(30)
    done = alerts("test")
    assert done.exit_code == 1
    assert done.output == "✗ slack: it answered 429 rate_limited. It wants to be asked again in 30 s.\n"


def test_waiting_messages_are_listed_and_sent_and_go_out_once(slack: HttpReceiver, home: Path) -> None:
    outbox = outbox_of(alerts_folder(home))
    outbox.put(
        [message(at=datetime.now(UTC)), message(id="m2", title="[red]Slurm is away[/red]", at=datetime.now(UTC))]
    )
    shown = alerts("list")
    assert "2 messages waiting." in shown.output
    assert "error     [red]Slurm is away[/red]" in shown.output
    slack.answer = Answer(500)
    failed = alerts("send")
    assert failed.exit_code == 1
    assert "0 messages sent, 2 waiting" in failed.output
    assert "slack: it answered 500" in failed.output
    assert "slack: it answered 500" in alerts("list").output
    assert len(slack.received) == 1


def test_what_is_sent_is_not_sent_again(slack: HttpReceiver, home: Path) -> None:
    outbox_of(alerts_folder(home)).put([message(at=datetime.now(UTC))])
    assert "1 message sent, 0 waiting" in alerts("send").output
    assert "0 messages sent, 0 waiting" in alerts("send").output
    assert len(slack.received) == 1
    shown = alerts("list").output
    assert "No message waits." in shown
    assert "slack       last sent" in shown


def test_open_incidents_are_listed_with_their_key_and_whether_they_were_told(home: Path) -> None:
    failed = Condition(
        "run-failed:score_images", Event.RUN_FAILED, Severity.ERROR, "Runs fail.", subjects=(Subject("a"),), count=2
    )
    tell(alerts_folder(home), Observation(occurred=(failed,)), Rules(), datetime.now(UTC))
    shown = alerts("list").output
    assert "1 incident open." in shown
    assert "Runs fail. (run-failed:score_images, 2 times, not told yet)" in shown
    tell(alerts_folder(home), Observation(recovered=frozenset({failed.key})), Rules(), datetime.now(UTC))
    assert "Nothing is wrong that C4 knows of." in alerts("list").output, "it has ended, and is not yet told"
