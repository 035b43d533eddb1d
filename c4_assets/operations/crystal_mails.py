"""Mails of new crystals to those who subscribed to the plate or its project: which inspections are told, and what.

Nothing is kept of what was looked at: an inspection is told when all its images are decided, it has crystals, and the
subscriber was not told of it. So neither the order of runs, nor a database that was away, nor a score that came late
loses one, and a run that is repeated finds nothing to tell.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from c4_assets.operations.alerts.records import Change, Event, Message, Picture, Severity, Subject
from resources.archive.subscriptions import Subscription, Subscriptions, key_of
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.crystals import (
    Crystal,
    DecidedInspection,
    ImagedPlate,
    crystals_of_inspection,
    decided_inspections,
    imaged_plates,
    imaged_projects,
)
from resources.settings.subscriptions import Subscriptions as Choices

MOST_NAMED = 24
"""Most drops that a mail names."""

UNSUBSCRIBE_PATH = "/c4/unsubscribe"
"""Where the page is on which a subscription is ended, below ``alerts.ui_url``."""

Pictures = Callable[[Sequence[Crystal]], Sequence[bytes | None]]
"""Gives a JPEG for each crystal, or None where there is no picture of it."""


@dataclass(frozen=True)
class Decider:
    """By which decision a drop is a crystal: the scorer version, its operating point, and when an image has failed."""

    scorer_version: str
    operating_point: float
    max_attempts: int


@dataclass(frozen=True)
class Unsubscribing:
    """How people end their subscription: on a page of C4's, where it has an address, and else by a mail."""

    ui_url: str | None = None
    mailbox: str | None = None

    def address(self, token: str) -> str:
        """Where whoever knows the token ends the subscription; empty if there is no way."""
        if self.ui_url:
            return f"{self.ui_url.rstrip('/')}{UNSUBSCRIBE_PATH}?{urlencode({'token': token})}"
        if self.mailbox:
            return f"mailto:{quote(self.mailbox, safe='@')}?subject={quote(f'unsubscribe {token}')}"
        return ""


@dataclass(frozen=True)
class News:
    """An inspection with crystals, and who is to be told of it."""

    plate: ImagedPlate
    decided: DecidedInspection
    subscriptions: tuple[Subscription, ...]

    @property
    def key(self) -> str:
        """What tells the inspection from others."""
        return key_of(self.plate.inspection_id, self.plate.plate)


def news(
    subscriptions: Subscriptions, database: ImagingDatabase, decider: Decider, choices: Choices, now: datetime
) -> list[News]:
    """What is to be told now. Without subscriptions to what was imaged of late, the database is hardly asked.

    Raises:
        Unavailable, ConfigurationError: the database cannot be asked, or the file of subscriptions cannot be read.
    """
    known = subscriptions.all()
    if not known:
        return []
    told = subscriptions.told()
    since = now - timedelta(days=choices.days)
    projects = imaged_projects(database, since, now) if any(each.projects for each in known) else {}
    wanted = {
        plate.inspection_id: (plate, wanting)
        for plate in imaged_plates(database, since, now)
        if (
            wanting := [
                each
                for each in known
                if each.since(plate.plate, projects.get(plate.inspection_id, ())) is not None
                and key_of(plate.inspection_id, plate.plate) not in told.get(each.address, {})
            ]
        )
    }
    least = choices.least_probability or 0.0
    decided = decided_inspections(database, decider.scorer_version, decider.max_attempts, wanted, least)
    found: list[News] = []
    for inspection_id, (plate, wanting) in wanted.items():
        its = decided.get(inspection_id)
        if its is None or not its.crystals:
            continue
        # What was scored before somebody subscribed is no news to them.
        of_projects = projects.get(inspection_id, ())
        if readers := tuple(
            each for each in wanting if (since := each.since(plate.plate, of_projects)) and since <= its.scored_at
        ):
            found.append(News(plate, its, readers))
    return found


def tell(
    found: Sequence[News],
    subscriptions: Subscriptions,
    database: ImagingDatabase,
    decider: Decider,
    choices: Choices,
    unsubscribing: Unsubscribing,
    pictures: Pictures,
    put: Callable[[Message], object],
    now: datetime,
) -> int:
    """Hands over one message a subscriber and inspection, and remembers that. Returns how many.

    A message is handed over before that is remembered: after a crash between the two it is made again with the same id,
    by which the outbox knows it.

    Args:
        put: takes a message, durably.
    """
    told = 0
    for each in found:
        crystals = crystals_of_inspection(
            database, decider.scorer_version, each.plate.inspection_id, MOST_NAMED, choices.least_probability or 0.0
        )
        if not crystals:  # released or scored anew since
            continue
        shown = crystals[: choices.pictures]
        jpegs = [*pictures(shown), *(None for _ in crystals[len(shown) :])]
        with subscriptions.telling(now) as telling:
            for subscription in each.subscriptions:
                if not telling.is_due(subscription, each.key):
                    continue
                put(message_of(each, crystals, jpegs, subscription, decider, choices, unsubscribing, now))
                telling.add(subscription.address, each.key)
                told += 1
    return told


def message_of(
    found: News,
    crystals: Sequence[Crystal],
    jpegs: Sequence[bytes | None],
    subscription: Subscription,
    decider: Decider,
    choices: Choices,
    unsubscribing: Unsubscribing,
    now: datetime,
) -> Message:
    """The mail for one subscriber: pictures of the likeliest, and below them the drops without one."""
    plate, total = found.plate, found.decided.crystals
    least = max(decider.operating_point, choices.least_probability or 0.0)
    drops = "1 likely crystal" if total == 1 else f"{total} likely crystals"
    return Message(
        id=f"crystals-{_digest(found.key, subscription.address, decider.scorer_version)}",
        thread=f"crystals-{_digest(plate.plate, subscription.address)}",
        change=Change.TOLD,
        event=Event.CRYSTALS_FOUND,
        severity=Severity.PROGRESS,
        at=now,
        title=f"{drops} on plate {plate.plate[:60]}",
        lines=(
            f"Plate {plate.plate}, imaged on {plate.imaged_at:%Y-%m-%d at %H:%M} UTC: of {found.decided.scored} images "
            f"that were scored, {total} reach{'es' if total == 1 else ''} a probability of crystals of {least:g}.",
            "The machine is often wrong: look before you act on it.",
        ),
        subjects=(
            *_links(unsubscribing.ui_url, plate.imaged_at),
            *(Subject(_line(each)) for each, jpeg in zip(crystals, jpegs, strict=True) if not jpeg),
        ),
        more=max(0, total - len(crystals)),
        pictures=tuple(
            Picture(name=f"{number:02}-{each.image.well}.{each.image.drop_number}.jpg", data=jpeg, caption=_line(each))
            for number, (each, jpeg) in enumerate(zip(crystals, jpegs, strict=True), 1)
            if jpeg
        ),
        recipients=(subscription.address,),
        unsubscribe=unsubscribing.address(subscription.token),
    )


def _links(ui_url: str | None, imaged_at: datetime) -> list[Subject]:
    """The day on which the plate was imaged, on the asset's page that has its contact sheet."""
    day = f"{imaged_at:%Y-%m-%d}"
    address = (
        f"{(ui_url or '').rstrip('/')}/assets/class_predictions?{urlencode({'view': 'partitions', 'partition': day})}"
    )
    return [Subject(f"The likeliest crystals of {day} in C4", address)] if ui_url else []


def _line(crystal: Crystal) -> str:
    image = crystal.image
    return f"{image.well} drop {image.drop_number}: {crystal.probability:.2f}, {crystal.category}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
