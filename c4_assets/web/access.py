"""Who may use a web application, and from where: an ASGI application around it that looks at each request first.

Dagster's own webserver does whatever reaches its port. Any page that is open in an operator's browser reaches it: by
the address of an image, a form, a name that suddenly means 127.0.0.1, or a websocket.
"""

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resources.errors import ConfigurationError
from resources.settings.sections import Ui

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - what an operator may say, and nothing that is listened on

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/?#\s]+))(?::\d+)?")
"""Name and port, as a Host header has them (RFC 9110)."""

WRONG_PASSWORD_DELAY_S = 1
"""Guessing is slow."""

NOT_IN_A_FRAME = {"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
"""Headers of every answer: no other page may show C4's in a frame and have its buttons pressed."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: a status of HTTP, a sentence, and headers that belong to the status."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Access:
    """The rules.

    ``hosts`` are the names and addresses under which the application may be asked for. ``places`` are where pages of
    its own may come from although the request names another host, as a proxy in between may have it: a name, and its
    port where that is none of HTTP's own. Without ``password`` and ``user_header``, whoever asks is let in; of both,
    either is enough.
    """

    hosts: frozenset[str]
    places: frozenset[str] = frozenset()
    password: str | None = field(default=None, repr=False)
    user_header: str | None = None
    proxies: Sequence[str] = ()

    @classmethod
    def of(cls, settings: Ui, address: str) -> "Access":
        """The rules of a deployment whose application listens on an address.

        Raises:
            ConfigurationError: others than this machine could reach it, and nothing asks who they are.
        """
        password = settings.password.get_secret_value() if settings.password else None
        if address not in LOOPBACK and not password and not settings.user_header:
            raise ConfigurationError(
                f"On {address}, whoever reaches the port could start and end runs: set a password (C4_UI_PASSWORD, or "
                "ui_password in the secrets folder) or ui.user_header, if a proxy says who is there. Without --host, "
                "only this machine reaches it."
            )
        places = frozenset(map(str.lower, settings.hosts))
        hosts = {*LOOPBACK, *places, *map(_name, places), *({address.lower()} - EVERY_ADDRESS)}
        if bad := sorted(each for each in places if not _name(each)):
            raise ConfigurationError(
                f"ui.hosts has {bad[0]!r}, which is no name: give names, with the port where it is not 80 or 443."
            )
        return cls(frozenset(hosts - {""}), places, password, settings.user_header, settings.proxies)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request or a websocket is not let through, or None."""
        headers = Headers(scope=scope)
        return (
            self.wrong_host(headers)
            or self._wrong_origin(headers)
            or self._unknown_person(headers, scope)
            or (_wrong_method(headers, scope) if scope["type"] == "http" else None)
        )

    def wrong_host(self, headers: Headers) -> Refusal | None:
        """Why nothing is answered under the name that a request has, or None."""
        asked = headers.getlist("host")
        if len(asked) == 1 and _name(asked[0]) in self.hosts:
            return None
        return Refusal(400, "Nothing is served under this name. The names under which it is are in ui.hosts.")

    def _wrong_origin(self, headers: Headers) -> Refusal | None:
        """A browser says which page asks, wherever the answer or what it changes is the page's."""
        ours = {headers["host"].lower(), *self.places}
        if all(_place(origin) in ours for origin in headers.getlist("origin")):
            return None
        return Refusal(403, "The page that asks for this is not one of C4's.")

    def _unknown_person(self, headers: Headers, scope: Scope) -> Refusal | None:
        if not self.password and not self.user_header:
            return None
        if self.user_header and headers.get(self.user_header) and self._is_proxy(scope):
            return None
        if not self.password:
            return Refusal(403, "The proxy has not said who asks for this.")
        given = _password(headers)
        if given is not None and hmac.compare_digest(given.encode(), self.password.encode()):
            return None
        return Refusal(401, "Log in with C4's password.", {"WWW-Authenticate": 'Basic realm="C4", charset="UTF-8"'})

    def _is_proxy(self, scope: Scope) -> bool:
        try:
            peer = ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(peer in ip_network(each, strict=False) for each in self.proxies)


def _name(host: str) -> str:
    """A Host header without its port, and an address of version 6 without its brackets; nothing of what is no host."""
    found = HOST.fullmatch(host.lower())
    return (found[1] or found[2]) if found else ""


def _place(origin: str) -> str:
    """Name and port of an Origin header; nothing where it is no place on the web, such as ``null``."""
    scheme, _, place = origin.lower().partition("://")
    return place if scheme in ("http", "https") else ""


def _password(headers: Headers) -> str | None:
    """What HTTP's Basic authentication says after the name, which is anybody's."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _wrong_method(headers: Headers, scope: Scope) -> Refusal | None:
    """What changes something is a POST of JSON, which no page of another site may send without being asked for it."""
    method = scope["method"]
    if method == "POST":
        if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            return None
        return Refusal(415, "What is sent must be JSON (Content-Type: application/json).")
    if scope["path"].rstrip("/").endswith("/graphql"):
        return Refusal(405, "GraphQL is asked by POST.", {"Allow": "POST"})
    if method in ("GET", "HEAD"):
        return None
    return Refusal(405, f"{method} is not used here.", {"Allow": "GET, HEAD, POST"})


class Guarded:
    """An ASGI application that hands another one what its rules let through, and answers the rest itself."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self._application, self._access = application, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        refusal = self._access.refusal(scope)
        if refusal is None:
            await self._application(scope, receive, _framed(send))
            return
        if refusal.status == 401 and "authorization" in Headers(scope=scope):
            await asyncio.sleep(WRONG_PASSWORD_DELAY_S)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
            return
        answer = PlainTextResponse(refusal.reason + "\n", refusal.status, dict(refusal.headers))
        await answer(scope, receive, _framed(send))


def _framed(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in NOT_IN_A_FRAME.items():
                headers.append(name, value)
        await send(message)

    return sending
