"""The page on which somebody ends their mails of new crystals, beside an application that is guarded.

Whoever gets such a mail need not be one who may use Dagster's UI: the token in the mail's link is what lets them in, to
this page alone. It cannot be guessed, no other page knows it, and a GET changes nothing, because programs look at
links in mails by themselves.
"""

import html

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from c4_assets.operations.crystal_mails import UNSUBSCRIBE_PATH
from c4_assets.web.access import NOT_IN_A_FRAME, Access
from resources.archive.subscriptions import Subscriptions
from resources.errors import ConfigurationError

HEADERS = {
    **NOT_IN_A_FRAME,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>C4: mails of new crystals</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem;
margin: 15vh auto 0; padding: 0 1rem }} button {{ font: inherit; padding: .5rem 1rem }}</style></head>
<body><h1>Mails of new crystals</h1>{body}</body></html>
"""

ASKING = """<p>C4 writes to you when it finds likely crystals on {plates}.</p>
<form method="post"><button>End these mails</button></form>"""

ENDED = "<p>You get no more of these mails.</p>"

UNKNOWN = "<p>There is no such subscription: it has ended, or the address was not copied whole.</p>"


class WithUnsubscribing:
    """An ASGI application that answers for :data:`UNSUBSCRIBE_PATH` itself, and hands all else on.

    Args:
        guarded: the application that it stands before.
        access: by it, names under which nothing is served are refused here as well.
    """

    def __init__(self, guarded: ASGIApp, access: Access, subscriptions: Subscriptions) -> None:
        self._guarded, self._access, self._subscriptions = guarded, access, subscriptions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http" or scope["path"] != UNSUBSCRIBE_PATH:
            await self._guarded(scope, receive, send)
            return
        answer = await self._answer(scope)
        answer.headers.update(HEADERS)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if refusal := self._access.wrong_host(Headers(scope=scope)):
            return PlainTextResponse(refusal.reason + "\n", refusal.status)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("A subscription is ended by POST.\n", 405, {"Allow": "GET, HEAD, POST"})
        # The token is in the address alone, also where a mail program sends the POST by itself (RFC 8058).
        token = QueryParams(scope["query_string"]).get("token", "")
        try:
            return await run_in_threadpool(self._ended if scope["method"] == "POST" else self._asked, token)
        except (ConfigurationError, OSError, TimeoutError):
            return PlainTextResponse("This cannot be changed now. Try again later, or answer the mail.\n", 503)

    def _asked(self, token: str) -> Response:
        found = self._subscriptions.of_token(token)
        if found is None:
            return HTMLResponse(PAGE.format(body=UNKNOWN), 404)
        plates = "any plate" if "*" in found.plates else html.escape(found.wanted)
        return HTMLResponse(PAGE.format(body=ASKING.format(plates=plates)))

    def _ended(self, token: str) -> Response:
        found = self._subscriptions.of_token(token)
        if found is None or self._subscriptions.remove(found.address) is None:
            return HTMLResponse(PAGE.format(body=UNKNOWN), 404)
        return HTMLResponse(PAGE.format(body=ENDED))
