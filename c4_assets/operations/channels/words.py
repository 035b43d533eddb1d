"""What all channels say alike: clean texts, how bad it is at a glance, what is cut, the message as plain text."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlsplit

from c4_assets.operations.alerts.records import Change, Message, Severity, Subject
from resources.redaction import redacted


@dataclass(frozen=True)
class Look:
    """How a message looks: it is told by shape, colour and word, since not everybody sees all of them."""

    symbol: str
    word: str
    color: str


RECOVERED = Look("🟢", "Recovered", "#2e8b57")
LOOKS = {
    Severity.ERROR: Look("🔴", "Error", "#c62828"),
    Severity.WARNING: Look("⚠️", "Warning", "#b26a00"),
    Severity.PROGRESS: Look("🔵", "Progress", "#1f6fb2"),
}

CHANGES = {
    Change.OPENED: "new",
    Change.GREW: "it has grown",
    Change.REPEATED: "it still holds",
    Change.RECOVERED: "it is over",
    Change.TOLD: "",
}

_DIRECTION = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)))
"""Characters that turn the direction of writing: with them a name shows as another one."""


def look_of(message: Message) -> Look:
    """What tells errors, warnings, progress and recovery apart."""
    return RECOVERED if message.change is Change.RECOVERED else LOOKS[message.severity]


def cleaned(message: Message) -> Message:
    """The message with texts that can go out: no secrets, no control characters, addresses of web pages alone.

    Names of plates and reasons come from outside. What a channel reads as markup it has to escape by itself. The
    address at which a person unsubscribes is theirs and is left as it is, if it is one.
    """
    return replace(
        message,
        id=_whole(message.id),
        thread=_whole(message.thread),
        page=clean(message.page),
        title=clean(message.title),
        lines=tuple(line for line in map(clean, message.lines) if line),
        advice=clean(message.advice),
        subjects=tuple(Subject(clean(each.name) or "(no name)", web_address(each.url)) for each in message.subjects),
        facts={clean(name): clean(value) for name, value in message.facts.items()},
        pictures=tuple(replace(each, name=clean(each.name), caption=clean(each.caption)) for each in message.pictures),
        unsubscribe=_address(message.unsubscribe, ("http", "https", "mailto")),
    )


def clean(text: str) -> str:
    """One line without secrets, control characters, turned writing and halves of characters."""
    whole = _whole(redacted(text))
    if not whole.isprintable():
        visible = (" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in whole)
        whole = "".join(char for char in visible if char not in _DIRECTION)
    return re.sub(r"\s+", " ", whole).strip()


def _whole(text: str) -> str:
    """The text without halves of characters, which nothing can send."""
    return text.encode("utf-8", "replace").decode()


def web_address(url: str) -> str:
    """The address, if it is one of a web page that can stand in a link, or nothing."""
    return _address(redacted(url), ("http", "https"))


def _address(url: str, schemes: tuple[str, ...]) -> str:
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return ""
    harmless = url.isascii() and url.isprintable() and not re.search(r"""[\s<>|"'\\`]""", url)
    return url if scheme in schemes and harmless else ""


@dataclass(frozen=True)
class Place:
    """Where the readers are.

    Attributes:
        handbook: address of the folder of the operator's handbook; or with ``{page}`` in it, the address of a page.
        zone: the time zone in which times are said.
    """

    handbook: str = ""
    zone: tzinfo = UTC

    def page(self, name: str) -> str:
        """The address of a page of the handbook, or nothing."""
        if not self.handbook or not re.fullmatch(r"[\w-]+", name):
            return ""
        at = self.handbook
        return web_address(at.replace("{page}", name) if "{page}" in at else f"{at.rstrip('/')}/{name}")

    def minute(self, time: datetime) -> str:
        """A time as all channels say it; one without a zone is of UTC."""
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        return f"{aware.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"


DEFAULT_PLACE = Place()


def cut(text: str, limit: int) -> str:
    """The text, if it has no more characters than that, or its beginning, and how many were cut."""
    if len(text) <= limit:
        return text
    kept = max(limit - len(f"… ({len(text)} characters more)"), 0)
    return f"{text[:kept]}… ({len(text) - kept} characters more)"[:limit]


def state_of(message: Message, place: Place) -> str:
    """How bad it is, what has changed, and when: «Error, new, 2026-03-01 08:00 UTC». Of mere news only when."""
    word = "" if is_news(message) else look_of(message).word
    return ", ".join(filter(None, (word, CHANGES[message.change], place.minute(message.at))))


def is_news(message: Message) -> bool:
    """Whether nothing is wrong or well again: crystals, a digest, a test."""
    return message.change is Change.TOLD and message.severity is Severity.PROGRESS


def as_text(message: Message, place: Place, title: bool = True, captions: Sequence[str] = ()) -> str:
    """A cleaned message as plain text, whole.

    A title that was cut is left out where the first line has all of it.

    Args:
        captions: of the pictures that go out with it.
    """
    repeated = message.title.endswith("…") and message.lines[:1] and message.lines[0].startswith(message.title[:-1])
    parts = [message.title] if title and not repeated else []
    parts += [state_of(message, place), "\n".join(message.lines), "\n".join(captions)]
    if message.facts:
        parts.append("\n".join(f"{name}: {value}" for name, value in message.facts.items()))
    if message.advice:
        parts.append(f"What to do: {message.advice}")
    parts.append("\n".join([*map(_subject, message.subjects), *more(message)]))
    if message.page:
        parts.append(f"Handbook: {place.page(message.page) or message.page}")
    return "\n\n".join(filter(None, parts))


def _subject(subject: Subject) -> str:
    return f"- {subject.name}: {subject.url}" if subject.url else f"- {subject.name}"


def more(message: Message) -> tuple[str, ...]:
    """That there are subjects that are not named, if there are."""
    return (f"and {message.more} more",) if message.more else ()
