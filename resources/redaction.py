"""Takes secrets out of texts that leave C4 for people or files: logs, errors, events, messages, pages.

Two things are taken out: the deployment's own secret values, which every process registers when it reads the settings,
and what is a secret by its looks, such as the password of an address. Cut a text after this, not before: half a secret
is not recognised.
"""

import html
import json
import re
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

HIDDEN = "********"

SHORTEST_SECRET_CHARACTERS = 4
"""Characters of the shortest value that is taken out wherever it stands. A password such as ``c4`` would take out half
of each text; in an address and behind ``password=`` it is taken out all the same."""

_NAMES = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|credentials?|api_?key|access_?key|signature"
    r"|(?<![a-z])sig(?=['\"]?\s?[=:]|$))"
)
_NOTHING = r"(?!None\b|null\b|true\b|false\b|SecretStr\()"


@dataclass(frozen=True)
class _Pattern:
    """What is a secret by its looks: ``found`` is only searched for where one of ``marks`` is in the text."""

    marks: tuple[str, ...]
    found: re.Pattern[str]
    shown: str = rf"\g<1>{HIDDEN}"

    def out_of(self, text: str, lower: str) -> str:
        return self.found.sub(self.shown, text) if any(mark in lower for mark in self.marks) else text


_PATTERNS = (
    # Over ssh and http, digits before a slash are a port. A raw @ or slash in a password is against the rules of
    # addresses, and met: up to the last @ before a slash, or else up to the first @ behind one. Stars are no password.
    _Pattern(
        ("://",),
        re.compile(
            r"(://[^\s:/@'\"]{0,200}:)(?!\*+@)(?!\d+(?:[/\s]|$))(?:[^\s/?#'\"]{0,400}(?=@)|[^\s@'\"]{1,400}(?=@))"
        ),
    ),
    _Pattern(
        ("=",),
        re.compile(
            rf"({_NAMES}\w{{0,30}}=){_NOTHING}(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s;,&'\"<>()\[\]{{}}]+)", re.IGNORECASE
        ),
    ),
    _Pattern(
        ("'", '"'),
        re.compile(rf"({_NAMES}\w{{0,30}}['\"]\s?:\s?)(?:'[^'\n]*'|\"[^\"\n]*\")", re.IGNORECASE),
        rf"\g<1>'{HIDDEN}'",
    ),
    _Pattern(
        ("authorization",),
        re.compile(
            r"(authorization['\"]?\s?[:=]\s?['\"]?(?:basic|bearer|token|digest)\s)[^\s'\",;]+",
            re.IGNORECASE,
        ),
    ),
    _Pattern(("bearer",), re.compile(r"(\bbearer\s)(?=[^\s\d]*\d)[\w.~+/=-]{16,}", re.IGNORECASE)),
    _Pattern(
        ("hook", "hc-ping"),
        re.compile(
            r"(hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/"
            r"|\.webhook\.office\.com/webhookb2/|hc-ping\.com/)[^\s'\"<>)]+",
            re.IGNORECASE,
        ),
    ),
    _Pattern(("xox", "xapp"), re.compile(r"(\bx(?:ox[abeoprs]|app)-)[\w-]{8,}", re.IGNORECASE)),
    # A token of C4's API: names of tables and indexes begin in the same way, without capitals and figures.
    _Pattern(("c4_",), re.compile(r"(?<![\w-])(c4_)(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{43}(?![\w-])", re.ASCII)),
    _Pattern(("$argon2",), re.compile(r"(\$argon2\w{1,2}\$)[^\s'\"]+")),
    _Pattern(
        ("private key",),
        re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?:(?!-----END).)+", re.DOTALL),
        rf"\g<1>{HIDDEN}",
    ),
)


