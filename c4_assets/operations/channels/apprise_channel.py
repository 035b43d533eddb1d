"""Teams and everything else that Apprise knows: one of its addresses a channel (https://appriseit.com)."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from c4_assets.operations.alerts.records import Change, ChannelAway, Message, Severity
from c4_assets.operations.channels.sending import failures_named, within
from c4_assets.operations.channels.words import DEFAULT_PLACE, Place, as_text, cleaned, cut, look_of

_EMPTY = "\u200b"
"""A character without width: put into what services take for mentions, links and markup, it makes them plain text."""

BODY_CHARACTERS = 3500
"""Characters of a body: Telegram takes 4,096, Mattermost 4,000; services that take fewer cut or split by themselves."""


@dataclass(frozen=True)
class AppriseChannel:
    """A channel by Apprise.

    Attributes:
        url: Apprise's address of the service, which holds its secrets.
        place: where its readers are.
    """

    name: str
    url: SecretStr
    place: Place = DEFAULT_PLACE
    timeout: float = field(default=10, repr=False)

    def send(self, message: Message) -> None:
        """Sends one message.

        Raises:
            ChannelAway: it did not go out, as far as one can know.
        """
        with failures_named(self.name):
            apprise = _apprise()
            service = self._service(apprise)
            plain = cleaned(message)
            title = f"{look_of(plain).symbol} {harmless(plain.title)}"
            body = text_for_services(plain, self.place)

            def notify() -> tuple[bool, str]:
                sender = apprise.Apprise()
                sender.add(service)
                kind = apprise.NotifyType(_kind(plain))
                result = sender.notify(body=body, title=title, notify_type=kind, body_format="text")
                said: Any = getattr(result, "logs", tuple)()  # since Apprise 2
                return bool(result), status_in(map(str, said))

            taken, status = within(self.timeout, notify)
            if not taken:
                raise ChannelAway(f"{self.name}: {shown(service)} did not take the message{status}.")

    def _service(self, apprise: Any) -> Any:
        quiet = apprise.AppriseAsset(async_mode=False, secure_logging=True, app_id="C4")
        service = apprise.Apprise.instantiate(self.url.get_secret_value(), asset=quiet)
        if not isinstance(service, apprise.NotifyBase):
            raise ChannelAway(f"{self.name}: Apprise does not know such an address. See docs/channels.md.")
        return service


def _apprise() -> Any:
    """The library, whose types say too little to be checked."""
    import apprise

    silence()
    return apprise


def shown(service: Any) -> str:
    """A service without its secrets: its kind and, where that is none, its host."""
    scheme, _, rest = str(service.url(privacy=True)).partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{host}" if re.fullmatch(r"[\w.-]+\.\w+(:\d+)?|localhost(:\d+)?", host) else scheme


def text_for_services(message: Message, place: Place) -> str:
    """A cleaned message as text of which no service makes mentions, links or markup, C4's own addresses aside.

    Where it is too long, what happened is cut; what to do and the links stay.
    """
    room = max(BODY_CHARACTERS - len(as_text(replace(message, lines=()), place, title=False)), 200)
    account = "\n".join(message.lines)
    text = as_text(replace(message, lines=(cut(account, room),)), place, title=False)
    own = [each.url for each in message.subjects if each.url] + [place.page(message.page)]
    kept = "|".join(re.escape(each) for each in sorted(filter(None, own), key=len, reverse=True))
    parts = re.split(f"({kept})", text) if kept else [text]
    return "".join(part if part in own else harmless(part) for part in parts)


def harmless(text: str) -> str:
    """The text with a character that is not seen behind ``@``, ``<`` and ``[``, and within ``://``."""
    return re.sub(r"([@<\[]|:(?=//))", rf"\1{_EMPTY}", text)


def _kind(message: Message) -> str:
    if message.change is Change.RECOVERED:
        return "success"
    return {Severity.ERROR: "failure", Severity.WARNING: "warning", Severity.PROGRESS: "info"}[message.severity]


def silence() -> None:
    """Keeps what Apprise and its client log, which has addresses, out of all logs of this process.

    For good: a send that took too long goes on in the background, and logs when nobody waits for it any more.
    """
    logger = logging.getLogger("apprise")
    logger.propagate, logger.handlers = False, [logging.NullHandler()]
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # what is below has paths, and those are secrets here


def status_in(said: Iterable[str]) -> str:
    """The status that a service answered, as Apprise logs it: nothing else of its words may be passed on."""
    found = re.findall(r"error=(\d{3})\b", " ".join(said))
    return f" (it answered {found[-1]})" if found else ""
