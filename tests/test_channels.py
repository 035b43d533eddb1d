"""Messages are sent to real web servers on loopback: Slack's webhook and API, a webhook, Apprise."""

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from c4_assets.operations.alerts.channel import Channel
from c4_assets.operations.alerts.records import Change, Picture
from c4_assets.operations.channels import open_channels
from c4_assets.operations.channels.apprise_channel import AppriseChannel
from c4_assets.operations.channels.sending import MessageRefused
from c4_assets.operations.channels.slack import SlackBot, SlackWebhook
from c4_assets.operations.channels.smtp import Mailer
from c4_assets.operations.channels.threads import THREAD_KEPT_FOR, Threads
from c4_assets.operations.channels.webhook import Webhook
from resources.settings.alerts import Alerts
from testing.certificates import Certificate, self_signed
from testing.http_receiver import (
    HANG_UP,
    SILENCE,
    Answer,
    HttpReceiver,
    Request,
    http_receiver,
    slack_api,
    slack_refuses,
    too_many,
)
from testing.ports import free_port
from tests.receivers import PASSWORD, away, email_settings
from tests.receivers import certificate as certificate
from tests.receivers import server as server
from tests.receivers import trusted as trusted
from tests.receivers import web as web
from tests.test_channel_texts import AT, PLACE, message

TOKEN = "xoxb-4711-planted-token"


def slack(web: HttpReceiver) -> SlackWebhook:
    return SlackWebhook("slack", SecretStr(f"{web.url}/services/T1/B1/planted-4711"), PLACE, timeout=1)


def bot(web: HttpReceiver, threads: Threads | None = None) -> SlackBot:
    return SlackBot("slack", SecretStr(TOKEN), "#alerts", PLACE, threads, api=f"{web.url}/api/", timeout=1)


def webhook(web: HttpReceiver) -> Webhook:
    return Webhook("webhook", SecretStr(f"{web.url}/hook/planted-4711"), place=PLACE, timeout=1)


def services(web: HttpReceiver) -> AppriseChannel:
    return AppriseChannel("apprise", SecretStr(f"json://me:planted-4711@localhost:{web.port}/planted-path"), PLACE, 3)


WEB_CHANNELS = [slack, bot, webhook, services]


def test_a_webhook_of_slack_gets_blocks_beside_a_text(web: HttpReceiver) -> None:
    slack(web).send(message())
    (request,) = web.received
    assert request.path == "/services/T1/B1/planted-4711"
    assert request.json["text"] == "🔴 Error: 3 runs failed"
    assert request.json["blocks"][0]["text"]["text"] == "🔴 *3 runs failed*"
    assert request.json["attachments"][0]["color"] == "#c62828"
    assert (request.json["parse"], request.json["link_names"], request.json["unfurl_links"]) == ("none", False, False)


def test_messages_of_one_incident_share_a_thread_also_after_a_restart(web: HttpReceiver, tmp_path: Path) -> None:
    web.answer = slack_api()
    file = tmp_path / "alerts" / "threads.json"
    bot(web, Threads(file)).send(message())
    bot(web, Threads(file)).send(message(id="m2", change=Change.REPEATED))
    bot(web, Threads(file)).send(message(id="m3", change=Change.RECOVERED))
    bot(web, Threads(file)).send(message(id="m4", thread="database-away"))
    sent = [request.json for request in web.received]
    assert [each["channel"] for each in sent] == ["#alerts"] * 4
    assert [each.get("thread_ts") for each in sent] == [None, "1700000000.000001", "1700000000.000001", None]
    assert [each.get("reply_broadcast") for each in sent] == [None, False, True, None]
    assert {request.headers["authorization"] for request in web.received} == {f"Bearer {TOKEN}"}
    assert {request.path for request in web.received} == {"/api/chat.postMessage"}


def with_files(web: HttpReceiver, refused: str = "") -> None:
    """Answers as Slack's methods for files do."""
    said, numbers = slack_api(), iter(range(100))

    def answer(request: Request) -> Answer:
        method = request.path.rpartition("/")[2]
        if method == "files.getUploadURLExternal":
            if refused:
                return slack_refuses(refused)
            number = next(numbers)
            place = {"ok": True, "upload_url": f"{web.url}/upload/{number}", "file_id": f"F{number}"}
            return Answer(200, json.dumps(place).encode())
        if method == "files.completeUploadExternal":
            return Answer(200, b'{"ok": true}')
        return Answer() if "/upload/" in request.path else said(request)

    web.answer = answer


