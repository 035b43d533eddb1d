"""Images over HTTP: names are names, answers say whose matter a failure is, and no server holds a step."""

import gzip
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import pytest

from resources.errors import ConfigurationError, Unavailable
from resources.image_store import HttpStore, base, http_store, open_image_store
from resources.image_store.base import MAX_IMAGE_BYTES
from resources.records import Problem
from testing.memory import peak, reset_peak, resident
from testing.ports import free_port

MIB = 1024**2


class Server(ThreadingHTTPServer):
    """Serves a folder as a careless server does: it decodes what it is asked for, and opens that.

    Attributes:
        asked: what was asked for, as it came.
        answer: what to do instead, for some or all requests; ``None`` from it serves the file.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.asked: list[str] = []
        self.answer: Callable[[Handler], bool] = lambda _: False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/images"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class Handler(BaseHTTPRequestHandler):
    @property
    def serving(self) -> Server:
        """The server, whose type the base class does not know."""
        return cast("Server", self.server)

    def do_GET(self) -> None:
        self.serving.asked.append(self.path)
        if not self.serving.answer(self):
            file = Path(f"{self.serving.root}/{unquote(self.path.partition('?')[0]).removeprefix('/images/')}")
            self.say(200, file.read_bytes()) if file.is_file() else self.say(404, b"nothing")

    def say(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """Answers; always true."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing on stderr."""


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    """The folder ``images`` has six files; a secret lies beside it."""
    root = tmp_path / "root"
    (root / "p").mkdir(parents=True)
    for number in range(6):
        (root / "p" / f"{number}.jpg").write_bytes(b"%d" % number)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "secret.jpg").write_bytes(b"in the root")
    with Server(root) as server, serving(server):
        yield server


@contextmanager
def serving(server: Server) -> Generator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield
    server.shutdown()
    thread.join(5)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "REFUSAL_WAITS_SECONDS", (0.01, 0.02, 0.04))


SIX = [f"p/{number}.jpg" for number in range(6)]


class TestNames:
    """Which file a name is."""

    def test_a_name_is_a_name_whatever_it_means_in_an_address(self, server: Server) -> None:
        names = [
            "a b.jpg",
            "a+b.jpg",
            "a?b.jpg",
            "a?b=c&d#e.jpg",
            "#.jpg",
            "100%.jpg",
            "%41.jpg",
            "a%2fb.jpg",
            "a%20b.jpg",
            "a;b,c:d@e!f$g'h(i)*.jpg",
            "Ä日本🔬.jpg",
            "p/[x]~.jpg",
            "http:/x.jpg",
            "new\nline.jpg",
        ]
        for number, name in enumerate(names):
            (server.root / name).parent.mkdir(exist_ok=True)
            (server.root / name).write_bytes(b"image %d" % number)
        images = list(open_image_store(server.url).fetch(names))
        assert [(image.path, image.data) for image in images] == [
            (name, b"image %d" % number) for number, name in enumerate(names)
        ]

    @pytest.mark.parametrize(
        "path",
        [
            "p/%2e%2e/%2e%2e/secret.jpg",
            "%2e%2e/secret.jpg",
            "%2E./secret.jpg",
            "p/..%2f..%2fsecret.jpg",
            "p/%252e%252e/%252e%252e/secret.jpg",
            "..%5csecret.jpg",
            "%2fetc/passwd",
            "p/%00.jpg",
        ],
    )
    def test_encoded_dots_do_not_lead_out_and_are_not_even_asked_for(self, server: Server, path: str) -> None:
        (image,) = open_image_store(server.url).fetch([path])
        assert (image.data, image.problem) == (None, Problem.FILE)
        assert "is not one below the image store's root" in str(image.error)
        assert not server.asked

    def test_an_address_with_odd_letters_or_a_slash_at_its_end_is_the_same_folder(self, server: Server) -> None:
        (server.root / "a folder+").mkdir()
        (server.root / "a folder+" / "0.jpg").write_bytes(b"there")
        for url in ("a folder+", "a%20folder+/", "a%20folder%2B"):
            (image,) = open_image_store(f"{server.url}/{url}").fetch(["0.jpg"])
            assert image.data == b"there"
        (image,) = open_image_store(server.url.removesuffix("/images")).fetch(["images/p/0.jpg"])
        assert image.data == b"0"

    @pytest.mark.parametrize("url", ["https://host/images?token=x", "http://host/images#x", "https://host:x/"])
    def test_an_address_that_names_no_folder_is_a_matter_of_configuration(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="C4_STORE_URL cannot be used"):
            list(open_image_store(url).fetch(["0.jpg"]))


