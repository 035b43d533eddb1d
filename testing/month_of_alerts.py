"""A month of a facility: what happens to it, and the messages that its operators get.

``python -m testing.month_of_alerts`` writes them into docs/alerts.md. The facility says what happens and when; keys,
words, severities, what recovers and what is told are made by the functions that make them in production.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from c4_assets.operations.alerts import ends
from c4_assets.operations.alerts.conditions import (
    EVENTS,
    FAILED_TICK_KEYS,
    NOTHING_IMAGED_KEY,
    given_up_named,
    images_given_up,
    nothing_imaged,
    run_failed,
    run_subject,
    service_away,
    ticks_failed,
)
from c4_assets.operations.alerts.incidents import State, advance, merged
from c4_assets.operations.alerts.outbox import Outbox
from c4_assets.operations.alerts.reasons import KILLED, Reason
from c4_assets.operations.alerts.records import Condition, Event, Message, Observation
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.channels.sending import HttpAnswer, accepted
from c4_assets.operations.digest import DigestFacts, Work, digest
from c4_assets.operations.disks import GB, Room, filling
from c4_assets.operations.rhythm import WEEK, WEEKS_COMPARED, unusual_silence
from resources.errors import ConfigurationError, Service, Unavailable
from resources.imaging_database.day_numbers import DayNumbers
from resources.imaging_database.faults import NOT_ALLOWED, UNREACHABLE, Fault
from resources.settings.alerts import Alerts
from resources.settings.sections import Runs

PAGE = Path(__file__).parents[1] / "docs" / "alerts.md"
BEGIN, END = "<!-- the month, written by testing/month_of_alerts.py -->", "<!-- end of the month -->"

ZONE = ZoneInfo("Europe/London")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

LOOK = MINUTE
"""Between two looks. The sensor looks every half minute."""

RULES = Rules.of(Alerts(quiet_hours="22:00-07:00", time_zone="Europe/London", order=("slack", "email")))

WINDOW = Runs().window_days * DAY


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A time of the month on the clocks of the facility."""
    return datetime(2026, 10, day, hour, minute, tzinfo=ZONE).astimezone(UTC)


FIRST, LAST = at(1, 0), at(31, 23, 59) + MINUTE


def _said(fault: Fault, by_the_server: str) -> str:
    return f"The imaging database lims.facility.org/lims {fault.happened} ({by_the_server}). {fault.remedy}"


DATABASE_SAYS = _said(UNREACHABLE, "server closed the connection unexpectedly")
STORE_SAYS = (
    "The image store c4@storage.facility.org does not answer: c4@storage.facility.org cannot be reached by ssh: "
    "connection refused. See whether it is up and lets you in (ssh c4@storage.facility.org), or raise "
    "C4_TIMEOUT_SECONDS. No image was marked as failed."
)


@dataclass(frozen=True)
class Outage:
    """A service that does not answer for a while, and how many runs wait for it."""

    service: Service
    first: datetime
    last: datetime
    why: str
    waiting: int = 0

    def holds(self, now: datetime) -> bool:
        return self.first <= now < self.last

    def condition(self) -> Condition:
        days = (datetime(2019, 1, 1, tzinfo=UTC) + n * DAY for n in range(self.waiting))
        waiting = tuple(run_subject("backfill", f"{day:%Y-%m-%d}") for day in days)
        return service_away(self.service, self.why, self.first, waiting)


NIGHT = Outage("database", at(6, 23, 50), at(7, 7, 30), DATABASE_SAYS, 200)
WEEKEND = Outage("store", at(17, 14), at(18, 3, 30), STORE_SAYS)
RESTARTS = tuple(Outage("database", at(day, 13, 10), at(day, 13, 15), DATABASE_SAYS) for day in (2, 8, 13, 21, 27))
OUTAGES = (NIGHT, WEEKEND, *RESTARTS)

FAILED_POLLS, NEXT_POLL = tuple(at(7, hour, 20) for hour in range(2, 8)), at(7, 8, 20)
"""Ticks of the hourly poll that fail in the night without a database, from the third on, and the one that succeeds."""

SLACK_AWAY = (at(26, 9), at(26, 13))

PLATES = {at(9, 11, 25): "C4-0913", at(14, 16, 25): "C4-1022", at(23, 2, 25): "C4-1187"}
"""Bad plates: when the last run has tried their images."""

DAMAGED = "the JPEG data is damaged or cut off; copy the image again from the imager"

STANDS_STILL = (at(11, 13, 10), at(12, 9, 20))
"""When the imager does not work."""

FILLS, EMPTIED = at(29, 11), at(30, 11)
"""When the disk of staging begins to fill, and when somebody makes room."""


