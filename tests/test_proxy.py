"""The example for nginx, as it is in deploy/: a login, TLS, websockets, and a name that nobody can forge."""

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from c4_assets.web.access import Access, Guarded
from resources.settings.sections import Ui
from testing.ports import free_port
from tests.conftest import unavailable

EXAMPLE = Path(__file__).parents[1] / "deploy" / "proxy" / "nginx.conf"

USER, PASSWORD = "ada", "of-the-tests"

LOGIN = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


async def told(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.headers))


async def greeted(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


@pytest.fixture(scope="module")
def application() -> Generator[int]:
    """C4's own rules of access before an application that tells what it was asked."""
    routes = [Route("/{path:path}", told, methods=["GET", "POST"]), WebSocketRoute("/{path:path}", greeted)]
    access = Access.of(Ui(hosts=("c4.facility.org",), user_header="X-Forwarded-User"), "127.0.0.1")
    port = free_port()
    config = uvicorn.Config(
        Guarded(Starlette(routes=routes), access), port=port, log_level="warning", proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield port
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def proxy(application: int, tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    """Real nginx with the example, on free ports and with files of the tests."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not nginx or not shutil.which("openssl"):
        unavailable("there is no nginx or no openssl: run deploy/system-packages")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=c4.facility.org", "-addext", "subjectAltName=DNS:c4.facility.org"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*certificate, *names, *files], check=True, capture_output=True)
    (folder / "c4.htpasswd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    example = EXAMPLE.read_text()
    for written, here in {
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl/c4": str(folder),
        "/etc/nginx/c4.htpasswd": str(folder / "c4.htpasswd"),
        "127.0.0.1:3000": f"127.0.0.1:{application}",
    }.items():
        assert written in example
        example = example.replace(written, here)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    main = f"{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
    (folder / "nginx.conf").write_text(f"{main} http {{ access_log off; {temporary}\n{example}\n}}\n")
    command = [str(nginx), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert started.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        started.terminate()
        started.wait(20)


def connection(port: int) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)


def ask(port: int, method: str = "GET", **headers: str) -> tuple[int, str]:
    opened = connection(port)
    given = {"Host": f"c4.facility.org:{port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    opened.request(method, "/page", body="{}" if method == "POST" else None, headers=given)
    answer = opened.getresponse()
    text = answer.read().decode()
    opened.close()
    return answer.status, text


def test_whoever_has_not_logged_in_at_the_proxy_gets_nothing_whatever_name_is_sent(proxy: int) -> None:
    assert ask(proxy)[0] == 401
    assert ask(proxy, X_Forwarded_User="ada")[0] == 401


def test_the_name_that_arrives_is_the_proxys_and_the_password_stays_there(proxy: int) -> None:
    status, text = ask(proxy, X_Forwarded_User="the-director", **LOGIN)
    assert status == 200
    headers = json.loads(text)
    assert headers["x-forwarded-user"] == USER
    assert PASSWORD not in text
    assert "authorization" not in headers


def test_a_page_behind_the_proxy_changes_something_and_one_of_another_site_does_not(proxy: int) -> None:
    change = {"Content_Type": "application/json", **LOGIN}
    assert ask(proxy, "POST", Origin=f"https://c4.facility.org:{proxy}", **change)[0] == 200
    assert ask(proxy, "POST", Origin="https://evil.example", **change)[0] == 403


def test_a_websocket_comes_through_the_proxy(proxy: int) -> None:
    opened = connection(proxy)
    opened.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /graphql HTTP/1.1",
        f"Host: c4.facility.org:{proxy}",
        f"Origin: https://c4.facility.org:{proxy}",
        f"Authorization: {LOGIN['Authorization']}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    opened.sock.sendall("\r\n".join([*lines, "", ""]).encode())
    received = b""
    while b"hello" not in received:
        part = opened.sock.recv(4096)
        assert part, received
        received += part
    assert received.startswith(b"HTTP/1.1 101")
    opened.close()
