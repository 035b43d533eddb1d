"""A month of a facility: what happens to it, and the messages that its operators get.

``python -m testing.month_of_alerts`` writes them into docs/alerts.md.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from c4_assets.operations.alerts.incidents import State, advance, merged, part_of
from c4_assets.operations.alerts.outbox import Outbox
from c4_assets.operations.alerts.records import (
    Change,
    ChannelAway,
    Condition,
    Event,
    Message,
    Observation,
    Severity,
    Subject,
)
from c4_assets.operations.alerts.rules import Rules
from resources.settings.alerts import Alerts

PAGE = Path(__file__).parents[1] / "docs" / "alerts.md"
BEGIN, END = "<!-- the month, written by testing/month_of_alerts.py -->", "<!-- end of the month -->"

ZONE = ZoneInfo("Europe/London")
FIRST, LAST = datetime(2026, 10, 1, tzinfo=ZONE), datetime(2026, 11, 1, tzinfo=ZONE)
LOOK = timedelta(minutes=5)
HOUR = timedelta(hours=1)

RULES = Rules.of(Alerts(quiet_hours="22:00-07:00", time_zone="Europe/London", order=("slack", "email")))


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A time of the month on the clocks of the facility."""
    return datetime(2026, 10, day, hour, minute, tzinfo=ZONE)


@dataclass(frozen=True)
class Span:
    """A condition that holds for a while."""

    first: datetime
    last: datetime
    condition: Condition

    def holds(self, now: datetime) -> bool:
        return self.first <= now < self.last


def _away(event: Event, what: str, waiting: int = 0) -> Condition:
    runs = tuple(Subject(f"run of 2019-{1 + n // 28:02d}-{1 + n % 28:02d}") for n in range(waiting))
    return Condition(event.value, event, Severity.ERROR, f"{what} does not answer.", subjects=runs)


DATABASE = _away(Event.DATABASE_AWAY, "The imaging database", 200)
STORE = _away(Event.STORE_AWAY, "The image store")
STALE = Condition("asset-stale:db_scores", Event.ASSET_STALE, Severity.WARNING, "db_scores is older than it should be.")
IDLE = Condition(
    "nothing-imaged", Event.NOTHING_IMAGED, Severity.WARNING, "Nothing has been imaged for 9 h; 4 h are usual."
)
DISK = Condition("disk-filling:staging", Event.DISK_FILLING, Severity.WARNING, "Staging is 87 % full.")

SPANS = (
    Span(at(6, 22, 40), at(7, 6, 20), DATABASE),
    Span(at(7, 2), at(7, 7), STALE),
    Span(at(17, 14), at(18, 3, 30), STORE),
    Span(at(17, 23), at(18, 5), STALE),
    *(Span(at(day, 13, 10), at(day, 13, 15), DATABASE) for day in (2, 8, 13, 21, 27)),  # restarts: too short to tell
    Span(at(11, 18), at(12, 9, 20), IDLE),
    Span(at(29, 15), at(30, 11), DISK),
    Span(at(29, 20), at(30, 11), replace(DISK, severity=Severity.ERROR, summary="Staging is 96 % full.")),
)

SLACK_AWAY = (at(26, 9), at(26, 13))

PLATES = {at(9, 11, 5): "C4-0913", at(14, 16, 5): "C4-1022", at(23, 2, 5): "C4-1187"}
"""Bad plates: when their images were given up."""


def _failed(job: str, day: str, reason: str) -> Condition:
    return Condition(
        f"run-failed:{job}",
        Event.RUN_FAILED,
        Severity.ERROR,
        f"{job} failed for {day}: {reason}",
        subjects=(Subject(day),),
    )


def _nights() -> Iterator[tuple[datetime, Condition]]:
    for night in range(20, 24):
        yield at(night, 6, 10), _failed("settle_yesterday", f"{night - 1} Oct", "the step ran out of memory.")


def _weeks() -> Iterator[tuple[datetime, Condition]]:
    for monday in (5, 12, 19, 26):
        yield at(monday, 3), _failed("ashes", f"the week of {monday} Oct", "a scorer's name is not known.")


