"""A message as a mail: text and HTML, with its pictures, so that programs for mail group what belongs together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr
from typing import cast
from urllib.parse import quote

from c4_assets.operations.alerts.records import Change, Message, Picture, Severity
from c4_assets.operations.channels.words import Place, as_text, cut, is_news, look_of, more, state_of

SUBJECT_CHARACTERS = 150
"""Characters of a subject: 998 are the most, and programs show fewer than a hundred."""

TEXT_CHARACTERS = 20_000
"""Characters of one text in a mail."""


class _Policy(EmailPolicy):
    """As :data:`email.policy.SMTP`, but addresses at which a subscription ends stay as they are.

    Python writes a long word of a header that it does not know as ``=?utf-8?q?…?=``, which no program for mail reads
    there.
    """

    def fold(self, name: str, value: str) -> str:
        if name.lower() != "list-unsubscribe":
            return super().fold(name, value)
        return f"{name}: {f',{self.linesep} '.join(str(value).split(', '))}{self.linesep}"

    def fold_binary(self, name: str, value: str) -> bytes:
        if name.lower() != "list-unsubscribe":
            return super().fold_binary(name, value)
        return self.fold(name, value).encode()


_POLICY = _Policy(linesep=SMTP.linesep)


@dataclass(frozen=True)
class _Shown:
    cid: str
    picture: Picture


def compose(message: Message, sender: str, to: Sequence[str], now: datetime, place: Place) -> EmailMessage:
    """The mail of a message.

    The ``Message-ID`` is made from the message's id, so that a mail that is sent twice can be told, and all of a thread
    refer to an id that is made from the thread's.

    Args:
        message: cleaned (:func:`c4_assets.operations.channels.words.cleaned`).
        sender: an address, with or without a name.
        to: the recipients. Several people who have subscribed do not see each other: then it is empty.
        now: the time of sending. When it happened is told in the text.

    Raises:
        ValueError: an address is none.
    """
    domain = _domain(sender)
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = ", ".join(to) if to else "undisclosed-recipients:;"
    mail["Subject"] = subject(message)
    mail["Date"] = format_datetime(now.astimezone(UTC))
    mail["Message-ID"] = f"<c4-{_digest('message', message.id)}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<c4-{_digest('thread', message.thread)}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # no answer by machines (RFC 3834)
    _tell_how_to_end(mail, message.unsubscribe, sender)
    if message.severity is Severity.ERROR and message.change is not Change.RECOVERED:
        mail["Importance"] = "high"
    _fill(mail, message, place, domain)
    return mail


def _tell_how_to_end(mail: EmailMessage, unsubscribe: str, sender: str) -> None:
    """Names where programs for mail end a subscription: a page by one click (RFC 8058), and a mail besides."""
    if not unsubscribe:
        return
    if unsubscribe.startswith("mailto:"):
        mail["List-Unsubscribe"] = f"<{unsubscribe}>"
        return
    words = quote(f"unsubscribe {unsubscribe.rpartition('token=')[2]}", safe="")
    by_mail = f"mailto:{quote(parseaddr(sender)[1], safe='@')}?subject={words}"
    mail["List-Unsubscribe"] = f"<{unsubscribe}>, <{by_mail}>"
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def subject(message: Message) -> str:
    """What stands in the list of mails: how bad it is, where it is not mere news, and the title."""
    look = look_of(message)
    title = f"C4: {message.title}" if is_news(message) else f"C4 {look.word.lower()}: {message.title}"
    return _without_encoded_words(cut(title, SUBJECT_CHARACTERS))


def _without_encoded_words(text: str) -> str:
    """The text as one for a header: Python decodes what looks like ``=?utf-8?q?=0a?=`` there, into new lines as well,
    which would be headers or the mail's text.
    """
    return text.replace("=?", "= ?")


def _fill(mail: EmailMessage, message: Message, place: Place, domain: str) -> None:
    text = as_text(message, place, captions=[f"Picture: {each.caption or each.name}" for each in message.pictures])
    ending = [f"You subscribed to this. To end it: {message.unsubscribe}"] if message.unsubscribe else []
    mail.set_content("\n\n".join([text, *ending]) + "\n", cte="quoted-printable")
    shown = [
        _Shown(f"{number}.{_digest('picture', message.id)}@{domain}", each)
        for number, each in enumerate(message.pictures)
        if each.kind in ("image/jpeg", "image/png", "image/webp")
    ]
    mail.add_alternative(as_html(message, place, shown), subtype="html", cte="quoted-printable")
    html = cast("list[EmailMessage]", mail.get_payload())[1]
    for each in shown:
        kind = each.picture.kind.partition("/")[2]
        html.add_related(
            each.picture.data,
            "image",
            kind,
            cid=f"<{each.cid}>",
            disposition="inline",
            filename=_without_encoded_words(cut(each.picture.name, 100)) or f"picture.{kind}",
        )


def as_html(message: Message, place: Place, pictures: Sequence[_Shown] = ()) -> str:
    """The HTML of a mail: light and dark, readable on a telephone, with nothing that is fetched from elsewhere."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("c4_assets.operations.channels", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("mail.html").render(
        message=message,
        lines=[cut(line, TEXT_CHARACTERS) for line in message.lines],
        look=look_of(message),
        word="" if is_news(message) else look_of(message).word,
        state=state_of(message, place),
        more=more(message),
        page=place.page(message.page),
        pictures=pictures,
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _domain(sender: str) -> str:
    """The domain that ids of mails end in: the sender's."""
    header = EmailMessage(policy=SMTP)
    header["From"] = sender
    addresses: tuple[Address, ...] = header["From"].addresses
    return addresses[0].domain if addresses and addresses[0].domain.isascii() and addresses[0].domain else "c4.invalid"