@dataclass(frozen=True)
class Run:
    """A run that ends: well, or for a reason."""

    at: datetime
    job: str
    partition: str
    reason: Reason | None = None

    @property
    def subjects(self) -> frozenset[str]:
        return frozenset({f"{ends.WEEK if self.job == 'collect_disagreements' else ends.DAY} {self.partition}"})

    def has_step(self, step: str) -> bool:
        """Whether it has done a step, as a run of its job has that ends well."""
        return not step or (step == "human_labels") == (self.job == "collect_disagreements")


FETCHING, LABELS = "raw_inspection_images", "human_labels"


def _nights() -> Iterator[Run]:
    """The run that settles the day before is killed four times. Then it is mended, and the days are run by hand.

    Nothing of those days is pending, so that the sensor does not ask for them again.
    """
    words = (
        "The process 4711 on c4-control that worked on this run was killed. What it had finished stays, and its "
        "slots of the pools are free again. Days with pending images are asked for again: by Dagster, by the sensor, "
        "or with `c4 run`."
    )
    for day in range(20, 24):
        yield Run(at(day, 7, 4), "score_images", f"2026-10-{day - 1}", Reason("", KILLED, words))
        yield Run(at(23, 10, 30), "score_images", f"2026-10-{day - 1}")


def _weeks() -> Iterator[Run]:
    """The weekly run may not read the labels on Mondays. Somebody grants that, and repeats it."""
    why = Reason(LABELS, ConfigurationError.__name__, _said(NOT_ALLOWED, "permission denied for table scores"))
    for monday in (5, 12, 19, 26):
        week = f"{at(monday, 12) - WEEK:%Y-%m-%d}"
        yield Run(datetime(2026, 10, monday, 5, 2, tzinfo=UTC), "collect_disagreements", week, why)
        yield Run(at(monday, 9, 30), "collect_disagreements", week)


def _during_the_outages() -> Iterator[Run]:
    """What fails for want of a service, and is run by the first poll after it is back.

    A run of the sensor is at work when the database goes away. That of the morning's schedule waits for the database.
    """
    why = Reason(FETCHING, Unavailable.__name__, DATABASE_SAYS, "database")
    yield Run(at(6, 23, 53), "score_images", "2026-10-06", why)
    yield Run(at(7, 7, 35), "score_images", "2026-10-06")
    why = Reason(FETCHING, Unavailable.__name__, STORE_SAYS, "store")
    for hour in range(14):
        yield Run(at(17, 14, 25) + hour * HOUR, "score_images", "2026-10-17", why)
    yield Run(at(18, 4, 25), "score_images", "2026-10-17")


