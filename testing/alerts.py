"""A site whose time a test moves: what it observes, what it tells, and channels that take messages or do not."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from c4_assets.operations.alerts.incidents import State, advance
from c4_assets.operations.alerts.records import (
    ChannelAway,
    Condition,
    Event,
    Message,
    MessagePostponed,
    Observation,
    Severity,
    Subject,
)
from c4_assets.operations.alerts.rules import Rules

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
"""A Monday."""


def condition(
    event: Event,
    what: str = "",
    severity: Severity = Severity.ERROR,
    subjects: Iterable[str] = (),
    summary: str = "",
    since: datetime | None = None,
    count: int = 1,
) -> Condition:
    """A condition with a key as the watch of a deployment makes it."""
    return Condition(
        key=f"{event}:{what}" if what else event.value,
        event=event,
        severity=severity,
        summary=summary or f"{event.value.replace('-', ' ').capitalize()}{' ' + what if what else ''}.",
        advice="See the handbook.",
        subjects=tuple(map(Subject, subjects)),
        since=since,
        count=count,
    )


DATABASE = condition(Event.DATABASE_AWAY, summary="The imaging database does not answer.")
RUN = condition(Event.RUN_FAILED, "score_images", subjects=["2026-11-01"])
FULL = condition(Event.DISK_FILLING, "staging", Severity.WARNING)


def failed(*days: str) -> Condition:
    """Runs that have failed, each for a day of its own, as one condition."""
    return condition(Event.RUN_FAILED, "score_images", subjects=days, count=len(days))


@dataclass
class Site:
    """Incidents of a deployment, and what was told of them."""

    rules: Rules = field(default_factory=Rules)
    now: datetime = START
    state: State = field(default_factory=State)
    messages: list[Message] = field(default_factory=list[Message])

    def look(
        self,
        *holding: Condition,
        looked_at: Iterable[str] = (),
        occurred: Iterable[Condition] = (),
        recovered: Iterable[str] = (),
    ) -> tuple[Message, ...]:
        """One look at the deployment. What holds was looked at."""
        seen = Observation(
            holding, frozenset(looked_at) | {each.key for each in holding}, tuple(occurred), frozenset(recovered)
        )
        self.state, messages = advance(self.state, seen, self.rules, self.now)
        self.messages += messages
        return messages

    def wait(self, span: timedelta, *holding: Condition, every: timedelta = timedelta(minutes=1)) -> None:
        """Looks again and again, and sees that these conditions hold, and nothing else."""
        end = self.now + span
        while self.now < end:
            self.now = min(self.now + every, end)
            self.look(*holding, looked_at=[*map(str, Event), *(f"{event}:" for event in Event)])

    def told(self) -> list[tuple[str, str]]:
        """What was told, as pairs of event and change."""
        return [(message.event.value, message.change.value) for message in self.messages]


@dataclass
class Listener:
    """A channel that keeps what it takes, for as long as it is not away."""

    name: str
    away: bool = False
    retry_after: float | None = None
    refuses: frozenset[Event] = frozenset()
    chokes_on: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    got: list[Message] = field(default_factory=list[Message])
    asked: int = 0

    def send(self, message: Message) -> None:
        self.asked += 1
        if self.away or message.title in self.chokes_on:
            raise ChannelAway(f"{self.name} answered 500", self.retry_after)
        if self.full.intersection(message.recipients):
            raise MessagePostponed(f"{self.name}: mailbox full")
        if message.event in self.refuses:
            raise ValueError("invalid_blocks")
        self.got.append(message)
