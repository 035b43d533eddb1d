"""The page that ends a subscription: by the token alone, by a button and not by a look, and nothing else beside it."""

import socket
import threading
from collections.abc import Generator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, expect
from starlette.responses import PlainTextResponse

from c4_assets.operations.crystal_mails import Unsubscribing
from c4_assets.web.access import Access, Guarded
from c4_assets.web.unsubscribing import WithUnsubscribing
from resources.archive.subscriptions import Subscription, Subscriptions
from resources.settings.sections import Ui

ACCESS = Access.of(Ui.model_validate({"password": "open sesame", "hosts": ["c4.facility.org"]}), "127.0.0.1")


@pytest.fixture
def subscriptions(tmp_path: Path) -> Subscriptions:
    """Those that the page ends."""
    return Subscriptions(tmp_path)


@pytest.fixture
def ada(subscriptions: Subscriptions) -> Subscription:
    """Somebody who has subscribed."""
    return subscriptions.add("ada@facility.org", ["ABC*", "<b>X</b>"], datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def address(subscriptions: Subscriptions) -> Generator[str]:
    """A server as `c4 ui` makes it, before an application that asks for a password."""
    application = WithUnsubscribing(Guarded(PlainTextResponse("Dagster"), ACCESS), ACCESS, subscriptions)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def ask(address: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, dict[str, str]]:
    """One request: status, text and headers of its answer."""
    connection = HTTPConnection(address, timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, given)
    answer = connection.getresponse()
    text, found = answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return answer.status, text, found


def link(subscription: Subscription) -> str:
    """The path of the link in a mail."""
    return Unsubscribing("http://x").address(subscription.token).removeprefix("http://x")


def test_a_look_at_the_link_ends_nothing_and_needs_no_password(
    address: str, subscriptions: Subscriptions, ada: Subscription
) -> None:
    for method in ("GET", "HEAD"):
        status, text, headers = ask(address, method, link(ada))
        assert status == 200
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "<b>X</b>" not in text, "what somebody called plates is no markup"
        assert "ada@facility.org" not in text
    assert subscriptions.all() == [ada]
    assert ask(address, "GET", "/graphql")[0] == 401, "all else is guarded as before"


def test_a_mail_program_ends_it_with_one_click(address: str, subscriptions: Subscriptions, ada: Subscription) -> None:
    form = {"content_type": "application/x-www-form-urlencoded"}
    status, text, _ = ask(address, "POST", link(ada), "List-Unsubscribe=One-Click", **form)
    assert (status, subscriptions.all()) == (200, [])
    assert "You get no more" in text
    assert ask(address, "POST", link(ada), "List-Unsubscribe=One-Click", **form)[0] == 404


@pytest.mark.parametrize("query", ["", "?token=", "?token=guessed", "?other=1", "?token=%00%ff", "?token=é"])
def test_without_the_token_nothing_ends(
    address: str, subscriptions: Subscriptions, ada: Subscription, query: str
) -> None:
    path = "/c4/unsubscribe" + query.encode("ascii", "xmlcharrefreplace").decode()
    assert ask(address, "POST", path)[0] == 404
    assert subscriptions.all() == [ada]


def test_other_methods_names_and_paths_are_refused(
    address: str, subscriptions: Subscriptions, ada: Subscription
) -> None:
    assert ask(address, "DELETE", link(ada))[0] == 405
    assert ask(address, "POST", link(ada), Host="evil.org")[0] == 400
    assert ask(address, "POST", link(ada).replace("/unsubscribe", "/unsubscribe/more"))[0] == 401
    assert subscriptions.all() == [ada]


def test_a_damaged_file_is_an_answer_in_words(address: str, ada: Subscription, tmp_path: Path) -> None:
    (tmp_path / "subscriptions" / "subscriptions.json").write_text("{")
    status, text, _ = ask(address, "POST", link(ada))
    assert status == 503
    assert "Try again later" in text


def test_in_a_browser_the_button_ends_it(
    address: str, subscriptions: Subscriptions, ada: Subscription, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(f"http://{address}{link(ada)}")
    expect(page.get_by_text("when it finds likely crystals on plates ABC*")).to_be_visible()
    page.get_by_role("button", name="End these mails").click()
    expect(page.get_by_text("You get no more of these mails.")).to_be_visible()
    page.close()
    assert subscriptions.all() == []
