"""Images over ssh: from a real sshd, through a proxy that delays, cuts and hangs the line."""

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import ConfigurationError, Unavailable
from resources.image_store import FetchedImage, SshStore, ssh_store
from resources.image_store.base import MAX_IMAGE_BYTES
from resources.ssh import SshAccess
from testing.delaying_proxy import DelayingProxy
from testing.sshd import Sshd, make_key
from tests.conftest import Facility, noon, photograph

MEGABYTE = 10**6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The store's root: ten files of 300 kB that do not end in a zero."""
    root = tmp_path / "images"
    (root / "plate").mkdir(parents=True)
    for number in range(10):
        (root / "plate" / f"{number}.jpg").write_bytes(os.urandom(300_000) + b"\1")
    return root


TEN = [f"plate/{number}.jpg" for number in range(10)]


@pytest.fixture
def opened() -> Generator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def proxy(ssh_host: Sshd, opened: ExitStack) -> DelayingProxy:
    """A line to the storage host that can be disturbed."""
    return opened.enter_context(DelayingProxy(ssh_host.port, 0.001))


@pytest.fixture
def store_at(ssh_host: Sshd, opened: ExitStack) -> Callable[..., SshStore]:
    """Opens stores."""

    def store_at(
        root: Path, host: Sshd = ssh_host, port: int | None = None, scheme: str = "ssh", timeout: float = 10
    ) -> SshStore:
        port = port or host.port
        url = f"{scheme}://{host.user}@{host.host}:{port}{root}"
        return opened.enter_context(closing(SshStore(url, host.behind(port, timeout))))

    return store_at


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a lost connection is left alone is nothing to wait for in a test."""
    monkeypatch.setattr(ssh_store, "FIRST_WAIT_SECONDS", 0.01)


def is_as_on_disk(images: Sequence[FetchedImage], root: Path) -> bool:
    return all(image.data == (root / image.path).read_bytes() for image in images)


@pytest.fixture(scope="module")
def sftp_host(tmp_path_factory: pytest.TempPathFactory, ssh_host: Sshd) -> Generator[Sshd]:
    """A host whose accounts may run nothing but sftp."""
    with Sshd(tmp_path_factory.mktemp("ssh") / "sftp", ["ForceCommand internal-sftp"]) as host:
        yield host


@pytest.fixture(scope="module")
def bare_host(tmp_path_factory: pytest.TempPathFactory, ssh_host: Sshd) -> Generator[Sshd]:
    """A host that has no tar."""
    with Sshd(tmp_path_factory.mktemp("ssh") / "bare", ["SetEnv PATH=/nonexistent"]) as host:
        yield host


@pytest.fixture(scope="module")
def closed_host(tmp_path_factory: pytest.TempPathFactory, ssh_host: Sshd) -> Generator[Sshd]:
    """A host that lets its accounts run neither commands nor sftp."""
    with Sshd(tmp_path_factory.mktemp("ssh") / "closed", ["ForceCommand false"]) as host:
        yield host


class TestFiles:
    """What comes of files, links and names."""

    def test_several_inspections_come_over_one_connection(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        store = store_at(folder, port=proxy.port)
        for paths in (TEN[:5], TEN[5:], TEN[::-1]):
            images = list(store.fetch(paths))
            assert [image.path for image in images] == paths
            assert is_as_on_disk(images, folder)
        assert len(proxy.lines) == 1

    def test_an_empty_list_does_not_connect(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        assert list(store_at(folder, port=proxy.port).fetch([])) == []
        assert not proxy.lines

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_path_that_is_asked_for_twice_comes_twice(
        self, store_at: Callable[..., SshStore], folder: Path, scheme: str
    ) -> None:
        os.link(folder / TEN[0], folder / "second name.jpg")
        paths = [TEN[0], TEN[1], TEN[0], TEN[0], "second name.jpg"]
        images = list(store_at(folder, scheme=scheme).fetch(paths))
        assert [image.path for image in images] == paths
        assert is_as_on_disk(images, folder)

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_what_is_no_image_file_costs_only_itself(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path, scheme: str
    ) -> None:
        (folder / "empty.jpg").touch()
        with (folder / "large.jpg").open("wb") as sparse:
            sparse.truncate(MAX_IMAGE_BYTES + 1)
        os.mkfifo(folder / "pipe.jpg")
        (folder / "loop.jpg").symlink_to("loop.jpg")
        reasons = {
            "empty.jpg": "is empty; copy it again",
            "large.jpg": "more than any image of a drop",
            "pipe.jpg": "is not a file",
            "loop.jpg": "is not in the image store",  # sftp has no word for it
            "plate": "is not a file",
            "none.jpg": "is not in the image store",
            "plate/0.jpg/none.jpg": "is not in the image store",
            "../plate": "is not one below the image store's root",
            "long" * 100: "cannot be opened",
        }
        paths = [path for pair in zip(TEN, reasons, strict=False) for path in pair]
        images = list(store_at(folder, port=proxy.port, scheme=scheme).fetch(paths))
        assert [image.path for image in images] == paths
        assert is_as_on_disk(images[::2], folder)
        for image in images[1::2]:
            assert image.data is None
            assert image.path in str(image.error)
            assert reasons[image.path] in str(image.error)
        assert proxy.lines[0].to_client < 20 * MEGABYTE, "Of the large file, only what was on its way."

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_links_inside_the_store_are_followed_and_those_that_lead_out_are_not(
        self, store_at: Callable[..., SshStore], folder: Path, scheme: str
    ) -> None:
        (folder.parent / "secret").mkdir()
        (folder.parent / "secret" / "0.jpg").write_bytes(b"secret")
        (folder / "file.jpg").symlink_to("plate/3.jpg")
        (folder / "absolute.jpg").symlink_to(folder / "plate" / "4.jpg")
        (folder / "within").symlink_to("plate")
        (folder / "out").symlink_to("../secret")
        (folder / "out.jpg").symlink_to("../secret/0.jpg")
        (folder / "dangling.jpg").symlink_to("plate/none.jpg")
        good = ["file.jpg", "plate/0.jpg", "within/5.jpg", "absolute.jpg", "plate/1.jpg"]
        bad = ["out/0.jpg", "out.jpg", "dangling.jpg"]
        for paths in ([*good, *bad], [*bad, *good], ["plate/1.jpg", "out.jpg", "plate/2.jpg", "file.jpg"], bad, good):
            images = list(store_at(folder, scheme=scheme).fetch(paths))
            assert [image.path for image in images] == paths
            assert is_as_on_disk([image for image in images if image.path not in bad], folder)
            errors = {image.path: image.error for image in images if image.path in bad}
            assert all("link that leads out" in str(errors[path]) for path in errors if path.startswith("out"))
            assert "dangling.jpg" not in errors or "is not in the image store" in str(errors["dangling.jpg"])

    def test_a_root_that_is_a_link_is_the_root(self, store_at: Callable[..., SshStore], folder: Path) -> None:
        root = folder.parent / "it's a link to $(touch x)"
        root.symlink_to(folder)
        assert is_as_on_disk(list(store_at(Path(str(root).replace(" ", "%20"))).fetch(TEN)), folder)

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_name_is_a_name_and_nothing_else(
        self, store_at: Callable[..., SshStore], folder: Path, scheme: str
    ) -> None:
        names = [
            "--checkpoint-action=exec=touch hacked",
            "-rf",
            "-T/etc/passwd",
            "$(touch hacked)",
            "`touch hacked`; touch hacked",
            "with space .jpg",
            "new\nline.jpg",
            "trailing newline\n",
            "'quotes\".jpg",
            "*?[a].jpg",
            "Ä日本🔬.jpg",
            "@archive",
            "#comment",
            "x" * 255,
            "d" * 200 + "/" + "f" * 200,
        ]
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"%d." % number)
        assert is_as_on_disk(images := list(store_at(folder, scheme=scheme).fetch(names)), folder)
        assert [image.path for image in images] == names
        assert not list(folder.parent.rglob("hacked"))
        assert not Path("hacked").exists()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
    @given(data=st.data())
    def test_whatever_the_names_and_bytes_every_file_comes_whole_in_the_order_asked_for(
        self, store_at: Callable[..., SshStore], tmp_path: Path, data: st.DataObject
    ) -> None:
        letters = st.characters(exclude_characters="/\0\\", exclude_categories=["Cs"])
        name = st.text(letters, min_size=1, max_size=20).filter(lambda name: name not in (".", ".."))
        files = data.draw(st.dictionaries(name, st.binary(min_size=1, max_size=2000), max_size=8))
        missing = data.draw(st.sets(name, max_size=3)) - files.keys()
        paths = data.draw(st.permutations([*files, *missing, *list(files)[:2]]))
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for file, content in files.items():
            (root / file).write_bytes(content)
        store = self._kept(store_at, root)
        assert [(image.path, image.data) for image in store.fetch(paths)] == [(path, files.get(path)) for path in paths]

    _store: SshStore | None = None

    def _kept(self, store_at: Callable[..., SshStore], root: Path) -> SshStore:
        """One connection for all examples."""
        self._store = self._store or store_at(root)
        return self._store


class TestStreams:
    """What happens while files arrive."""

    def test_files_are_handed_on_as_they_are_read_and_the_host_waits(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        paths = [f"{number}.jpg" for number in range(60)]
        for path in paths:
            (folder / path).write_bytes(os.urandom(MEGABYTE) + b"\1")
        images = store_at(folder, port=proxy.port).fetch(paths)
        assert is_as_on_disk([next(images)], folder)
        time.sleep(1.5)
        assert proxy.lines[0].to_client < 20 * MEGABYTE, "Only what the queue and the window hold."
        assert is_as_on_disk(list(images), folder)
        assert proxy.lines[0].to_client > 60 * MEGABYTE

    @pytest.mark.parametrize("size", [18 * MEGABYTE, 30 * MEGABYTE])
    def test_a_file_that_changes_its_size_while_tar_reads_it_comes_as_it_is_now(
        self, store_at: Callable[..., SshStore], folder: Path, size: int
    ) -> None:
        file = folder / "large.jpg"
        file.write_bytes(b"x" * 24 * MEGABYTE)
        images = store_at(folder).fetch(["plate/0.jpg", "large.jpg", "plate/1.jpg"])
        first = next(images)
        time.sleep(1)  # tar waits now, in the middle of the large file
        with file.open("r+b") as changed:
            changed.truncate(size)
            changed.seek(size - 1)
            changed.write(b"x")
        rest = list(images)
        assert len(rest[0].data or b"") == size
        assert is_as_on_disk([first, *rest], folder)

    def test_a_file_that_shrinks_while_sftp_reads_it_is_an_error_of_its_own(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        (folder / "large.jpg").write_bytes(b"x" * 8 * MEGABYTE)
        proxy.bytes_a_second = 4 * MEGABYTE
        cut = threading.Timer(1, os.truncate, (folder / "large.jpg", 1000))
        cut.start()
        large, small = store_at(folder, port=proxy.port, scheme="sftp").fetch(["large.jpg", "plate/0.jpg"])
        assert large.data is None
        assert "large.jpg changed while it was read" in str(large.error)
        assert is_as_on_disk([small], folder)

    def test_a_file_that_ends_in_zeros_by_itself_comes_as_it_is(
        self, store_at: Callable[..., SshStore], folder: Path
    ) -> None:
        (folder / "zeros.tif").write_bytes(b"II*\0" + bytes(1000))
        assert is_as_on_disk(list(store_at(folder).fetch(["zeros.tif", *TEN])), folder)

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_connection_that_is_cut_is_made_again_for_what_has_not_arrived(
        self,
        store_at: Callable[..., SshStore],
        proxy: DelayingProxy,
        folder: Path,
        scheme: str,
        caplog: pytest.LogCaptureFixture,
        short_waits: None,
    ) -> None:
        proxy.cut_after = 2 * MEGABYTE
        store = store_at(folder, port=proxy.port, scheme=scheme)
        images = list(store.fetch(TEN))
        assert [image.path for image in images] == TEN
        assert is_as_on_disk(images, folder)
        assert len(proxy.lines) == 2
        arrived = re.search(r"(\d+) of 10 images are here", caplog.text)
        assert arrived
        if scheme == "ssh":
            assert int(arrived[1]) >= 4
        assert proxy.lines[1].to_client < (10 - int(arrived[1])) * 300_001 + 50_000, "Only the rest."

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    @pytest.mark.parametrize("after", [1_000, 5_000, 60_000, 350_000, 1_200_000, 2_000_000, 2_900_000])
    def test_wherever_a_connection_is_cut_every_image_comes_once_and_whole(
        self,
        store_at: Callable[..., SshStore],
        proxy: DelayingProxy,
        folder: Path,
        after: int,
        scheme: str,
        short_waits: None,
    ) -> None:
        (folder / "link.jpg").symlink_to("plate/7.jpg")
        (folder / "zeros.tif").write_bytes(bytes(1000))
        proxy.cut_after = after
        paths = ["zeros.tif", *TEN[:4], "none.jpg", *TEN[4:7], "link.jpg", *TEN[7:]]
        images = list(store_at(folder, port=proxy.port, scheme=scheme).fetch(paths))
        assert [image.path for image in images] == paths
        assert [image.path for image in images if image.error] == ["none.jpg"]
        assert is_as_on_disk([image for image in images if not image.error], folder)

    def test_a_host_that_restarts_between_inspections_is_reached_again(
        self, opened: ExitStack, store_at: Callable[..., SshStore], folder: Path, short_waits: None, tmp_path: Path
    ) -> None:
        host = opened.enter_context(Sshd(tmp_path / "host"))
        store = store_at(folder, host)
        assert is_as_on_disk(list(store.fetch(TEN)), folder)
        host.stop()
        host.start()
        assert is_as_on_disk(list(store.fetch(TEN)), folder)

    def test_a_fetch_that_is_left_early_does_not_disturb_the_next(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        store = store_at(folder, port=proxy.port)
        for _ in range(3):
            images = store.fetch(TEN)
            next(images)
            assert isinstance(images, Generator)
            images.close()
        assert is_as_on_disk(list(store.fetch(TEN)), folder)
        assert len(proxy.lines) == 1

    def test_a_closed_store_has_no_connection_and_opens_one_again(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        store = store_at(folder, port=proxy.port)
        for connections in (1, 2):
            assert is_as_on_disk(list(store.fetch(TEN)), folder)
            store.close()
            end = time.monotonic() + 5
            while not proxy.lines[-1].ended and time.monotonic() < end:
                time.sleep(0.01)
            assert [line.ended for line in proxy.lines] == [True] * connections


class TestHosts:
    """What happens with hosts that are not well, or not ours."""

    @pytest.mark.parametrize("kind", ["sftp_host", "bare_host"])
    def test_where_no_tar_runs_files_come_by_sftp_and_that_is_said_once(
        self,
        kind: str,
        request: pytest.FixtureRequest,
        store_at: Callable[..., SshStore],
        folder: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        store = store_at(folder, request.getfixturevalue(kind))
        for _ in range(2):
            assert is_as_on_disk(list(store.fetch(TEN)), folder)
        said = [record for record in caplog.records if "runs no tar for this account" in record.message]
        assert [(record.name, record.levelno) for record in said] == [("c4.fetch", logging.WARNING)]

    def test_an_account_that_may_do_nothing_is_a_matter_of_configuration(
        self, closed_host: Sshd, store_at: Callable[..., SshStore], folder: Path
    ) -> None:
        with pytest.raises(ConfigurationError, match="use neither tar nor sftp"):
            list(store_at(folder, closed_host).fetch(TEN))

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_root_that_is_not_there_is_not_blamed_on_the_images(
        self, store_at: Callable[..., SshStore], folder: Path, scheme: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Unavailable, match=r"has no folder .*unmounted.*No image was marked as failed"):
            list(store_at(folder / "unmounted", scheme=scheme).fetch(TEN))
        assert "runs no tar" not in caplog.text

    def test_a_host_that_accepts_and_says_nothing_is_named_with_what_to_do(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path
    ) -> None:
        proxy.hang_after = 0
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer.* within 1 s.*C4_TIMEOUT_SECONDS"):
            list(store_at(folder, port=proxy.port, timeout=1).fetch(TEN))

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_host_that_stops_in_the_middle_of_a_file_is_given_up_in_the_end(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path, scheme: str, short_waits: None
    ) -> None:
        proxy.hang_after = 100_000
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer.*No image was marked as failed"):
            list(store_at(folder, port=proxy.port, scheme=scheme, timeout=1).fetch(TEN))

    def test_a_line_that_goes_dead_in_mid_stream_is_replaced_and_the_rest_asked_for(
        self, store_at: Callable[..., SshStore], proxy: DelayingProxy, folder: Path, short_waits: None
    ) -> None:
        proxy.hang_after = 2 * MEGABYTE
        assert is_as_on_disk(list(store_at(folder, port=proxy.port, timeout=1).fetch(TEN)), folder)
        assert len(proxy.lines) == 2
        assert proxy.lines[1].to_client < 2 * MEGABYTE

    def test_a_host_that_is_down_is_unavailable_after_some_tries(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, short_waits: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        store = opened.enter_context(closing(SshStore(f"ssh://127.0.0.1:{port}{folder}", ssh_host.behind(port))))
        with pytest.raises(Unavailable, match=r"does not answer.*Connect call failed"):
            list(store.fetch(TEN))
        assert caplog.text.count("trying again") == ssh_store.MAX_RECONNECTS

    def test_a_host_key_that_changed_is_refused_with_what_to_do(
        self, opened: ExitStack, store_at: Callable[..., SshStore], folder: Path, tmp_path: Path
    ) -> None:
        host = opened.enter_context(Sshd(tmp_path / "host"))
        store = store_at(folder, host)
        host.stop()
        host.new_host_key()
        host.start()
        with pytest.raises(ConfigurationError, match=r"The host key of .*127\.0\.0\.1 is not the one in .*ssh-keyscan"):
            list(store.fetch(TEN))

    def test_a_host_that_nobody_knows_is_refused_and_not_remembered(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, tmp_path: Path
    ) -> None:
        nobody = SshAccess(ssh_host.key, tmp_path / "none")
        url = f"ssh://{ssh_host.user}@127.0.0.1:{ssh_host.port}{folder}"
        store = opened.enter_context(closing(SshStore(url, nobody)))
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="host key"):
                list(store.fetch(TEN))
            (tmp_path / "none").touch()
        assert not (tmp_path / "none").read_text()

    def test_a_refused_login_names_the_account_and_the_setting(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, tmp_path: Path
    ) -> None:
        make_key(tmp_path / "other_key")
        other = SshAccess(tmp_path / "other_key", ssh_host.known_hosts)
        store = SshStore(f"ssh://somebody@127.0.0.1:{ssh_host.port}{folder}", other)
        with pytest.raises(ConfigurationError, match=r"somebody@127\.0\.0\.1 refused the login.*C4_STORE_SSH_KEY"):
            list(opened.enter_context(closing(store)).fetch(TEN))

    def test_a_key_that_is_missing_or_none_is_a_matter_of_configuration(
        self, ssh_host: Sshd, opened: ExitStack, folder: Path, tmp_path: Path
    ) -> None:
        access = SshAccess(tmp_path / "key", ssh_host.known_hosts)
        url = f"ssh://{ssh_host.user}@127.0.0.1:{ssh_host.port}{folder}"
        store = opened.enter_context(closing(SshStore(url, access)))
        with pytest.raises(ConfigurationError, match="There is no key"):
            list(store.fetch(TEN))
        (tmp_path / "key").write_text("no key")
        with pytest.raises(ConfigurationError, match="cannot be used as a key"):
            list(store.fetch(TEN))

    @pytest.mark.parametrize(
        "url",
        ["ssh://host", "ssh://host/", "ssh:///images", "ssh://host:x/images", "ssh://c4:hunter2@host/i", "ssh://h/i?x"],
    )
    def test_an_address_that_cannot_be_used_is_refused_without_showing_it(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"C4_STORE_URL.*ssh://\[user@\]host") as refused:
            SshStore(url, SshAccess())
        assert "hunter2" not in str(refused.value)


class TestGraph:
    """The asset graph over ssh."""

    def test_a_day_is_scored_over_ssh_and_the_connection_ends_with_its_step(
        self, facility: Facility, store_at: Callable[..., SshStore], proxy: DelayingProxy
    ) -> None:
        for plate in ("P1", "P2"):
            facility.add_plate(plate, {f"{seed}.jpg": photograph(seed) for seed in range(4)} | {"none.jpg": None})
        facility.resources["image_store"] = store_at(facility.images, port=proxy.port)
        facility.score()
        progress = facility.progress()
        assert (progress.scored, progress.retrying) == (8, 2)
        assert [line.ended for line in proxy.lines] == [True]

    def test_steps_of_many_runs_never_have_more_connections_than_the_pool_allows(
        self, facility: Facility, ssh_host: Sshd, proxy: DelayingProxy, tmp_path: Path
    ) -> None:
        """Three runs, a process each, share a pool of two; each takes long enough to meet the others."""
        days = [noon(number).date().isoformat() for number in range(1, 4)]
        for number in range(1, 4):
            name = f"{number}.jpg"
            facility.add_plate(f"P{number}", {name: photograph(number, (600, 500), "BMP")}, noon(number))
        proxy.bytes_a_second = 0.4 * MEGABYTE
        access = ssh_host.behind(proxy.port)
        environment = {
            **os.environ,
            "C4_HOME": str(facility.settings.home),
            "C4_STORE_URL": f"ssh://{ssh_host.user}@127.0.0.1:{proxy.port}{facility.images}",
            "C4_STORE_SSH_KEY": str(access.key),
            "C4_STORE_KNOWN_HOSTS": str(access.known_hosts),
            "DAGSTER_HOME": str(tmp_path / "dagster"),
        }
        (tmp_path / "dagster").mkdir()
        (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
            instance.event_log_storage.set_concurrency_slots("image_store", 2)
        runs = [sys.executable, "-m", "tests.runs_at_once", *days]
        done = subprocess.run(runs, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(list(facility.settings.staging.rglob("*.arrow"))) == 3
        assert (len(proxy.lines), proxy.most_at_once) == (3, 2)
