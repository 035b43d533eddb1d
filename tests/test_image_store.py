"""Image stores: the bytes of every file or a reason, and never a file from outside."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import ConfigurationError, ImageError, Unavailable
from resources.image_store import ImageStore, LocalStore, open_image_store
from resources.image_store.base import MAX_IMAGE_BYTES, safe_path
from testing.sshd import Sshd


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "plate").mkdir(parents=True)
    for number in range(20):
        (root / "plate" / f"{number}.jpg").write_bytes(b"%d" % number)
    return root


@pytest.fixture(params=["folder", "file address", "fsspec", "ssh", "sftp"])
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[ImageStore]:
    """The same files, in every way."""
    opened = _opened(request, folder)
    yield opened
    opened.close()


def _opened(request: pytest.FixtureRequest, folder: Path) -> ImageStore:
    if request.param == "folder":
        return open_image_store(str(folder))
    if request.param == "file address":
        return open_image_store(f"file://{folder}")
    if request.param in ("ssh", "sftp"):
        host: Sshd = request.getfixturevalue("ssh_host")
        return open_image_store(f"{request.param}://{host.user}@{host.host}:{host.port}{folder}", host.access)
    root = f"memory://{uuid.uuid4().hex}/root"
    files = cast("Any", fsspec).filesystem("memory")
    files.pipe(f"{root}/../secret.jpg", b"secret")
    for file in (folder / "plate").iterdir():
        files.pipe(f"{root}/plate/{file.name}", file.read_bytes())
    return open_image_store(root)


def test_every_path_comes_once_in_the_order_given(store: ImageStore) -> None:
    paths = [f"plate/{number % 20}.jpg" for number in range(33)]
    fetched = list(store.fetch(paths))
    assert [image.path for image in fetched] == paths
    assert [image.data for image in fetched] == [b"%d" % (number % 20) for number in range(33)]


def test_a_missing_file_is_its_own_error_and_the_others_come(store: ImageStore) -> None:
    first, second, third = store.fetch(["plate/1.jpg", "plate/none.jpg", "plate/2.jpg"])
    assert (first.data, third.data) == (b"1", b"2")
    assert second.data is None
    assert "plate/none.jpg is not in the image store" in str(second.error)


OUTSIDE = ["../secret.jpg", "plate/../../secret.jpg", "/etc/passwd", "", ".", "plate/..", "..\\secret.jpg"]
NO_NAMES = ["a\0b", "\ud800.jpg"]


@pytest.mark.parametrize("path", OUTSIDE + NO_NAMES)
def test_a_path_that_leads_out_of_the_store_is_refused(store: ImageStore, path: str) -> None:
    (image,) = store.fetch([path])
    assert image.data is None
    assert image.error


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "", "plate", "1.jpg", "secret.jpg", "link"]), max_size=6).map("/".join))
def test_whatever_the_path_no_byte_comes_from_outside(folder: Path, path: str) -> None:
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to("..")
    (image,) = LocalStore.at(str(folder)).fetch([path])
    assert image.data != b"secret"


@given(st.text(max_size=30))
def test_a_safe_path_stays_below_any_root(path: str) -> None:
    try:
        safe = safe_path(path)
    except ImageError:
        return
    assert os.path.normpath(f"/store/{safe}").startswith("/store/")


def test_a_link_that_leads_out_is_named_as_one(folder: Path) -> None:
    (folder / "plate" / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    (image,) = LocalStore.at(str(folder)).fetch(["plate/link.jpg"])
    assert image.data is None
    assert "link that leads out" in str(image.error)


def test_a_pipe_in_the_place_of_an_image_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (image,) = LocalStore.at(str(folder)).fetch(["pipe.jpg"])
    assert "not a file" in str(image.error)


def test_empty_and_oversized_files_are_refused_before_they_are_read(folder: Path) -> None:
    (folder / "empty.jpg").touch()
    with (folder / "large.jpg").open("wb") as sparse:
        sparse.truncate(MAX_IMAGE_BYTES + 1)
    empty, large = LocalStore.at(str(folder)).fetch(["empty.jpg", "large.jpg"])
    assert "empty" in str(empty.error)
    assert "more than any image" in str(large.error)


def test_an_unreadable_file_is_its_own_error(folder: Path) -> None:
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (image,) = LocalStore.at(str(folder)).fetch(["loop.jpg"])
    assert "cannot be opened" in str(image.error)


def test_a_store_that_is_not_there_is_not_blamed_on_the_images(tmp_path: Path) -> None:
    for url in (str(tmp_path / "unmounted"), "memory://never-made"):
        with pytest.raises(Unavailable, match="No image was marked"):
            list(open_image_store(url).fetch(["a.jpg"]))


def test_an_unknown_kind_of_address_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="C4_STORE_URL"):
        list(open_image_store("gopher://example/images").fetch(["a.jpg"]))