class Redactor:
    """Takes out some values, however they are written, and what is a secret by its looks.

    Args:
        values: secrets. Those that are addresses are taken apart: errors name a path or a token alone.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(value for value in values if value.strip("* \n\t"))
        written = {each for value in self.values for each in _as_written(value)}
        self._written = sorted(each for each in written if len(each) >= SHORTEST_SECRET_CHARACTERS and each.strip("*"))

    def redacted(self, text: str) -> str:
        """The text with stars in place of secrets; the same text if it has none. A second time changes nothing."""
        while (without := self._once(text)) != text:  # each turn leaves fewer characters that are no stars
            text = without
        return text

    def _once(self, text: str) -> str:
        text = self._without_values(text)
        lower = text.lower()
        for pattern in _PATTERNS:
            text = pattern.out_of(text, lower)
        return text

    def _without_values(self, text: str) -> str:
        spans = sorted(span for value in self._written if value in text for span in _places(value, text))
        parts: list[str] = []
        end = 0
        for first, last in spans:  # those that overlap become one
            if first >= end:
                parts += [text[end:first], HIDDEN]
            end = max(end, last)
        return "".join([*parts, text[end:]]) if spans else text


def _places(value: str, text: str) -> Iterable[tuple[int, int]]:
    start = text.find(value)
    while start >= 0:
        yield start, start + len(value)
        start = text.find(value, start + 1)


def _as_written(value: str) -> Iterable[str]:
    """A secret as texts may have it: stripped, quoted for addresses, JSON, Python and HTML, line by line, in parts."""
    for each in {value, value.strip(), *_parts(value), *(line for line in value.splitlines() if len(line) > 15)}:
        yield each
        yield from (quote(each), quote(each, safe=""), quote(each, safe=" +"), quote_plus(each), unquote(each))
        yield from (json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1], repr(each)[1:-1])
        yield from (html.escape(each), html.escape(each, quote=False))


def _parts(value: str) -> Iterable[str]:
    """What is secret by itself in an address: its password, and tokens in its host, path and query."""
    if "://" not in value:
        return
    yield from passwords_in(value)
    try:
        address = urlsplit(value)
        query = [text for _, text in parse_qsl(address.query)]
    except ValueError:
        return
    # Where others have a host, Apprise's addresses have a token: tgram://TOKEN/….
    is_host = address.scheme in ("http", "https") or "." in address.netloc
    host = [] if is_host else [address.netloc.rpartition("@")[2]]
    for segment in [*host, *address.path.split("/"), *query]:
        # Words of a path, such as «services», stand in other texts as well.
        if len(segment) >= 20 or (len(segment) >= 8 and any(map(str.isdigit, segment))):
            yield segment


def passwords_in(address: str) -> tuple[str, ...]:
    """The passwords that stand in an address, before its host and as parameters of a driver, as they are said to it."""
    _, mark, rest = address.partition("://")
    if not mark:
        return ()
    before = re.match(r"[^:/@]*:(?!\d+/)(?:([^/?#]*)|([^@]+))@", rest)
    found = [each for each in before.groups() if each] if before else []
    parameters = parse_qsl(rest.partition("?")[2], keep_blank_values=False)
    found += [text for name, text in parameters if re.search(_NAMES, name, re.IGNORECASE)]
    return tuple(dict.fromkeys([*found, *map(unquote, found)]))


class Registered:
    """The secrets of this process's deployment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.redactor = Redactor()

    def add(self, values: Iterable[str]) -> None:
        with self._lock:
            if new := frozenset(values) - self.redactor.values:
                self.redactor = Redactor(self.redactor.values | new)


registered = Registered()


def register_secrets(values: Iterable[str]) -> None:
    """Has this process take these values out of each text from now on, besides those registered before."""
    registered.add(values)


def redacted(text: str) -> str:
    """The text with stars in place of the deployment's secrets, and of what is a secret by its looks."""
    return registered.redactor.redacted(text)


def beginning(text: str, characters: int) -> str:
    """The first characters of a text without secrets. Secrets are taken out first: half of one is not recognised."""
    return redacted(text)[:characters]


class SecretsTakenOut(Exception):
    """Stands for an error that held a secret, or whose causes did: its text is theirs, with the lines they are from."""


def without_secrets(error: Exception) -> Exception:
    """The error itself, or where it or one of its causes holds a secret, another one that says the same without.

    Raise what is returned ``from None`` if it is another one, or the error comes along as its context.
    """
    text = "".join(traceback.format_exception(error))
    without = redacted(text)
    return error if without == text else SecretsTakenOut(f"{redacted(str(error))}\n\n{without}")
