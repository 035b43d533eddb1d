"""What alerts are made of: a condition is observed, an incident groups what was observed, a message tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from resources.redaction import redacted


class Severity(StrEnum):
    """How bad it is, the mildest first."""

    PROGRESS = "progress"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for the mildest."""
        return list(Severity).index(self)


class Event(StrEnum):
    """What operators hear of. The name is also that of the event's page in the handbook and of its routing key."""

    RUN_FAILED = "run-failed"
    CHECK_FAILED = "check-failed"
    IMAGES_GIVEN_UP = "images-given-up"
    DATABASE_AWAY = "database-away"
    STORE_AWAY = "store-away"
    SLURM_AWAY = "slurm-away"
    NOTHING_IMAGED = "nothing-imaged"
    SENSOR_FAILED = "sensor-failed"
    DAEMON_SILENT = "daemon-silent"
    DISK_FILLING = "disk-filling"
    STAGING_FULL = "staging-full"
    ASSET_STALE = "asset-stale"
    CHANNEL_AWAY = "channel-away"
    DIGEST = "digest"
    CRYSTALS_FOUND = "crystals-found"
    TEST = "test"


@dataclass(frozen=True)
class Subject:
    """One run, check, day, image or plate that a condition is about, and where to look at it."""

    name: str
    url: str = ""


@dataclass(frozen=True)
class Condition:
    """Something that is wrong, or worth telling, as one look at the deployment has seen it.

    Attributes:
        key: fingerprint of what is wrong and where, such as ``database-away`` or
            ``run-failed:score_images, db_scores (DataError)``; never of one run.
        summary: one sentence in plain words.
        advice: what to do about it.
        since: when it began, where that is known.
        count: how often it has happened, where it is something that happens: of images that are given up, how many.
        because_of: the event of which it is known to be a consequence. What happened during that is not told after it.
    """

    key: str
    event: Event
    severity: Severity
    summary: str
    advice: str = ""
    subjects: tuple[Subject, ...] = ()
    since: datetime | None = None
    count: int = 1
    because_of: Event | None = None


@dataclass(frozen=True)
class Observation:
    """What one look at the deployment has seen.

    Attributes:
        holding: conditions that hold now, such as a database that is away. One that was looked at and is not among them
            has ended.
        looked_at: keys, or beginnings of keys that end in ``:``, which were looked at. What could not be seen, because
            the database is away, say, neither holds nor has ended.
        occurred: conditions that have happened since the last look, such as failed runs.
        recovered: keys of what had occurred and is well again, because every day that had failed was scored after all.
        notes: sentences of the look about itself, for Dagster's UI and the log. Nobody is told.
    """

    holding: tuple[Condition, ...] = ()
    looked_at: frozenset[str] = frozenset()
    occurred: tuple[Condition, ...] = ()
    recovered: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


class Change(StrEnum):
    """What a message tells of its incident."""

    OPENED = "opened"
    GREW = "grew"
    REPEATED = "repeated"
    RECOVERED = "recovered"
    TOLD = "told"
    """Of what is no incident: a digest, crystals that were found, a test."""


@dataclass(frozen=True)
class Picture:
    """A picture that goes out with a message: JPEG, PNG or WebP."""

    name: str
    data: bytes = field(repr=False)
    caption: str = ""
    kind: str = "image/jpeg"


@dataclass(frozen=True)
class Message:
    """One message to people. Its texts are plain: a channel escapes and cuts them as it must.

    Attributes:
        id: the same for the same message after a restart; channels and the outbox tell messages apart by it.
        thread: messages of one incident share it.
        title: at most about 100 characters.
        lines: what happened, a sentence each.
        subjects: at most five of an incident, with ``more`` that are not named.
        page: name of the handbook's page (:class:`Event`), or empty.
        facts: numbers of a digest, by what they count.
        recipients: addresses, where a message is for certain people and not for a channel's own.
        unsubscribe: address at which such a person ends them.
    """

    id: str
    thread: str
    change: Change
    event: Event
    severity: Severity
    at: datetime
    title: str
    lines: tuple[str, ...] = ()
    advice: str = ""
    subjects: tuple[Subject, ...] = ()
    more: int = 0
    page: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    pictures: tuple[Picture, ...] = ()
    recipients: tuple[str, ...] = ()
    unsubscribe: str = ""


class ChannelAway(Exception):
    """A channel does not take messages now. The message names the channel; secrets are taken out of it.

    Args:
        retry_after: seconds after which the channel wants to be asked again, where it says so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(redacted(message))
        self.retry_after = retry_after


class MessagePostponed(Exception):
    """A channel is there, but the person whom a message is for takes nothing now: the mailbox is full, say.

    The text names the channel, and has no secret.
    """