def _polls() -> Iterator[Run]:
    """What each hourly poll asks for while the imager works and services answer: the day's new images are scored."""
    for hour in range((LAST - FIRST) // HOUR):
        ended = FIRST + hour * HOUR + 25 * MINUTE
        hindered = any(outage.holds(ended) for outage in OUTAGES)
        if not hindered and not STANDS_STILL[0] <= ended - HOUR < STANDS_STILL[1]:
            yield Run(ended, "score_images", f"{(ended - HOUR).astimezone(ZONE):%Y-%m-%d}")


RUNS = (*_nights(), *_weeks(), *_during_the_outages(), *_polls())


def _imaged() -> list[datetime]:
    """When inspections were made, in order: three in each hour of the day and one in each of the night."""
    begin = FIRST - (WEEKS_COMPARED + 1) * WEEK
    hours = (begin + n * HOUR for n in range((LAST - begin) // HOUR))
    times = (hour + n * 20 * MINUTE for hour in hours for n in range(3 if 7 <= hour.hour < 20 else 1))
    return [moment for moment in times if not STANDS_STILL[0] <= moment < STANDS_STILL[1]]


def _room(now: datetime) -> Room:
    """The disk of staging, which loses 5 GB an hour while it fills."""
    hours = (now - FILLS) / HOUR if FILLS <= now < EMPTIED else 0
    return Room(400 * GB, int((60 - min(5 * hours, 52)) * GB), device=1)


class Facility:
    """What can be seen of the facility, look by look."""

    def __init__(self) -> None:
        self._imaged, self._past = _imaged(), 0
        self._open: dict[str, dict[str, str]] = {}
        self._runs: dict[datetime, list[Run]] = {}
        for run in RUNS:
            self._runs.setdefault(run.at, []).append(run)

    def seen(self, now: datetime) -> Observation:
        """What a look sees. A database that is away hides what is read from it."""
        away = [outage for outage in OUTAGES if outage.holds(now)]
        services = Observation(
            tuple(outage.condition() for outage in away),
            frozenset(str(EVENTS[service]) for service in ("database", "store")),
        )
        disks = Observation(
            tuple(filling({"staging": (Path("/srv/c4/staging"), _room(now))})),
            frozenset({f"{Event.DISK_FILLING}:staging"}),
        )
        hidden = any(outage.service == "database" for outage in away)
        imaging = Observation() if hidden or now.minute % 10 else self._imaging(now)
        return merged(services, self._ends(now), imaging, self._ticks(now), disks)

    def _imaging(self, now: datetime) -> Observation:
        while self._past < len(self._imaged) and self._imaged[self._past] <= now:
            self._past += 1
        known = (WEEKS_COMPARED + 2) * 7 * 52
        silence = unusual_silence(self._imaged[max(0, self._past - known) : self._past], now)
        looked_at = frozenset({NOTHING_IMAGED_KEY})
        return Observation((nothing_imaged(silence, now),) if silence else (), looked_at)

    def _ticks(self, now: datetime) -> Observation:
        """The hourly poll fails from the third time on that the database does not answer, until one succeeds."""
        failed = [poll for poll in FAILED_POLLS if poll <= now < NEXT_POLL][-4:]
        looked_at = frozenset({FAILED_TICK_KEYS})
        if not failed:
            return Observation(looked_at=looked_at)
        return Observation(
            (ticks_failed("sensor", "new_inspections", len(failed), DATABASE_SAYS, failed[0]),), looked_at
        )

    def _ends(self, now: datetime) -> Observation:
        """Runs that have ended since the last look, as :mod:`c4_assets.runs.watch.run_ends` tells of them."""
        found = ends.Ends(now, self._open, WINDOW)
        for run in self._runs.get(now, ()):
            if run.reason:
                subject = run_subject(run.job, run.partition)
                found.opened(run_failed(run.job, run.partition, run.reason, subject), run.subjects)
            else:
                found.succeeded(run.job, run.subjects, run.has_step)
        if plate := PLATES.get(now):
            found.occurred.append(
                images_given_up(192, f"{now - DAY:%Y-%m-%d}", given_up_named(plate, "A1", 1, DAMAGED))
            )
        found.forget_old()
        return found.observation()


@dataclass
class Recipient:
    """A channel whose messages people read."""

    name: str
    got: list[tuple[datetime, str, Message]]
    away: tuple[datetime, datetime] | None = None
    now: datetime = FIRST

    def send(self, message: Message) -> None:
        if self.away and self.away[0] <= self.now < self.away[1]:
            accepted(self.name, HttpAnswer(503, b"Service Unavailable", None))
        self.got.append((self.now.astimezone(ZONE), self.name, message))


def month(folder: Path) -> list[tuple[datetime, str, Message]]:
    """All that the operators got: when, on which channel, what."""
    got: list[tuple[datetime, str, Message]] = []
    channels = [Recipient("slack", got, SLACK_AWAY), Recipient("email", got)]
    outbox, state, facility, now = Outbox(folder), State(), Facility(), FIRST
    nothing = DigestFacts(DayNumbers(0, 0, 0, 0), 0, Work())
    while now < LAST:
        look = merged(facility.seen(now), outbox.observation(now))
        state, messages = advance(state, look, RULES, now)
        outbox.put(messages)
        if now.minute == 0 and now.astimezone(ZONE).hour == 8:
            outbox.put([digest(nothing, now, ZONE)])
        if outbox.waiting():
            for channel in channels:
                channel.now = now
            outbox.deliver(channels, RULES, now, pause=lambda _: None, clock=lambda: 0.0)
        now += LOOK
    return got


def table(got: list[tuple[datetime, str, Message]]) -> str:
    """The month as a table in Markdown. Digests are counted apart from what is wrong."""
    alerts = [each for each in got if each[2].event is not Event.DIGEST]
    lines = [
        f"**{len(alerts)} messages of what is wrong**, and apart from them {len(got) - len(alerts)} daily digests.",
        "",
        "| when | on | | message |",
        "| --- | --- | --- | --- |",
    ]
    for when, channel, message in alerts:
        cut = message.title.endswith("…")  # then the first line is the whole sentence
        title, *others = message.lines if cut else (message.title, *message.lines)
        parts = [f"**{title}**", *others]
        parts += [f"*What to do:* {message.advice}"] if message.advice else []
        text = " · ".join(parts).replace("|", "\\|")
        lines.append(f"| {when.day} Oct {when:%H:%M} | {channel} | {message.severity}, {message.change} | {text} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The text of the page with the month made anew."""
    before, rest = text.split(BEGIN)
    with tempfile.TemporaryDirectory() as folder:
        return f"{before}{BEGIN}\n\n{table(month(Path(folder)))}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