class TestAnswers:
    """Whose matter an answer is."""

    @pytest.mark.parametrize(
        ("status", "problem"),
        [
            (400, Problem.FILE),
            (401, Problem.STORE),
            (403, Problem.STORE),
            (404, Problem.ABSENT),
            (410, Problem.ABSENT),
            (429, Problem.STORE),
            (500, Problem.STORE),
            (503, Problem.STORE),
            (599, Problem.STORE),
        ],
    )
    def test_an_answer_is_the_files_or_the_stores_matter_and_costs_one_image(
        self, server: Server, status: int, problem: Problem
    ) -> None:
        server.answer = lambda request: request.path.endswith("/1.jpg") and request.say(status)
        images = list(open_image_store(server.url).fetch(SIX))
        assert [image.path for image in images] == SIX
        assert [image.problem for image in images] == [None, problem, None, None, None, None]
        assert [image.data for image in images if image.data] == [b"0", b"2", b"3", b"4", b"5"]

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_store_that_has_too_much_to_do_is_asked_again(self, server: Server, status: int) -> None:
        server.answer = lambda request: server.asked.count(request.path) <= 2 and request.say(status)
        assert [image.data for image in open_image_store(server.url).fetch(SIX)] == [
            b"%d" % number for number in range(6)
        ]

    def test_a_store_that_refuses_everything_is_not_asked_for_each_file_again_and_again(self, server: Server) -> None:
        server.answer = lambda request: request.say(503)
        paths = [f"{number}.jpg" for number in range(96)]
        images = list(open_image_store(server.url).fetch(paths))
        assert [(image.path, image.problem) for image in images] == [(path, Problem.STORE) for path in paths]
        assert len(server.asked) < 96 + 8 * (1 + len(base.REFUSAL_WAITS_SECONDS))

    def test_a_connection_that_ends_in_the_middle_of_a_file_is_made_again(self, server: Server) -> None:
        def cut(request: Handler) -> bool:
            return server.asked.count(request.path) == 1 and request.say(200, b"only", Content_Length="1000")

        server.answer = cut
        assert [image.data for image in open_image_store(server.url).fetch(SIX[:2])] == [b"0", b"1"]

    def test_a_server_that_is_down_is_not_blamed_on_the_images(self) -> None:
        store = open_image_store(f"http://user:hunter2@127.0.0.1:{free_port()}/images")
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1.*cannot be reached.*No image was marked") as told:
            list(store.fetch(SIX))
        assert "hunter2" not in str(told.value)

    def test_a_redirect_within_the_root_is_followed_and_one_that_leads_out_is_not(self, server: Server) -> None:
        targets = {
            "/images/p/0.jpg": "/images/p/5.jpg",
            "/images/p/1.jpg": "/secret.jpg",
            "/images/p/2.jpg": "/images/p/%2e%2e/%2e%2e/secret.jpg",
            "/images/p/3.jpg": "http://127.0.0.2:9/images/login",
            "/images/p/4.jpg": "/images/p/4.jpg",
        }
        server.answer = lambda request: request.path in targets and request.say(302, Location=targets[request.path])
        images = list(open_image_store(server.url).fetch(SIX))
        assert [image.data for image in images] == [b"5", None, None, None, None, b"5"]
        assert [image.problem for image in images[1:5]] == [Problem.STORE] * 4
        assert "sends to 127.0.0.2, which C4 does not follow. See whether it wants a login" in str(images[3].error)
        assert "sends in a circle" in str(images[4].error)
        assert not [path for path in server.asked if "secret" in path or "login" in path]

    def test_a_login_page_in_place_of_a_file_is_the_stores_matter(self, server: Server) -> None:
        server.answer = lambda request: request.say(200, b"<html>", Content_Type="text/html; charset=utf-8")
        (image,) = open_image_store(server.url).fetch(SIX[:1])
        assert (image.data, image.problem) == (None, Problem.STORE)
        assert "web page" in str(image.error)