def _during_the_outages() -> Iterator[tuple[datetime, Condition]]:
    yield at(7, 6, 10), _failed("settle_yesterday", "6 Oct", "the imaging database does not answer.")
    for hour in range(13):
        yield at(17, 14, 20) + hour * HOUR, _failed("score_images", "17 Oct", "the image store does not answer.")


def _plates() -> Iterator[tuple[datetime, Condition]]:
    for when, plate in PLATES.items():
        summary = f"192 images of plate {plate} cannot be read and were given up."
        subjects = (Subject(f"plate {plate}"),)
        yield when, Condition("images-given-up", Event.IMAGES_GIVEN_UP, Severity.WARNING, summary, subjects=subjects)


OCCURRED = (*_plates(), *_nights(), *_weeks(), *_during_the_outages())

RECOVERED = {
    at(7, 7): part_of("run-failed:settle_yesterday", "6 Oct"),
    at(18, 4, 5): "run-failed:score_images",
    at(23, 10, 30): "run-failed:settle_yesterday",
    **{at(monday, 9, 30): "run-failed:ashes" for monday in (5, 12, 19, 26)},
}


def seen(now: datetime) -> Observation:
    """What a look at the facility sees. A database that is away hides what is read from it."""
    holding = {span.condition.key: span.condition for span in SPANS if span.holds(now)}
    looked_at = {"database-away", "store-away", "disk-filling:", "asset-stale:"}
    if DATABASE.key not in holding:
        looked_at.add("nothing-imaged")
    return Observation(
        tuple(holding.values()),
        frozenset(looked_at),
        tuple(condition for when, condition in OCCURRED if now - LOOK < when <= now),
        frozenset(key for when, key in RECOVERED.items() if now - LOOK < when <= now),
    )


@dataclass
class Recipient:
    """A channel whose messages people read."""

    name: str
    got: list[tuple[datetime, str, Message]]
    away: tuple[datetime, datetime] | None = None
    now: datetime = FIRST

    def send(self, message: Message) -> None:
        if self.away and self.away[0] <= self.now < self.away[1]:
            raise ChannelAway(f"{self.name} answered 500")
        self.got.append((self.now, self.name, message))


def digest(now: datetime) -> Message:
    """The digest of a day."""
    name = f"digest@{now:%Y-%m-%d}"
    return Message(name, name, Change.TOLD, Event.DIGEST, Severity.PROGRESS, now, f"C4 on {now:%d %b}")


def month(folder: Path) -> list[tuple[datetime, str, Message]]:
    """All that the operators got: when, on which channel, what."""
    got: list[tuple[datetime, str, Message]] = []
    channels = [Recipient("slack", got, SLACK_AWAY), Recipient("email", got)]
    outbox, state, now = Outbox(folder), State(), FIRST
    while now < LAST:
        look = merged(seen(now), outbox.observation(now))
        state, messages = advance(state, look, RULES, now)
        outbox.put(messages)
        if now.hour == 8 and now.minute == 0:
            outbox.put([digest(now)])
        for channel in channels:
            channel.now = now
        outbox.deliver(channels, RULES, now, pause=lambda _: None, clock=lambda: 0.0)
        now = (now.astimezone(ZoneInfo("UTC")) + LOOK).astimezone(ZONE)
    return got


def table(got: list[tuple[datetime, str, Message]]) -> str:
    """The month as a table in Markdown; digests are counted only."""
    alerts = [each for each in got if each[2].event is not Event.DIGEST]
    lines = [
        f"{len(alerts)} messages, and {len(got) - len(alerts)} daily digests.",
        "",
        "| when | on | | message |",
        "| --- | --- | --- | --- |",
    ]
    for when, channel, message in alerts:
        text = " · ".join((f"**{message.title}**", *message.lines)).replace("|", "\\|")
        lines.append(f"| {when.day} Oct {when:%H:%M} | {channel} | {message.severity}, {message.change} | {text} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The text of the page with the month made anew."""
    before, rest = text.split(BEGIN)
    with tempfile.TemporaryDirectory() as folder:
        return f"{before}{BEGIN}\n\n{table(month(Path(folder)))}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
