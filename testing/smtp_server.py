"""A real SMTP server on loopback, with STARTTLS or TLS and with accounts, that keeps what it is sent."""

import asyncio
import email
import email.policy
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass(frozen=True)
class Mail:
    """One mail that came.

    Attributes:
        to: recipients of the envelope.
        encrypted: whether it came over TLS.
        user: who logged in, if anybody did.
    """

    sender: str
    to: tuple[str, ...]
    data: bytes
    encrypted: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        """The mail, read."""
        return email.message_from_bytes(self.data, policy=email.policy.default)


class SmtpServer:
    """Keeps mails in ``received``. What the other attributes say holds from the next mail on.

    Attributes:
        refusal: answered to each mail instead of taking it, such as ``451 Try later``.
        refused: addresses that nobody has here: 550.
        full: addresses whose mailbox takes nothing now, and what is answered of them, such as ``452 Mailbox full``.
        thinks_s: seconds until it answers to a greeting.
        silent_at_quit: whether it leaves a client without an answer when that takes its leave.
    """

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self.port = 0
        self.received: list[Mail] = []
        self.refusal = ""
        self.refused: set[str] = set()
        self.full: dict[str, str] = {}
        self.thinks_s = 0.0
        self.silent_at_quit = False
        self._accounts = dict(accounts)

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Called by aiosmtpd when a client greets."""
        await asyncio.sleep(self.thinks_s)
        session.host_name = hostname
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Called by aiosmtpd for each recipient."""
        if address in self.refused:
            return "550 5.1.1 No such user here"
        if address in self.full:
            return self.full[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for each mail."""
        if self.refusal:
            return self.refusal
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        login: Any = session.auth_data
        user = login.login.decode() if isinstance(login, LoginPassword) else ""
        transport = server.transport
        encrypted = transport is not None and transport.get_extra_info("sslcontext") is not None
        self.received.append(Mail(envelope.mail_from or "", tuple(envelope.rcpt_tos), content, encrypted, user))
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd when a client takes its leave."""
        if self.silent_at_quit:
            await asyncio.sleep(3600)
        return "221 Bye"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        """Called by aiosmtpd when somebody logs in."""
        known = isinstance(data, LoginPassword) and self._accounts.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=known, handled=False, auth_data=data if known else None)


@contextmanager
def smtp_server(
    security: Literal["none", "starttls", "tls"] = "none",
    tls: ssl.SSLContext | None = None,
    accounts: Mapping[str, str] | None = None,
    largest: int = 33_554_432,
) -> Generator[SmtpServer]:
    """The server, until the block ends.

    Args:
        security: ``starttls`` refuses mails before STARTTLS; ``tls`` is TLS from the first byte on.
        tls: what it speaks TLS with.
        accounts: passwords by user; with them, nobody sends without having logged in.
        largest: bytes of the largest mail that it takes.
    """
    server = SmtpServer(accounts or {})
    options: dict[str, Any] = {"data_size_limit": largest}
    if security == "starttls":
        options |= {"tls_context": tls, "require_starttls": True}
    if accounts:
        options |= {"auth_required": True, "authenticator": server.authenticate}
        options |= {"auth_require_tls": security == "starttls"}  # aiosmtpd does not see TLS from the first byte on
    controller = _Controller(
        server, hostname="127.0.0.1", port=0, ssl_context=tls if security == "tls" else None, **options
    )
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


class _Controller(Controller):
    """Aiosmtpd's, on a port that the system gives."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = int(self.server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        super()._trigger_server()
