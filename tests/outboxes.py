"""An outbox of a test: its channels, a clock that the test moves, and messages to put into it."""

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from c4_assets.operations.alerts.outbox import Delivered, Outbox
from c4_assets.operations.alerts.records import Change, Event, Message, Severity
from c4_assets.operations.alerts.rules import Rules
from testing.alerts import START, Listener

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def message(
    number: int, event: Event = Event.RUN_FAILED, severity: Severity = Severity.ERROR, at: datetime | None = None
) -> Message:
    moment = at or START + number * SECOND
    return Message(f"m{number:04d}", f"t{number}", Change.OPENED, event, severity, moment, f"title {number}")


@dataclass
class Post:
    """An outbox with its channels and a clock that a test moves."""

    folder: Path
    channels: list[Listener]
    rules: Rules = field(default_factory=Rules)
    now: datetime = START
    pauses: list[float] = field(default_factory=list[float])

    @property
    def outbox(self) -> Outbox:
        """The outbox as a process finds it that has just started."""
        return Outbox(self.folder / "outbox")

    def deliver(self, seconds: float = 30) -> Delivered:
        return self.outbox.deliver(self.channels, self.rules, self.now, seconds, self.pauses.append, lambda: 0.0)

    def run(self, span: timedelta, every: timedelta = timedelta(seconds=30)) -> None:
        end = self.now + span
        while self.now < end:
            self.now += every
            self.deliver()


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path, [Listener("slack"), Listener("email")])


def titles(channel: Listener) -> list[str]:
    return [each.title for each in channel.got]


NIGHT = START.replace(hour=23)
QUIET = Rules(quiet=(time(22), time(7)))