def test_pictures_follow_in_the_thread_of_their_message(web: HttpReceiver) -> None:
    with_files(web)
    pictures = (Picture("A1.jpg", b"\xff\xd8one", "A1: 0.97"), Picture("A2.jpg", b"two"))
    bot(web).send(message(pictures=pictures))
    said, *uploads, shown = web.received
    assert "2 pictures follow in the thread." in said.body.decode()
    assert [request.body for request in uploads[1::2]] == [b"\xff\xd8one", b"two"]
    assert uploads[0].body == b"filename=A1.jpg&length=5"
    sent = dict(parse_qsl(shown.body.decode()))
    assert json.loads(sent.pop("files")) == [{"id": "F0", "title": "A1: 0.97"}, {"id": "F1", "title": "A2.jpg"}]
    assert sent == {"channel_id": "#alerts", "thread_ts": "1700000000.000001"}


def test_pictures_that_slack_refuses_are_a_warning_and_their_message_is_not_sent_again(
    web: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    with_files(web, refused="missing_scope")
    bot(web).send(message(pictures=(Picture("A1.jpg", b"one"),)))
    assert "Give the bot the scopes chat:write and files:write." in caplog.text
    assert [request.path for request in web.received] == ["/api/chat.postMessage", "/api/files.getUploadURLExternal"]


def test_a_thread_that_was_deleted_begins_anew(web: HttpReceiver, tmp_path: Path) -> None:
    said = slack_api()
    web.answer = lambda request: slack_refuses("thread_not_found") if "thread_ts" in request.json else said(request)
    threads = Threads(tmp_path / "threads.json")
    bot(web, threads).send(message())
    bot(web, threads).send(message(id="m2"))
    assert len(web.received) == 3
    assert threads.of("slack\n#alerts\nrun-failed") == "1700000000.000002"


def test_a_torn_file_of_threads_costs_a_thread_and_no_message(web: HttpReceiver, tmp_path: Path) -> None:
    file = tmp_path / "threads.json"
    file.write_text('{"slack')
    web.answer = slack_api()
    bot(web, Threads(file)).send(message())
    assert len(web.received) == 1
    assert list(json.loads(file.read_text())) == ["slack\n#alerts\nrun-failed"]


def test_threads_that_are_old_are_forgotten(tmp_path: Path) -> None:
    threads = Threads(tmp_path / "threads.json")
    threads.remember("old", "1.0", AT)
    threads.remember("new", "2.0", AT + THREAD_KEPT_FOR + timedelta(hours=1))
    assert (threads.of("old"), threads.of("new")) == (None, "2.0")


@pytest.mark.parametrize("kind", [slack, bot])
def test_a_message_whose_form_slack_does_not_take_goes_out_as_text(
    kind: Callable[[HttpReceiver], Channel], web: HttpReceiver
) -> None:
    refusal = Answer(400, b"invalid_blocks") if kind is slack else slack_refuses("invalid_blocks")
    said = slack_api()
    web.answer = lambda request: refusal if "blocks" in request.json else said(request)
    kind(web).send(message())
    assert web.received[-1].json["text"] == "🔴 Error: 3 runs failed"
    assert "attachments" not in web.received[-1].json


def test_what_slack_refuses_is_said_with_what_to_do(web: HttpReceiver) -> None:
    web.answer = slack_refuses("not_in_channel")
    assert str(away(bot(web))) == "slack: Slack refuses: not_in_channel. Invite the bot: /invite in the channel."
    web.answer = Answer(404, b"no_service")
    assert str(away(slack(web))) == "slack: it answered 404 no_service."


@pytest.mark.parametrize("kind", [slack, bot, webhook])
def test_a_channel_that_is_asked_too_often_says_when_to_come_again(
    kind: Callable[[HttpReceiver], Channel], web: HttpReceiver
) -> None:
    web.answer = too_many(37)
    assert away(kind(web)).retry_after == 37
    web.answer = Answer(429, b"", {"Retry-After": "soon"})
    assert away(kind(web)).retry_after is None


@pytest.mark.parametrize("kind", WEB_CHANNELS)
def test_a_server_with_an_error_is_asked_once_and_named(
    kind: Callable[[HttpReceiver], Channel], web: HttpReceiver
) -> None:
    web.answer = Answer(500, f"error at {web.url}/?token=planted-4711".encode())
    assert "answered 500" in str(away(kind(web)))
    assert len(web.received) == 1


@pytest.mark.parametrize("kind", WEB_CHANNELS)
def test_a_server_that_hangs_up_or_says_nothing_is_away_and_not_waited_for(
    kind: Callable[[HttpReceiver], Channel], web: HttpReceiver
) -> None:
    web.answer = HANG_UP
    away(kind(web))
    web.answer = SILENCE
    begun = time.monotonic()
    away(kind(web))
    assert time.monotonic() - begun < 5
    assert len(web.received) == 2


@pytest.mark.parametrize("kind", WEB_CHANNELS)
def test_a_server_that_is_not_there_is_away(kind: Callable[[HttpReceiver], Channel]) -> None:
    away(kind(HttpReceiver(free_port(), "http")))


@pytest.mark.parametrize("kind", [slack, bot, webhook])
def test_a_redirect_is_not_followed(kind: Callable[[HttpReceiver], Channel], web: HttpReceiver) -> None:
    web.answer = Answer(302, b"", {"Location": f"{web.url}/login"})
    assert "answered 302" in str(away(kind(web)))
    assert len(web.received) == 1


@pytest.mark.parametrize("kind", [slack, bot])
def test_a_page_of_a_proxy_is_not_taken_for_slack(kind: Callable[[HttpReceiver], Channel], web: HttpReceiver) -> None:
    web.answer = Answer(200, b"<html>Please log in</html>")
    assert "Is a proxy or a login in between?" in str(away(kind(web)))


@pytest.mark.parametrize("kind", [slack, bot, webhook])
def test_a_certificate_is_checked(
    kind: Callable[[HttpReceiver], Channel], certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver(certificate.server_context()) as web:
        web.answer = slack_api() if kind is bot else Answer()
        assert "certificate is not trusted" in str(away(kind(web)))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
        kind(web).send(message())
        assert len(web.received) == 1
    stranger = self_signed(tmp_path, "other.facility.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.file))
    with http_receiver(stranger.server_context()) as web:
        assert "certificate is not trusted" in str(away(kind(web)))
        assert not web.received


def test_apprise_does_not_take_a_wrong_certificate_either(certificate: Certificate) -> None:
    with http_receiver(certificate.server_context()) as web:
        channel = AppriseChannel("apprise", SecretStr(f"jsons://localhost:{web.port}/planted-4711"), timeout=5)
        away(channel)
        assert not web.received


def test_a_webhook_is_signed_so_that_its_receiver_can_tell_who_wrote(web: HttpReceiver) -> None:
    Webhook("webhook", SecretStr(web.url), SecretStr("key"), PLACE).send(message())
    (request,) = web.received
    expected = hmac.new(b"key", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-c4-signature"] == f"sha256={expected}"
    assert request.headers["idempotency-key"] == "m1"
    assert request.headers["content-type"].startswith("application/json")
    assert (request.json["version"], request.json["title"]) == (1, "3 runs failed")


def test_apprise_brings_a_message_to_its_services_and_logs_no_address(
    web: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    services(web).send(message(change=Change.RECOVERED))
    web.answer = Answer(503)
    reason = f"apprise: json://localhost:{web.port} did not take the message (it answered 503)."
    assert str(away(services(web))) == reason
    assert web.received[0].json["title"] == "🟢 3 runs failed"
    assert web.received[0].json["type"] == "success"
    assert "https://c4.facility.org/runs/1?a=1&b=2" in web.received[0].json["message"]
    assert not [record for record in caplog.records if str(web.port) in record.getMessage()]


def test_apprise_logs_no_address_after_it_was_given_up_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with http_receiver() as web:
        web.answer = SILENCE
        away(AppriseChannel("apprise", SecretStr(f"json://localhost:{web.port}/planted-4711"), timeout=0.3))
        sending = [thread for thread in threading.enumerate() if thread.name == "send"]
    for thread in sending:  # the server has gone, so Apprise has something to say
        thread.join(5)
        assert not thread.is_alive()
    assert sending
    assert "planted" not in caplog.text


def test_an_address_that_apprise_does_not_know_is_said_without_it() -> None:
    assert "Apprise does not know" in str(away(AppriseChannel("apprise", SecretStr("nobody://planted-4711"))))


def test_what_is_too_large_for_a_web_server_is_refused_and_its_channel_is_not_away(web: HttpReceiver) -> None:
    web.answer = Answer(413)
    with pytest.raises(MessageRefused, match="too large"):
        webhook(web).send(message())


def test_channels_are_those_that_the_settings_name_in_their_order(tmp_path: Path) -> None:
    alerts = Alerts.model_validate(
        {
            "slack_webhook": "https://hooks.slack.com/services/x",
            "email": {"host": "localhost", "sender": "c4@facility.org"},
            "webhook": "https://hooks.facility.org",
            "apprise": ["json://one", "json://two"],
            "order": ["email", "apprise-2", "slack"],
        }
    )
    assert list(open_channels(alerts)) == ["email", "apprise-2", "slack", "webhook", "apprise-1"]
    one = Alerts.model_validate({"slack_token": TOKEN, "slack_channel": "#a", "apprise": ["json://one"]})
    assert list(open_channels(one, tmp_path)) == ["slack", "apprise"]
    assert isinstance(open_channels(one, tmp_path)["slack"], SlackBot)
    assert dict(open_channels(Alerts())) == {}


def test_no_secret_of_a_channel_stands_in_its_repr(web: HttpReceiver) -> None:
    channels = [slack(web), bot(web), webhook(web), services(web)]
    mailer = Mailer("email", email_settings(user="c4", password=PASSWORD))
    assert "planted" not in repr([*channels, mailer])
