"""Stores that are not there for now: what is theirs is told apart from what is one file's, and waited for."""

import errno
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import asyncssh
import fsspec
import pytest

from resources.errors import ImageError, Unavailable
from resources.image_store import FetchedImage, ImageStore, LocalStore, SshStore, base, local, open_image_store
from resources.image_store.fsspec_store import FsspecStore
from resources.records import Problem
from testing.faulty_host import FaultyHost
from testing.sshd import Sshd


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "REFUSAL_WAITS_SECONDS", (0.01, 0.02, 0.04))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Forty files in four plates of one mount, and an empty folder where another one belongs."""
    folder = tmp_path / "images"
    for number in range(40):
        file = folder / "first" / f"plate{number // 10}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)
    (folder / "second").mkdir()
    return folder


FORTY = [f"first/plate{number // 10}/{number}.jpg" for number in range(40)]


def all_came(images: list[FetchedImage]) -> bool:
    return [(image.path, image.data) for image in images] == [(path, b"%d" % at) for at, path in enumerate(FORTY)]


class TestMounts:
    """File systems that are not mounted, in a local folder and on a host."""

    @pytest.fixture(params=["local", "ssh", "sftp"])
    def opened(self, request: pytest.FixtureRequest) -> Callable[[Path], ImageStore]:
        def opened(root: Path) -> ImageStore:
            if request.param == "local":
                return open_image_store(str(root))
            host: Sshd = request.getfixturevalue("ssh_host")
            store = open_image_store(f"{request.param}://{host.user}@{host.host}:{host.port}{root}", host.access)
            request.addfinalizer(store.close)
            return store

        return opened

    def test_a_bare_mount_point_is_not_blamed_on_the_images(
        self, opened: Callable[[Path], ImageStore], tmp_path: Path
    ) -> None:
        (tmp_path / "bare").mkdir()
        with pytest.raises(Unavailable, match=r"(is empty|has nothing in the folder).*No image was marked as failed"):
            list(opened(tmp_path / "bare").fetch(["plate/0.jpg"]))

    def test_one_mount_of_several_that_is_away_is_the_stores_matter(
        self, opened: Callable[[Path], ImageStore], root: Path
    ) -> None:
        paths = ["second/plate/0.jpg", FORTY[0], "second/1.jpg", FORTY[1]]
        images = list(opened(root).fetch(paths))
        assert [image.problem for image in images] == [Problem.STORE, None, Problem.STORE, None]
        assert all("nothing else is in the folder" in str(image.error) for image in images[::2])

    def test_a_file_that_is_not_there_yet_is_absent_though_its_own_folder_is_empty(
        self, opened: Callable[[Path], ImageStore], root: Path
    ) -> None:
        (root / "first" / "plate9").mkdir()
        paths = ["first/plate9/0.jpg", "first/plate0/none.jpg", "first/plate8/0.jpg", "third/0.jpg"]
        images = list(opened(root).fetch(paths))
        assert [image.problem for image in images] == [Problem.ABSENT] * 4
        assert all("is not in the image store" in str(image.error) for image in images)


class TestFolders:
    """What the operating system says of a local file."""

    @pytest.mark.parametrize(
        ("number", "problem"),
        [
            (errno.EACCES, Problem.STORE),
            (errno.EPERM, Problem.STORE),
            (errno.EIO, Problem.STORE),
            (errno.EMFILE, Problem.STORE),
            (errno.ENFILE, Problem.STORE),
            (errno.ESTALE, Problem.STORE),
            (errno.ENOTCONN, Problem.STORE),
            (errno.EHOSTDOWN, Problem.STORE),
            (errno.ELOOP, Problem.FILE),
            (errno.ENAMETOOLONG, Problem.FILE),
            (errno.ENOENT, Problem.ABSENT),
            (errno.ENOTDIR, Problem.ABSENT),
        ],
    )
    def test_an_error_is_the_files_or_the_stores_matter(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, problem: Problem
    ) -> None:
        def refused(_root: Path, _file: Path) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(local, "open_below", refused)
        (image,) = open_image_store(str(root)).fetch(FORTY[:1])
        assert (image.data, image.problem) == (None, problem)
        assert FORTY[0] in str(image.error)

    def test_too_many_open_files_are_waited_for(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened, tries = local.open_below, list[Path]()

        def refused_twice(root: Path, file: Path) -> int:
            tries.append(file)
            if tries.count(file) <= 2:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return opened(root, file)

        monkeypatch.setattr(local, "open_below", refused_twice)
        assert all_came(list(open_image_store(str(root)).fetch(FORTY)))

    def test_a_folder_that_has_become_a_link_since_it_was_looked_at_is_not_followed(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root.parent / "outside").mkdir()
        (root.parent / "outside" / "0.jpg").write_bytes(b"secret")
        opened = local.open_below

        def swapped(root: Path, file: Path) -> int:
            file.parent.rename(root / "away")
            file.parent.symlink_to(root.parent / "outside")
            return opened(root, file)

        monkeypatch.setattr(local, "open_below", swapped)
        (image,) = open_image_store(str(root)).fetch(FORTY[:1])
        assert image.data is None

    @pytest.mark.parametrize("size", [1, 5])
    def test_a_file_that_is_being_written_is_not_there_yet(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        file = root / FORTY[10]

        def written(_path: str, _size: int) -> None:
            file.write_bytes(b"x" * size)

        monkeypatch.setattr(local, "checked_size", written)
        (image,) = LocalStore.at(str(root)).fetch(FORTY[10:11])
        assert image.problem is Problem.ABSENT
        assert "changed while it was read" in str(image.error)


class TestDrivers:
    """What a driver of fsspec raises."""

    @pytest.mark.parametrize(
        ("error", "problem", "asked"),
        [
            (FileNotFoundError("no"), Problem.ABSENT, 1),
            (IsADirectoryError("no"), Problem.FILE, 1),
            (PermissionError("403 Forbidden"), Problem.STORE, 1),
            (OSError(16, "SlowDown: reduce your request rate"), Problem.STORE, 4),
            (RuntimeError("503"), Problem.STORE, 4),
            (TimeoutError(), Problem.STORE, 1),
        ],
    )
    def test_an_error_is_told_apart_and_asked_for_again_where_that_may_help(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, problem: Problem, asked: int
    ) -> None:
        store = FsspecStore("memory://refusing")
        files = cast("Any", fsspec).filesystem("memory")
        files.pipe("/refusing/0.jpg", b"0")
        calls: list[str] = []

        def refused(address: str, **_: object) -> bytes:
            calls.append(address)
            raise error

        monkeypatch.setattr(files, "cat_file", refused)
        (image,) = store.fetch(["0.jpg"])
        assert (image.data, image.problem, len(calls)) == (None, problem, asked)


class Limited(asyncssh.SFTPServer):
    """Lets so many files be open at once, of all sessions."""

    most = 4
    kind: Callable[[str], asyncssh.SFTPError] = asyncssh.SFTPPermissionDenied
    now = asked = 0

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        Limited.asked += 1
        if Limited.now >= Limited.most:
            raise Limited.kind("Too many transfers at once for this account")
        Limited.now += 1
        return super().open(path, pflags, attrs)

    def close(self, file_obj: object) -> None:
        Limited.now -= 1
        super().close(file_obj)


class TestSftpThatLimits:
    """Servers that refuse more than so many open files."""

    @pytest.mark.parametrize("kind", [asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure])
    @pytest.mark.parametrize("most", [1, 4])
    def test_a_server_that_allows_few_open_files_is_asked_for_fewer_at_once(
        self,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: Callable[[str], asyncssh.SFTPError],
        most: int,
    ) -> None:
        for name, value in {"kind": kind, "most": most, "now": 0, "asked": 0}.items():
            monkeypatch.setattr(Limited, name, value)
        with (
            FaultyHost(tmp_path, root, Limited) as host,
            closing(SshStore(host.url("sftp"), host.access())) as store,
        ):
            for _ in range(2):
                assert all_came(list(store.fetch(FORTY)))
        assert Limited.asked < 6 * len(FORTY)

    def test_a_server_that_allows_none_is_asked_in_vain_a_few_times_and_none_of_it_is_the_images_fault(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {"most": 0, "now": 0, "asked": 0}.items():
            monkeypatch.setattr(Limited, name, value)
        with FaultyHost(tmp_path, root, Limited) as host, closing(SshStore(host.url("sftp"), host.access())) as store:
            images = list(store.fetch(FORTY))
        assert [(image.path, image.problem) for image in images] == [(path, Problem.STORE) for path in FORTY]
        assert "Too many transfers at once" in str(images[0].error)
        assert Limited.asked < 20 * len(FORTY)

    def test_one_file_that_may_not_be_read_does_not_hold_the_others_back(self, root: Path, tmp_path: Path) -> None:
        class Guarded(asyncssh.SFTPServer):
            def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
                if path.endswith(b"/3.jpg"):
                    raise asyncssh.SFTPPermissionDenied("Permission denied")
                return super().open(path, pflags, attrs)

        with FaultyHost(tmp_path, root, Guarded) as host, closing(SshStore(host.url("sftp"), host.access())) as store:
            images = list(store.fetch(FORTY))
        assert [image.path for image in images if image.problem is Problem.STORE] == [FORTY[3]]
        assert sum(image.data is not None for image in images) == 39


def test_an_error_of_an_image_that_says_nothing_else_is_the_files() -> None:
    assert FetchedImage.failed("0.jpg", ImageError("no drop")).problem is Problem.FILE
