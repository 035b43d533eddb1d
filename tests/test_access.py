"""Who is let in to Dagster's UI: the rules, and ``c4 ui`` as it runs, asked by operators and by foreign pages."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from c4_assets.web.access import Access
from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.settings.sections import Ui
from tests.parallel import processes

PASSWORD = "open sesame"
JSON = {"content-type": "application/json"}

CHANGE = 'mutation { setConcurrencyLimit(concurrencyKey: "image_store", limit: %d) }'
"""A mutation with consequences that can be looked at."""


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


def scope(method: str = "GET", path: str = "/", client: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    """A request as a server hands it to an application. ``content_type`` is the header ``content-type``."""
    given = {"host": "localhost:3000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in given.items() if value]
    return {"type": "http", "method": method, "path": path, "headers": raw, "client": (client, 4711)}


def status(access: Access, request: Mapping[str, Any]) -> int:
    refusal = access.refusal(dict(request))
    return refusal.status if refusal else 200


OPEN = Access.of(Ui(hosts=("c4.facility.org", "c4.facility.org:8443")), "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:3000", 200),
        ("127.0.0.1:3000", 200),
        ("[::1]:3000", 200),
        ("c4.facility.org", 200),
        ("C4.Facility.org:8443", 200),
        ("evil.org", 400),
        ("localhost.evil.org", 400),
        ("127.0.0.1.evil.org:3000", 400),
        ("evil.org/localhost", 400),
        ("localhost@evil.org", 400),
        ("evil.org@localhost", 400),
        ("localhost/evil.org", 400),
        ("localhost:evil", 400),
        ("0.0.0.0:3000", 400),
        ("10.1.2.3", 400),
        ("[::1", 400),
        ("[", 400),
        ("", 400),
    ],
)
def test_a_request_is_answered_under_known_names_only(host: str, expected: int) -> None:
    assert status(OPEN, scope(host=host)) == expected


def test_a_request_that_names_two_hosts_is_refused() -> None:
    both = scope()
    both["headers"].append((b"host", b"evil.org"))
    assert status(OPEN, both) == 400


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:3000", "http://localhost:3000", 200),
        ("localhost:3000", "", 200),
        ("localhost:3000", "http://localhost:8888", 403),
        ("localhost:3000", "http://127.0.0.1:3000", 403),
        ("localhost:3000", "http://localhost", 403),
        ("localhost:3000", "https://evil.org", 403),
        ("localhost:3000", "null", 403),
        ("localhost:3000", "file://", 403),
        ("localhost:3000", "http://[", 403),
        ("localhost:3000", "ftp://localhost:3000", 403),
        ("localhost:3000", "http://localhost:3000.evil.org", 403),
        ("c4.facility.org", "https://c4.facility.org", 200),
        ("127.0.0.1:3000", "https://c4.facility.org", 200),
        ("127.0.0.1:3000", "https://c4.facility.org:8443", 200),
        ("127.0.0.1:3000", "https://c4.facility.org:9000", 403),
        ("c4.facility.org", "https://c4.facility.org.evil.org", 403),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_pages_of_the_application_itself_may_ask(kind: str, host: str, origin: str, expected: int) -> None:
    for method in ("GET", "POST"):
        asked = scope(method, "/graphql" if method == "POST" else "/runs", host=host, origin=origin, **JSON_KEYS)
        assert status(OPEN, {**asked, "type": kind}) == expected


JSON_KEYS = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "content_type", "expected"),
    [
        ("GET", "/", "", 200),
        ("HEAD", "/runs/1", "", 200),
        ("GET", "/logs/run/1.err", "", 200),
        ("POST", "/graphql", "application/json", 200),
        ("POST", "/graphql", "Application/JSON; charset=utf-8", 200),
        ("POST", "/graphql", "", 415),
        ("POST", "/graphql", "text/plain", 415),
        ("POST", "/graphql", "text/plain; application/json", 415),
        ("POST", "/graphql", "application/graphql", 415),
        ("POST", "/graphql", "application/x-www-form-urlencoded", 415),
        ("POST", "/report_asset_materialization/db_scores", "multipart/form-data", 415),
        ("GET", "/graphql", "", 405),
        ("GET", "/graphql/", "", 405),
        ("GET", "/graphql", "application/json", 405),
        ("HEAD", "/graphql", "", 405),
        ("PUT", "/graphql", "application/json", 405),
        ("DELETE", "/runs/1", "", 405),
        ("OPTIONS", "/report_asset_check/db_scores", "", 405),
    ],
)
def test_what_changes_something_is_a_post_of_json(method: str, path: str, content_type: str, expected: int) -> None:
    assert status(OPEN, scope(method, path, content_type=content_type)) == expected


WITH_PASSWORD = Access.of(Ui.model_validate({"password": PASSWORD}), "127.0.0.1")
BEHIND_PROXY = Access.of(Ui(user_header="X-Forwarded-User", proxies=("10.1.0.0/16", "fd00::7")), "0.0.0.0")


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (basic(PASSWORD)["authorization"], 200),
        (basic(PASSWORD)["authorization"].replace("Basic", "bAsIc"), 200),
        (basic(PASSWORD + " ")["authorization"], 401),
        (basic("")["authorization"], 401),
        (basic("öpen sésame")["authorization"], 401),
        ("Basic " + base64.b64encode(PASSWORD.encode()).decode(), 401),
        ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), 401),
        (f"Bearer {PASSWORD}", 401),
        ("Basic ===", 401),
        ("Basic", 401),
        ("", 401),
    ],
)
def test_where_there_is_a_password_it_must_be_said(authorization: str, expected: int) -> None:
    for request in (scope(authorization=authorization), {**scope(authorization=authorization), "type": "websocket"}):
        assert status(WITH_PASSWORD, request) == expected


@pytest.mark.parametrize(
    ("client", "user", "expected"),
    [
        ("10.1.2.3", "ana", 200),
        ("fd00::7", "ana", 200),
        ("10.1.2.3", "", 403),
        ("10.2.2.3", "ana", 403),
        ("127.0.0.1", "ana", 403),
        ("a socket", "ana", 403),
    ],
)
def test_who_is_there_is_believed_of_a_known_proxy_only(client: str, user: str, expected: int) -> None:
    assert status(BEHIND_PROXY, scope(client=client, x_forwarded_user=user)) == expected


def test_a_script_may_say_the_password_where_people_come_through_a_proxy() -> None:
    both = Access.of(Ui.model_validate({"password": PASSWORD, "user_header": "X-User"}), "127.0.0.1")
    assert status(both, scope(x_user="ana")) == 200
    assert status(both, scope(client="10.0.0.1", x_user="ana")) == 401
    assert status(both, scope(client="10.0.0.1", **basic(PASSWORD))) == 200


def test_an_address_that_others_reach_needs_a_password_or_a_proxy() -> None:
    for address in ("0.0.0.0", "10.1.2.3", "::", "c4.facility.org"):
        with pytest.raises(ConfigurationError, match="C4_UI_PASSWORD"):
            Access.of(Ui(), address)
        assert status(Access.of(Ui.model_validate({"password": "x"}), address), scope(host=address)) in (400, 401)


def test_the_password_is_shown_nowhere() -> None:
    settings = Settings.from_environment({"C4_UI_PASSWORD": PASSWORD})
    assert PASSWORD not in repr(settings) + repr(Access.of(settings.ui, "127.0.0.1"))


@contextmanager
def served(
    home: Path, *arguments: str, launcher: Sequence[str] = (), **variables: str
) -> Generator[tuple["subprocess.Popen[bytes]", int]]:
    """``c4 ui`` on a free port: its process, and the port once it answers."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "ui.txt"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [*launcher, str(Path(sys.executable).with_name("c4")), "ui", "--port", "0", *arguments],
            env={**os.environ, "C4_HOME": str(home), **variables},
            cwd=home,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not (told := re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text())):
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield started, int(told[1])
    finally:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def ask(
    port: int, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, str, Mapping[str, str]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=90)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, given)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Path, int]]:
    """The webserver alone, with a password, a name and a proxy: its home and port."""
    home = tmp_path_factory.mktemp("access") / "home"
    variables = {"C4_UI_HOSTS": '["c4.facility.org"]', "C4_UI_USER_HEADER": "X-User", "C4_UI_PROXIES": '["127.0.0.1"]'}
    with served(home, "--only", "webserver", C4_UI_PASSWORD=PASSWORD, **variables) as (_, port):
        yield home, port


