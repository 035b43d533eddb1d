"""What tests of a store over ssh share: files, stores, and a line to the host that can be disturbed."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from resources.image_store import FetchedImage, SshStore, ssh_store
from testing.delaying_proxy import DelayingProxy
from testing.sshd import Sshd

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
def short_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
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
