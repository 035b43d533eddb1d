"""Slack and a mail server that take messages, and a deployment that tells them; shared by tests of alerts.

What Slack is sent is judged by its own models.
"""

from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.models.attachments import Attachment
from slack_sdk.models.blocks import Block

from testing.certificates import self_signed
from testing.http_receiver import Answer, HttpReceiver, Request, http_receiver
from testing.settings import elsewhere
from testing.smtp_server import SmtpServer, smtp_server
from tests.conftest import Facility
from tests.test_alerts_told import Deployment
from tests.test_channel_texts import slack_texts


class Slack:
    """Slack's end of a webhook: it takes messages, or answers 500 for as long as it is ``broken``."""

    def __init__(self, receiver: HttpReceiver) -> None:
        self.receiver, self.broken = receiver, False
        self.taken: list[Request] = []
        receiver.answer = self._answer

    def _answer(self, request: Request) -> Answer:
        if self.broken:
            return Answer(500, b"server_error")
        self.taken.append(request)
        return Answer()

    @property
    def address(self) -> str:
        return f"{self.receiver.url}/services/T1/B1/planted"

    def texts(self) -> list[str]:
        """What the messages say that it took, each judged by Slack's own models."""
        return [_judged(request.json) for request in self.taken]


def _judged(payload: Any) -> str:
    (attachment,) = payload["attachments"]
    blocks = payload["blocks"] + attachment["blocks"]
    parsed = Block.parse_all(blocks)  # pyright: ignore[reportUnknownMemberType]
    assert len(parsed) == len(blocks)
    for block in parsed:
        block.validate_json()
    Attachment(text="", color=attachment["color"]).validate_json()
    return "\n".join([payload["text"], *slack_texts(attachment["blocks"])])


@pytest.fixture
def slack() -> Generator[Slack]:
    with http_receiver() as receiver:
        yield Slack(receiver)


@pytest.fixture
def mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[SmtpServer]:
    """A mail server that takes nothing before STARTTLS, and whose certificate is trusted."""
    certificate = self_signed(tmp_path / "certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with smtp_server("starttls", certificate.server_context(), {"c4": "planted"}) as server:
        yield server


def by_mail(server: SmtpServer) -> dict[str, Any]:
    return {
        "host": "localhost",
        "port": server.port,
        "user": "c4",
        "password": "planted",
        "sender": "c4@facility.org",
        "recipients": ["operators@facility.org"],
    }


def subjects(server: SmtpServer) -> list[str]:
    assert all(mail.encrypted and mail.user == "c4" for mail in server.received)
    return [str(mail.message["Subject"]) for mail in server.received]


def told(facility: Facility, slack: Slack, now: datetime | None = None, **changes: Any) -> Deployment:
    """The facility as a deployment that tells Slack, and whatever else the settings ``alerts`` name."""
    alerts = {"slack_webhook": slack.address, "ui_url": "https://c4", **changes.pop("alerts", {})}
    return Deployment(facility, elsewhere(facility.settings, alerts=alerts, **changes), now or datetime.now(UTC))