class TestHostileServers:
    """Servers that send too much, too slowly, or never."""

    def test_a_body_without_end_is_cut_and_takes_no_more_memory_than_an_image(self, server: Server) -> None:
        def endless(request: Handler) -> bool:
            if request.path.endswith("/0.jpg"):
                request.say(200, Content_Length="")
                with suppress(OSError):
                    while True:
                        request.wfile.write(bytes(MIB))
            return request.path.endswith("/0.jpg")

        store = open_image_store(server.url)
        list(store.fetch(SIX[1:]))
        server.answer = endless
        before = resident()
        reset_peak()
        images = list(store.fetch(SIX))
        assert [image.problem for image in images] == [Problem.FILE, None, None, None, None, None]
        assert "more than any image" in str(images[0].error)
        assert peak() - before < 2.5 * MAX_IMAGE_BYTES

    def test_files_of_the_largest_size_are_read_one_at_a_time(self, server: Server) -> None:
        with (server.root / "large.tif").open("wb") as sparse:
            sparse.truncate(MAX_IMAGE_BYTES)

        def stream(request: Handler) -> bool:
            request.say(200, Content_Length=str(MAX_IMAGE_BYTES))
            with suppress(OSError):
                for _ in range(MAX_IMAGE_BYTES // MIB):
                    request.wfile.write(bytes(MIB))
            return True

        server.answer = stream
        before = resident()
        reset_peak()
        assert all(len(image.data or b"") == MAX_IMAGE_BYTES for image in open_image_store(server.url).fetch(SIX))
        assert peak() - before < 4 * MAX_IMAGE_BYTES

    def test_a_length_that_says_too_much_is_refused_unread(self, server: Server) -> None:
        server.answer = lambda request: request.say(200, b"x", Content_Length=str(MAX_IMAGE_BYTES + 1))
        (image,) = open_image_store(server.url).fetch(SIX[:1])
        assert image.problem is Problem.FILE
        assert "more than any image" in str(image.error)

    def test_packed_data_is_not_unpacked(self, server: Server) -> None:
        packed = gzip.compress(bytes(128 * MIB), 1)
        server.answer = lambda request: request.say(200, packed, Content_Encoding="gzip")
        store = HttpStore(server.url, 10)
        before = resident()
        reset_peak()
        (image,) = store.fetch(SIX[:1])
        assert image.problem is Problem.STORE
        assert peak() - before < 64 * MIB

    @pytest.mark.parametrize("where", ["body", "header", "headers"])
    def test_bytes_that_trickle_in_cost_one_image_and_a_bounded_time(
        self, server: Server, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_store, "TIMEOUTS_PER_FILE", 3)
        said = {"body": b"\r\n", "header": b"X-Name: ", "headers": b""}[where]
        piece = {"body": b"x", "header": b"x", "headers": b"X: y\r\n"}[where]

        def trickle(request: Handler) -> bool:
            if request.path.endswith("/0.jpg"):
                request.wfile.write(b"HTTP/1.1 200 OK\r\n" + said)
                with suppress(OSError):
                    while True:
                        request.wfile.write(piece)
                        time.sleep(0.05)
            return request.path.endswith("/0.jpg")

        server.answer = trickle
        began = time.monotonic()
        images = list(HttpStore(server.url, 0.5).fetch(SIX))
        assert [image.problem for image in images] == [Problem.STORE, None, None, None, None, None]
        assert "p/0.jpg did not come within 1.5 s" in str(images[0].error)
        assert time.monotonic() - began < 5

    def test_headers_without_end_are_refused(self, server: Server) -> None:
        def endless(request: Handler) -> bool:
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
            with suppress(OSError):
                while True:
                    request.wfile.write(b"X-Name: value\r\n" * 1000)
            return True

        server.answer = endless
        before = resident()
        reset_peak()
        (image,) = open_image_store(server.url).fetch(SIX[:1])
        assert image.problem is Problem.STORE
        assert peak() - before < 32 * MIB

    def test_a_server_that_says_nothing_of_one_file_costs_that_file(self, server: Server) -> None:
        def silent(request: Handler) -> bool:
            if request.path.endswith("/0.jpg"):
                time.sleep(2)
            return request.path.endswith("/0.jpg")

        server.answer = silent
        images = list(HttpStore(server.url, 0.5).fetch(SIX))
        assert [image.problem for image in images] == [Problem.STORE, None, None, None, None, None]
        assert "sent nothing for 0.5 s" in str(images[0].error)

    def test_a_server_that_is_slow_with_everything_is_given_up(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "TIMEOUTS_PER_FILE", -27)  # of thirty files, the time of three is allowed

        def silent(_request: Handler) -> bool:
            time.sleep(2)
            return True

        server.answer = silent
        images = HttpStore(server.url, 0.5).fetch([f"{number}.jpg" for number in range(30)])
        with pytest.raises(Unavailable, match=r"has not sent 30 images within 1.5 s.*No image was marked as failed"):
            list(images)
        assert len(server.asked) < 30
