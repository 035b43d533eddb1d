"""E-mail: mails are handed to a mail server, over TLS unless a site says otherwise."""

import logging
import smtplib
import ssl
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import EmailMessage

from c4_assets.operations.alerts.records import ChannelAway, Message, MessagePostponed
from c4_assets.operations.channels.mail import compose
from c4_assets.operations.channels.sending import TIMEOUT_S, MessageRefused, failures_named, reason_of, within
from c4_assets.operations.channels.words import DEFAULT_PLACE, Place, cleaned
from resources.settings.alerts import Email

log = logging.getLogger("c4.alerts")

PORTS = {"starttls": 587, "tls": 465, "none": 25}

TOO_LARGE = 552
"""What mail servers answer to a mail that is larger than they take (RFC 1870)."""

GOING_DOWN = 421
"""What a mail server may answer to anything: it is the server that takes nothing now, and no recipient."""

IN_ALL_S = 30
"""Seconds for one mail in all, also where it is sent again without its pictures: a server may search these for malware
before it takes them."""


@dataclass(frozen=True)
class Mailer:
    """A channel by e-mail.

    Attributes:
        timeout: seconds for each answer of the server.
        in_all: seconds for one mail.
    """

    name: str
    settings: Email
    place: Place = DEFAULT_PLACE
    timeout: float = field(default=TIMEOUT_S, repr=False)
    in_all: float = field(default=IN_ALL_S, repr=False)

    def send(self, message: Message) -> None:
        """Sends one message: to its own recipients, or else to the channel's.

        A recipient whom the server does not know costs the others nothing, and is logged. Where no recipient of a
        message's own is known, nobody else gets it.

        A mail that is too large goes out without its pictures.

        Raises:
            ChannelAway: it did not go out, as far as one can know.
            MessagePostponed: a message's own recipients take nothing now: a full mailbox, or greylisting.
            MessageRefused: the server will never take it: it is too large without pictures, too; or it is for nobody.
        """
        to = message.recipients or self.settings.recipients
        if not to:
            raise MessageRefused(f"{self.name}: nobody gets its mails. Set alerts.email.recipients.")
        with failures_named(self.name):
            self._send(message, to, time.monotonic() + self.in_all)

    def _send(self, message: Message, to: tuple[str, ...], end: float) -> None:
        """Sends a mail by a time, without its pictures where it is too large."""
        try:
            refused = self._handed_over(message, to, end)
        except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
            if error.smtp_code != TOO_LARGE:
                raise
            if not message.pictures:
                raise MessageRefused(f"{self.name}: the mail is too large ({TOO_LARGE}).") from None
            log.warning("%s: a mail is too large for its %s pictures.", self.name, len(message.pictures))
            lines = (*message.lines, "The mail server takes no mail that is so large: the pictures were left out.")
            self._send(replace(message, pictures=(), lines=lines), to, end)
            return
        if refused:
            log.warning("%s: the mail server refuses %s of %s recipients.", self.name, len(refused), len(to))

    def _handed_over(self, message: Message, to: tuple[str, ...], end: float) -> Collection[str]:
        """Hands a mail over. It says which recipients the server does not know."""
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError
        seen = () if len(message.recipients) > 1 else to
        mail = compose(cleaned(message), self.settings.sender, seen, datetime.now(UTC), self.place)
        try:
            return within(left, lambda: self._hand_over(mail, to))
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            if not message.recipients or GOING_DOWN in codes:
                raise
            if any(code < 500 for code in codes):
                raise MessagePostponed(f"{self.name}: {reason_of(error)}.") from None
            return error.recipients.keys()

    def _hand_over(self, mail: EmailMessage, to: tuple[str, ...]) -> Collection[str]:
        with self._connection() as server:
            if self.settings.user is not None and self.settings.password is not None:
                if self.settings.security == "none":
                    raise ChannelAway(f"{self.name}: no password is sent without TLS. Set alerts.email.security.")
                server.login(self.settings.user, self.settings.password.get_secret_value())
            return server.send_message(mail, to_addrs=list(to)).keys()

    @contextmanager
    def _connection(self) -> Generator[smtplib.SMTP]:
        host, security = self.settings.host, self.settings.security
        port = self.settings.port or PORTS[security]
        context = ssl.create_default_context()
        if security == "tls":
            server = smtplib.SMTP_SSL(host, port, timeout=self.timeout, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=self.timeout)
        try:
            if security == "starttls":
                server.starttls(context=context)
            server.ehlo_or_helo_if_needed()
            yield server
        finally:
            # The mail is taken once its data are: an answer to QUIT that does not come must not send it again.
            with suppress(OSError):
                server.quit()
            server.close()
