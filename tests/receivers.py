"""Servers that take messages, and how a channel says that it is away."""

import traceback
from collections.abc import Generator

import pytest

from c4_assets.operations.alerts.channel import Channel
from c4_assets.operations.alerts.records import ChannelAway, Message
from resources.settings.alerts import Email
from testing.certificates import Certificate, self_signed
from testing.http_receiver import (
    Answer,
    HttpReceiver,
    http_receiver,
)
from testing.ports import free_port
from testing.smtp_server import SmtpServer
from tests.test_channel_texts import message

PASSWORD = "planted-password-4711"


@pytest.fixture(scope="module")
def server() -> Generator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def web(server: HttpReceiver) -> HttpReceiver:
    server.received.clear()
    server.answer = Answer()
    return server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))


def email_settings(server: SmtpServer | None = None, **changes: object) -> Email:
    facts: dict[str, object] = {
        "host": "localhost",
        "port": server.port if server else free_port(),
        "security": "none",
        "sender": "C4 <c4@facility.org>",
        "recipients": ["operators@facility.org", "night@facility.org"],
    }
    return Email.model_validate(facts | changes)


def away(channel: Channel, sent: Message | None = None) -> ChannelAway:
    """How the channel says that it is away; never with a secret, wherever the error is shown."""
    with pytest.raises(ChannelAway) as found:
        channel.send(sent or message())
    shown = "".join(traceback.format_exception(found.value))
    assert "planted" not in shown
    assert str(found.value).startswith(f"{channel.name}: ")
    return found.value
