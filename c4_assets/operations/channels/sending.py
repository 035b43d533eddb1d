"""How channels ask servers: within a time, with one request, and with words for the operator where it fails.

Slack's and Apprise's own clients log addresses with their tokens, ask again after a lost connection (which doubles
messages) or follow redirects with the body left out. So Slack and webhooks are asked here, with Python's own client.
"""

import http.client
import re
import smtplib
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message as Headers
from typing import IO, TypeVar

from c4_assets.operations.alerts.records import ChannelAway, MessagePostponed
from c4_assets.operations.channels.words import clean, cut
from resources.errors import ConfigurationError
from resources.extras import naming_extras

TIMEOUT_S = 10
"""Seconds for a connection, for one answer, and for one request in all."""

_ANSWER_BYTES = 100_000

Result = TypeVar("Result")


class MessageRefused(Exception):
    """A channel will never take this message, and takes others. The text has no secret."""


@contextmanager
def failures_named(channel: str) -> Generator[None]:
    """Turns whatever sending raises into one sentence for the operator.

    Of errors that nobody foresaw only the kind is told: their texts may hold an address with its token.

    Raises:
        ChannelAway: where the block raises anything but this, :class:`MessagePostponed` and :class:`MessageRefused`.
    """
    try:
        with naming_extras():
            yield
    except (ChannelAway, MessagePostponed, MessageRefused):
        raise
    except Exception as error:
        raise ChannelAway(f"{channel}: {reason_of(error)}.") from None


def reason_of(error: BaseException) -> str:  # noqa: C901
    """Why something could not be sent, in words and without secrets."""
    match error:
        case urllib.error.HTTPError():
            return f"it answered {error.code}"  # its text may hold the address that it redirects to
        case urllib.error.URLError(reason=BaseException() as cause):
            return reason_of(cause)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({clean(error.verify_message)})"
        case ssl.SSLError():
            return f"TLS failed ({clean(error.reason or 'no reason given')})"
        case TimeoutError():
            return "it did not answer in time"
        case socket.gaierror():
            return "the name of its host is not known"
        case ConnectionRefusedError():
            return "nothing listens at its port"
        case smtplib.SMTPServerDisconnected(__context__=TimeoutError()):
            return "it did not answer in time"
        case smtplib.SMTPAuthenticationError():
            return f"user or password are refused (SMTP {error.smtp_code})"
        case smtplib.SMTPRecipientsRefused():
            answers = set(error.recipients.values())
            return f"all recipients are refused ({'; '.join(sorted(_answer(*each) for each in answers))})"
        case smtplib.SMTPSenderRefused() | smtplib.SMTPResponseException():
            return f"it answered {_answer(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPNotSupportedError():
            return "it offers no STARTTLS, no logging in, or none that C4 can do"
        case ConnectionError() | http.client.HTTPException() | EOFError() | smtplib.SMTPServerDisconnected():
            return "the connection was dropped"
        case ConfigurationError():
            return clean(str(error)).rstrip(".")
        case OSError() if error.strerror:
            return clean(error.strerror)
        case _:
            return f"it cannot be sent ({type(error).__name__})"


def _answer(code: int, text: bytes | str) -> str:
    words = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return cut(f"{code} {clean(words)}".strip(), 150)


def within(seconds: float, what: Callable[[], Result]) -> Result:
    """The result of a function that may take so long in all, however slowly a server drips.

    One that takes longer goes on in the background until its connection times out; nobody hears of it any more.

    Raises:
        TimeoutError: it took longer.
        Exception: what the function raises.
    """
    results: list[Result] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(what())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name="send")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


@dataclass(frozen=True)
class HttpAnswer:
    """What a web server answered."""

    status: int
    body: bytes
    retry_after: float | None

    @property
    def text(self) -> str:
        """The body, as far as it is text."""
        return self.body.decode("utf-8", "replace").strip()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would lose its body, and could lead the message anywhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float = TIMEOUT_S) -> HttpAnswer:
    """Sends one POST and no second one: the answer, whatever its status.

    Raises:
        Exception: what :func:`reason_of` has words for.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("no address of a web server")
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310
    opener = urllib.request.build_opener(_NoRedirects)

    def ask() -> HttpAnswer:
        try:
            with opener.open(request, timeout=timeout) as response:
                return HttpAnswer(response.status, response.read(_ANSWER_BYTES), _seconds(response.headers))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return HttpAnswer(refusal.code, refusal.read(_ANSWER_BYTES), _seconds(refusal.headers))

    return within(timeout, ask)


def accepted(channel: str, answer: HttpAnswer) -> HttpAnswer:
    """The answer, if the server took what was sent.

    Raises:
        ChannelAway: it did not; with the time that the server asks for before the next try.
        MessageRefused: it is too large for the server.
    """
    if 200 <= answer.status < 300:
        return answer
    if answer.status == 413:
        raise MessageRefused(f"{channel}: the message is too large (413).")
    text = re.sub(r"<[^>]*>", " ", answer.text)
    raise ChannelAway(f"{channel}: it answered {_answer(answer.status, text)}.", answer.retry_after)


def _seconds(headers: Headers) -> float | None:
    """Of ``Retry-After``; its form with a date is not used by any service that C4 sends to."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 7 * 24 * 3600 else None
