"""A web server on loopback that keeps what it is sent, and answers as it is told: as Slack, 500, 429, or not at all."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request that came. Header names are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the server says. A status of 0 is no answer: the connection ends; silence keeps it open until the end."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    silent: bool = False


OK = Answer()
SILENCE = Answer(silent=True)
HANG_UP = Answer(status=0)


def too_many(retry_after: int) -> Answer:
    """429, and when to come again."""
    return Answer(429, b"rate_limited", {"Retry-After": str(retry_after)})


class HttpReceiver:
    """Keeps requests in ``received``. Set ``answer`` to one that all requests get, or to a function of the request."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://localhost:{port}"
        self.received: list[Request] = []
        self.answer: Answer | Callable[[Request], Answer] = OK
        self.ending = threading.Event()

    def wait_for(self, count: int, seconds: float = 10) -> list[Request]:
        """Waits until so many requests have come.

        Raises:
            TimeoutError: they have not.
        """
        end = time.monotonic() + seconds
        while len(self.received) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.received)} of {count} requests came.")
            time.sleep(0.02)
        return list(self.received)

    def answer_to(self, request: Request) -> Answer:
        """Keeps a request: what is to be answered."""
        self.received.append(request)
        return self.answer if isinstance(self.answer, Answer) else self.answer(request)


def slack_api(team: str = "T1") -> Callable[[Request], Answer]:
    """Answers as ``chat.postMessage`` of Slack does, with a new time-stamp for each message."""
    numbers = iter(range(1, 1_000_000))

    def answer(request: Request) -> Answer:
        ts = f"1700000000.{next(numbers):06d}"
        body = {"ok": True, "channel": request.json.get("channel", ""), "ts": ts, "team": team}
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    return answer


def slack_refuses(error: str) -> Answer:
    """Slack's API says no, with status 200 as it does."""
    return Answer(200, json.dumps({"ok": False, "error": error}).encode(), {"Content-Type": "application/json"})


@contextmanager
def http_receiver(tls: ssl.SSLContext | None = None) -> Generator[HttpReceiver]:
    """The server, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver = HttpReceiver(server.server_address[1], "https" if tls else "http")
    server.RequestHandlerClass = _handler(receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ending.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def _handler(receiver: HttpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = receiver.answer_to(Request(self.command, self.path, headers, body))
            self.close_connection = True
            if answer.silent:
                receiver.ending.wait(60)
            elif answer.status:
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has gone, or does not trust the certificate
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    return Handler
