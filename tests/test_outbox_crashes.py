"""What is told is told once, whenever the process is killed: a real SIGKILL before each write to the disk."""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from c4_assets.operations.alerts.records import ChannelAway, Event, Message, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import load, outbox_of, tell
from resources.settings.alerts import Route
from testing.alerts import START, condition

RULES = Rules(
    group_wait=timedelta(0),
    routes=(Route(channels=("slack", "email"), events=("database-away",)),),
    away=timedelta(minutes=2),
)
BETWEEN = timedelta(minutes=3)

DATABASE = condition(Event.DATABASE_AWAY)
FULL = condition(Event.DISK_FILLING, "staging", Severity.WARNING)
RUN = condition(Event.RUN_FAILED, "score_images", subjects=["2026-11-01", "2026-11-02"])
LOOKED_AT = frozenset({DATABASE.key, FULL.key})

LOOKS = (
    Observation((FULL,), LOOKED_AT),
    Observation((), LOOKED_AT),
    Observation((DATABASE,), LOOKED_AT, (RUN,)),
    Observation((DATABASE,), LOOKED_AT),
    *[Observation((), LOOKED_AT)] * 3,
    Observation((), LOOKED_AT, (), frozenset({RUN.key})),
)
"""Three minutes apart."""

SLACK_IS_AWAY = range(2, 5)


@dataclass
class Recorder:
    """A channel that writes on the disk what it took, as a server elsewhere would."""

    name: str
    file: Path
    away: bool

    def send(self, message: Message) -> None:
        if self.away:
            raise ChannelAway(f"{self.name} answered 500")
        with self.file.open("a") as opened:
            opened.write(json.dumps([self.name, message.id]) + "\n")


def played(folder: Path) -> None:
    """Goes on where the state says that the last process was."""
    first = int(load(folder).seen.get("step", 0))
    if first:
        # So that the minute in which the process died passes before the next: what it told is not merged with that.
        tell(folder, Observation(), RULES, START + (first - 1) * BETWEEN)
    for step in range(first, len(LOOKS)):
        deliver(folder, step - 1)
        tell(folder, LOOKS[step], RULES, START + step * BETWEEN, {"step": str(step + 1)})
    deliver(folder, len(LOOKS))


def deliver(folder: Path, step: int) -> None:
    channels = [
        Recorder("slack", folder / "sent.jsonl", step in SLACK_IS_AWAY),
        Recorder("email", folder / "sent.jsonl", False),
    ]
    outbox_of(folder).deliver(channels, RULES, START + step * BETWEEN, pause=lambda _: None, clock=lambda: 0.0)


def played_until_killed(folder: Path, point: int) -> None:
    """Is killed before it opens, renames or removes a file of the folder for the time that ``point`` says."""
    left = point

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        name = str(arguments[0]) if event in ("open", "os.rename", "os.remove") else ""
        if not name.startswith(str(folder)) or name.endswith(".lock"):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(watch)
    played(folder)


def in_a_process(folder: Path, point: int) -> int:
    process = multiprocessing.get_context("fork").Process(target=played_until_killed, args=(folder, point))
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def sent(folder: Path) -> list[tuple[str, str]]:
    file = folder / "sent.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [
        (channel, message.partition("@")[0] + message.rpartition(".")[2]) for channel, message in map(json.loads, lines)
    ]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: a killed process loses nothing that it has written, wherever it is."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def test_killed_before_any_write_nothing_is_lost_and_at_most_one_message_doubled(place: Path) -> None:
    (place / "whole").mkdir()
    played(place / "whole")
    expected = sent(place / "whole")
    assert len(expected) >= 7
    assert len(set(expected)) == len(expected)
    point = doubled = 0
    while True:
        folder = place / str(point)
        folder.mkdir()
        if in_a_process(folder, point) == 0:
            break
        played(folder)
        found = sent(folder)
        again = Counter(found) - Counter(expected)
        assert list(dict.fromkeys(found)) == expected, point
        assert again.total() <= 1, point
        assert outbox_of(folder).waiting() == ()
        doubled += again.total()
        point += 1
    assert point > 50
    assert 0 < doubled <= len(expected) * 3