def limit(home: Path) -> int | None:
    """What the mutation changes."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}.get("image_store")


def test_a_mutation_by_an_address_or_a_form_changes_nothing(webserver: tuple[Path, int]) -> None:
    home, port = webserver
    before = limit(home)
    query = f"/graphql?query={quote(CHANGE % 1)}"
    assert ask(port, "GET", query, **basic(PASSWORD))[0] == 405
    assert ask(port, "GET", query, origin="https://evil.org", **basic(PASSWORD))[0] == 403
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "application/graphql"):
        sent = {"content_type": content_type, **basic(PASSWORD)}
        assert ask(port, "POST", query, CHANGE % 1, **sent)[0] == 415
    asked = json.dumps({"query": CHANGE % 1})
    assert ask(port, "POST", "/graphql", asked, origin="https://evil.org", **JSON, **basic(PASSWORD))[0] == 403
    assert ask(port, "POST", "/graphql", asked, host="evil.org", **JSON, **basic(PASSWORD))[0] == 400
    assert ask(port, "POST", "/graphql", asked, **JSON)[0] == 401
    assert limit(home) == before


def test_the_operator_with_the_password_changes_what_may_be_changed(webserver: tuple[Path, int]) -> None:
    home, port = webserver
    for number, headers in enumerate(
        (
            basic(PASSWORD),
            {**basic(PASSWORD), "origin": f"http://127.0.0.1:{port}"},
            {**basic(PASSWORD), "host": "c4.facility.org", "origin": "https://c4.facility.org"},
            {"x-user": "ana"},
        ),
        start=5,
    ):
        answered, text, _ = ask(port, "POST", "/graphql", json.dumps({"query": CHANGE % number}), **JSON, **headers)
        assert answered == 200, text
        assert limit(home) == number


def test_a_page_needs_the_password_and_cannot_be_shown_in_a_frame(webserver: tuple[Path, int]) -> None:
    _, port = webserver
    answered, text, headers = ask(port, "GET", "/")
    assert (answered, headers["www-authenticate"]) == (401, 'Basic realm="C4", charset="UTF-8"')
    assert "dagster" not in text.lower()
    answered, text, headers = ask(port, "GET", "/asset-groups", **basic(PASSWORD))
    assert answered == 200
    assert "<html" in text
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    began = time.monotonic()
    assert ask(port, "GET", "/", **basic("guess"))[0] == 401
    assert time.monotonic() - began >= 1, "guessing is slow"


def test_a_browser_with_the_password_shows_the_lineage(webserver: tuple[Path, int], browser: Browser) -> None:
    _, port = webserver
    context = browser.new_context(http_credentials={"username": "ana", "password": PASSWORD})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/asset-groups")
    expect(page.get_by_text("marco_probabilities").first).to_be_visible(timeout=60_000)
    context.close()


def test_a_websocket_is_opened_for_pages_of_the_application_alone(webserver: tuple[Path, int]) -> None:
    _, port = webserver

    def opened(origin: str, **headers: str) -> Any:
        protocol = [Subprotocol("graphql-ws")]
        with connect(
            f"ws://127.0.0.1:{port}/graphql", origin=Origin(origin), subprotocols=protocol, additional_headers=headers
        ) as socket:
            socket.send(json.dumps({"type": "connection_init"}))
            return json.loads(socket.recv(30))["type"]

    assert opened(f"http://127.0.0.1:{port}", **basic(PASSWORD)) == "connection_ack"
    for origin, headers in (("https://evil.org", basic(PASSWORD)), (f"http://127.0.0.1:{port}", {})):
        with pytest.raises(InvalidStatus) as refused:
            opened(origin, **headers)
        assert refused.value.response.status_code == 403


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "launcher", [[], ["sh", "-c", """trap '' INT; exec "$0" "$@\""""]], ids=["terminal", "background"]
)
def test_ctrl_c_ends_webserver_daemon_and_code_server(tmp_path: Path, launcher: list[str]) -> None:
    before = processes()
    with served(tmp_path / "home", launcher=launcher) as (started, port):
        assert ask(port, "GET", "/server_info")[0] == 200
        running = " ".join(processes().values())
        assert "dagster-daemon" in running
        assert "code-server" in running
        os.killpg(started.pid, signal.SIGINT)  # as a terminal sends it
        assert started.wait(90) == 0
        deadline = time.monotonic() + 30
        while left := processes().keys() - before.keys():
            assert time.monotonic() < deadline, [processes().get(pid) for pid in left]
            time.sleep(0.2)


@pytest.mark.timeout(300)
def test_a_ui_that_is_killed_leaves_no_daemon_behind(tmp_path: Path) -> None:
    before = processes()
    with served(tmp_path / "home") as (started, port):
        assert ask(port, "GET", "/server_info")[0] == 200
        started.kill()
        deadline = time.monotonic() + 120  # a code server waits so long for whoever started it
        while left := processes().keys() - before.keys():
            assert time.monotonic() < deadline, [processes().get(pid) for pid in left]
            time.sleep(0.2)


def test_a_port_that_is_in_use_is_named_before_anything_is_started(webserver: tuple[Path, int], tmp_path: Path) -> None:
    _, port = webserver
    done = subprocess.run(
        [str(Path(sys.executable).with_name("c4")), "ui", "--port", str(port)],
        env={**os.environ, "C4_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"Nothing can listen on 127.0.0.1, port {port}: Address already in use." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["https://c4.facility.org", "", "a b"])
def test_a_name_that_is_none_is_refused_among_the_names(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ui\.hosts"):
        Access.of(Ui(hosts=(host,)), "127.0.0.1")
