"""Images over ssh: from a real sshd, through a proxy that delays, cuts and hangs the line."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.image_store import SshStore
from resources.image_store.base import MAX_IMAGE_BYTES
from testing.delaying_proxy import DelayingProxy
from testing.sshd import Sshd
from tests.storage_hosts import MEGABYTE, TEN, is_as_on_disk

pytest_plugins = ["tests.storage_hosts"]


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
        short_reconnects: None,
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
        short_reconnects: None,
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
        self, opened: ExitStack, store_at: Callable[..., SshStore], folder: Path, short_reconnects: None, tmp_path: Path
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
