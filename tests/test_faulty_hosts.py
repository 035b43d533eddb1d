"""Storage hosts that send anything but what was asked for: each image comes right, or with a clear error, in time."""

import asyncio
import os
import random
import shlex
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import asyncssh
import pytest

from resources.errors import ConfigurationError, Unavailable
from resources.image_store import FetchedImage, SshStore, base, sftp_files, ssh_store, tar_stream
from resources.image_store.base import MAX_IMAGE_BYTES
from resources.image_store.tar_entries import MAX_GREETING_BYTES
from resources.records import Problem
from testing.faulty_host import FaultyHost, header
from testing.memory import peak, reset_peak, resident
from testing.sshd import Sshd

MIB = 1024**2
LONG_NAME = "plate/" + "long name " * 15 + ".jpg"
BLOCK = tarfile.BLOCKSIZE

SFTP_SERVER = next(
    file
    for file in ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
    if Path(file).exists()
)
"""The program that a host starts for sftp."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of different sizes: one ends in a zero, one has a name that takes a header of its own."""
    folder = tmp_path_factory.mktemp("store") / "images"
    (folder / "plate").mkdir(parents=True)
    rng = random.Random(1)
    for number, size in enumerate((3_000, 17_011, 512, 40_960, 9_001)):
        (folder / "plate" / f"{number}.jpg").write_bytes(rng.randbytes(size - 1) + b"\1")
    (folder / "plate" / "zero.tif").write_bytes(rng.randbytes(5_000) + b"\0")
    (folder / LONG_NAME).write_bytes(rng.randbytes(6_000) + b"\1")
    return folder


PATHS = ["plate/0.jpg", LONG_NAME, "plate/1.jpg", "none.jpg", "plate/2.jpg", "plate/zero.tif", "plate/3.jpg"]


@pytest.fixture
def opened() -> Generator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between two tries are nothing to wait for in a test, and a file may take three time-outs."""
    monkeypatch.setattr(ssh_store, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(base, "REFUSAL_WAITS_SECONDS", (0.01, 0.02, 0.04))
    for module in (base, tar_stream, sftp_files):
        monkeypatch.setattr(module, "TIMEOUTS_PER_FILE", 3)


@pytest.fixture
def host_of(opened: ExitStack, root: Path, tmp_path: Path) -> Callable[..., FaultyHost]:
    """Starts hosts."""

    def host_of(sftp: type[asyncssh.SFTPServer] = asyncssh.SFTPServer) -> FaultyHost:
        return opened.enter_context(FaultyHost(tmp_path, root, sftp))

    return host_of


@pytest.fixture
def commanded(opened: ExitStack, tmp_path: Path) -> Callable[..., SshStore]:
    """Opens stores on a real sshd that runs a script in place of every command; ``{0}`` is the test's folder.

    sftp comes from the server itself, unless the script is to start it (``clean_sftp=False``).
    """

    def commanded(script: str, root: Path, scheme: str = "ssh", *, clean_sftp: bool = True) -> SshStore:
        file = tmp_path / "command.sh"
        own = f'case "$SSH_ORIGINAL_COMMAND" in internal-sftp*) exec {SFTP_SERVER};; esac' if clean_sftp else ""
        file.write_text(f"#!/bin/sh\n{own}\n{script.replace('{0}', shlex.quote(str(tmp_path)))}\n")
        file.chmod(0o755)
        host = opened.enter_context(Sshd(tmp_path / "host", [f"ForceCommand {file}"]))
        store = SshStore(f"{scheme}://{host.user}@{host.host}:{host.port}{root}", host.access)
        return opened.enter_context(closing(store))

    return commanded


def fetched(
    host: FaultyHost, paths: Sequence[str] = PATHS, scheme: str = "ssh", timeout: float = 10
) -> list[FetchedImage]:
    with closing(SshStore(host.url(scheme), host.access(timeout))) as store:
        return list(store.fetch(paths))


def all_right(images: Sequence[FetchedImage], root: Path, paths: Sequence[str] = PATHS) -> bool:
    """Whether every image came once, in order, with its bytes, and only the one that is not there did not."""
    came = {image.path: image.data for image in images if image.error is None}
    there = {path: (root / path).read_bytes() for path in paths if path != "none.jpg"}
    return [image.path for image in images] == list(paths) and came == there


class TestArchives:
    """What comes in place of an archive."""

    @pytest.mark.parametrize(
        "wrong",
        [
            header("./plate/0.jpg", tarfile.GNUTYPE_LONGNAME, 8 * 1024**3),
            header("././@LongLink", tarfile.GNUTYPE_LONGLINK, 8 * 1024**3),
            header("x", tarfile.GNUTYPE_LONGNAME, 100) + bytes(BLOCK),
            header("x", tarfile.XHDTYPE, 8 * 1024**3),
            header("x", tarfile.XGLTYPE, BLOCK) + b"11 path=abc" * 40,
            header("./plate/0.jpg", tarfile.GNUTYPE_SPARSE, 8 * 1024**3),
            header("./plate/0.jpg", tarfile.DIRTYPE, 8 * 1024**3),
            header("./plate/0.jpg", b"V", 5),
            header("never asked for", size=MIB),
            header(".", tarfile.DIRTYPE),
            header("./plate/1.jpg", size=1) + b"x" * BLOCK,
        ],
    )
    def test_a_header_that_lies_ends_the_archive_and_the_rest_comes_by_sftp(
        self, host_of: Callable[..., FaultyHost], root: Path, wrong: bytes
    ) -> None:
        """The header comes for ever, after the first file, with as much as it claims."""
        host = host_of()

        async def endless(archive: bytes) -> AsyncIterator[bytes]:
            yield archive[: BLOCK * 9]  # the root, the folder, the first file
            while True:
                yield wrong * 100

        host.send = endless
        assert all_right(fetched(host), root)

    @pytest.mark.parametrize("change", ["in the wrong order", "twice", "twice in a row"])
    def test_files_in_the_wrong_order_or_twice_come_once_in_the_right_order(
        self, host_of: Callable[..., FaultyHost], root: Path, change: str
    ) -> None:
        host = host_of()

        async def changed(archive: bytes) -> AsyncIterator[bytes]:
            start, *files = members(archive)
            if change == "in the wrong order":
                files.reverse()
            yield start + b"".join(file * (2 if "in a row" in change else 1) for file in files)
            yield b"".join(files) + bytes(BLOCK * 20)

        host.send = changed
        assert all_right(fetched(host), root)

    def test_a_long_name_before_another_file_names_nothing(
        self, host_of: Callable[..., FaultyHost], root: Path
    ) -> None:
        host = host_of()

        async def moved(archive: bytes) -> AsyncIterator[bytes]:
            start, first, long, *others = members(archive)
            named = BLOCK + in_blocks(tarfile.TarInfo.frombuf(long[:BLOCK], "utf-8", "surrogateescape").size)
            yield start + first + long[:named] + b"".join(others) + bytes(BLOCK * 20)

        host.send = moved
        assert all_right(fetched(host), root)

    def test_what_follows_an_archive_is_not_read_for_ever(self, host_of: Callable[..., FaultyHost], root: Path) -> None:
        host = host_of()

        async def endless(archive: bytes) -> AsyncIterator[bytes]:
            yield archive
            while True:
                yield b"x" * MIB

        host.send = endless
        assert all_right(fetched(host), root)

    def test_a_host_that_calls_every_file_too_large_is_believed_and_sends_nothing(
        self, host_of: Callable[..., FaultyHost]
    ) -> None:
        host = host_of()

        async def large(archive: bytes) -> AsyncIterator[bytes]:
            name = "./plate/0.jpg" if b"./plate/0.jpg" in archive else "./plate/1.jpg"
            yield header(".", tarfile.DIRTYPE) + header(name, size=MAX_IMAGE_BYTES + 1)
            while True:
                yield bytes(MIB)

        host.send = large
        images = fetched(host, ["plate/0.jpg", "plate/1.jpg"])
        assert [image.problem for image in images] == [Problem.FILE] * 2
        assert all("more than any image" in str(image.error) for image in images)

    def test_bytes_that_trickle_in_do_not_hold_the_step(
        self, host_of: Callable[..., FaultyHost], root: Path, quick: None
    ) -> None:
        host = host_of()

        async def trickling(archive: bytes) -> AsyncIterator[bytes]:
            yield archive[: BLOCK * 9]
            while True:
                yield b"x"
                await asyncio.sleep(0.02)

        host.send = trickling
        began = time.monotonic()
        assert all_right(fetched(host, PATHS[:1], timeout=0.3), root, PATHS[:1]), "By sftp, after three time-outs."
        with pytest.raises(Unavailable, match=r"has not sent 7 images within 3 s.*No image was marked as failed"):
            fetched(host, timeout=0.3)
        assert time.monotonic() - began < 10

    def test_a_file_at_which_the_host_falls_silent_costs_only_itself(
        self, host_of: Callable[..., FaultyHost], root: Path, quick: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a tape library does, or a bad sector: neither tar nor sftp gets on with that file."""
        monkeypatch.setattr(base, "TIMEOUTS_PER_FILE", 30)  # for all files together, on a machine that is busy

        class Stuck(asyncssh.SFTPServer):
            async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
                if path.endswith(b"/1.jpg"):
                    await asyncio.Event().wait()
                return asyncssh.SFTPAttrs.from_local(Path(os.fsdecode(path)).stat())

        host = host_of(Stuck)

        async def stuck(archive: bytes) -> AsyncIterator[bytes]:
            at = archive.find(b"./plate/1.jpg")
            yield archive[: at if at > 0 else len(archive)]
            if at > 0:
                await asyncio.Event().wait()

        host.send = stuck
        paths = ["plate/0.jpg", "plate/1.jpg", "plate/2.jpg", "plate/3.jpg"]
        for scheme in ("ssh", "sftp"):
            # Long enough for a busy machine: the other files must come within it.
            images = fetched(host, paths, scheme, timeout=1)
            assert [image.path for image in images] == paths
            assert [image.problem for image in images] == [None, Problem.STORE, None, None]
            assert "plate/1.jpg cannot be read: the host falls silent" in str(images[1].error)

    def test_a_host_that_falls_silent_at_every_file_is_given_up(
        self, host_of: Callable[..., FaultyHost], quick: None
    ) -> None:
        class Stuck(asyncssh.SFTPServer):
            async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
                if path.endswith(b".jpg"):
                    await asyncio.Event().wait()
                return asyncssh.SFTPAttrs.from_local(Path(os.fsdecode(path)).stat())

        host = host_of(Stuck)
        began = time.monotonic()
        silent = "(Nothing has come|.* did not answer within)"
        with pytest.raises(Unavailable, match=rf"does not answer: {silent}.*No image was marked as failed"):
            fetched(host, scheme="sftp", timeout=1)
        assert time.monotonic() - began < 15


class TestMemory:
    """What a host in a process of its own can make C4 hold."""

    @pytest.mark.parametrize(
        ("head", "tail"),
        [
            (header("x", tarfile.GNUTYPE_LONGNAME, 8 * 1024**3), b"n" * BLOCK),
            (b"", header("x", tarfile.GNUTYPE_LONGNAME, 3) + b"n" * BLOCK),
            (b"", header("x", tarfile.XHDTYPE, BLOCK) + b"n" * BLOCK),
            (header("./0.jpg", tarfile.GNUTYPE_SPARSE, 8 * 1024**3), b"n" * BLOCK),
            (bytes(BLOCK * 2), b"n" * BLOCK),
        ],
        ids=["an endless name", "names without end", "headers without end", "a sparse file", "after the end"],
    )
    def test_a_stream_without_end_takes_neither_memory_nor_time(
        self, commanded: Callable[..., SshStore], tmp_path: Path, head: bytes, tail: bytes
    ) -> None:
        root = tmp_path / "images"
        root.mkdir()
        (root / "0.jpg").write_bytes(b"drop")
        (tmp_path / "head").write_bytes(header(".", tarfile.DIRTYPE) + head)
        (tmp_path / "tail").write_bytes(tail * 2000)
        store = commanded("cat {0}/head; while cat {0}/tail; do :; done", root)
        assert next(store.fetch(["0.jpg"])).data == b"drop", "All is imported and connected now."
        before, began = resident(), time.monotonic()
        reset_peak()
        for _ in range(3):
            assert [image.data for image in store.fetch(["0.jpg"])] == [b"drop"]
        assert time.monotonic() - began < 15
        assert peak() - before < 32 * MIB

    def test_what_waits_to_be_read_is_bounded_however_much_the_host_sends(
        self, commanded: Callable[..., SshStore], tmp_path: Path
    ) -> None:
        root = tmp_path / "images"
        root.mkdir()
        paths = [f"{number}.jpg" for number in range(200)]
        for path in paths:
            (root / path).write_bytes(os.urandom(MIB) + b"\1")
        store = commanded('exec sh -c "$SSH_ORIGINAL_COMMAND"', root)
        assert len(list(store.fetch(paths[:20]))) == 20
        before = resident()
        reset_peak()
        images = store.fetch(paths)
        next(images)
        time.sleep(1.5)
        assert sum(len(image.data or b"") for image in images) == 199 * (MIB + 1)
        assert peak() - before < 3 * 12 * MIB, "12 MiB that wait, the images in hand, and what the allocator keeps."

    def test_large_files_are_read_one_at_a_time(self, commanded: Callable[..., SshStore], tmp_path: Path) -> None:
        root = tmp_path / "images"
        root.mkdir()
        paths = [f"{number}.tif" for number in range(8)]
        for path in paths:
            with (root / path).open("wb") as sparse:
                sparse.truncate(MAX_IMAGE_BYTES)
        store = commanded("exit 1", root, scheme="sftp")
        before = resident()
        reset_peak()
        for image in store.fetch(paths):
            assert len(image.data or b"") == MAX_IMAGE_BYTES
        assert peak() - before < 4 * MAX_IMAGE_BYTES


class TestGreetings:
    """Login shells that print something."""

    GREETING = "*** Welcome to the storage of the facility ***"
    ORIGINAL = 'exec sh -c "$SSH_ORIGINAL_COMMAND"'
    SFTP_BY_SHELL = f'case "$SSH_ORIGINAL_COMMAND" in internal-sftp*) exec {SFTP_SERVER};; esac'

    @pytest.mark.parametrize("lines", [1, 60, MAX_GREETING_BYTES // len(GREETING + "\n")])
    def test_a_greeting_ahead_of_an_archive_is_read_past_and_named_once(
        self, commanded: Callable[..., SshStore], root: Path, lines: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = commanded(f"for i in $(seq {lines}); do echo '{self.GREETING}'; done; {self.ORIGINAL}", root)
        for _ in range(2):
            assert all_right(list(store.fetch(PATHS)), root)
        assert caplog.text.count(f"prints «{self.GREETING}") == 1
        assert "runs no tar" not in caplog.text

    @pytest.mark.parametrize("scheme", ["ssh", "sftp"])
    def test_a_greeting_that_breaks_sftp_is_named_with_what_to_do(
        self, commanded: Callable[..., SshStore], root: Path, scheme: str
    ) -> None:
        store = commanded(f"echo '*** Welcome ***'; {self.SFTP_BY_SHELL}; exit 1", root, scheme, clean_sftp=False)
        with pytest.raises(ConfigurationError, match=r"prints «\*\*\* Welcome \*\*\*».*bashrc"):
            list(store.fetch(PATHS))

    def test_where_a_greeting_breaks_sftp_the_files_of_the_archive_come(
        self, commanded: Callable[..., SshStore], root: Path
    ) -> None:
        script = f"echo '{self.GREETING}'; {self.SFTP_BY_SHELL}; {self.ORIGINAL}"
        store = commanded(script, root, clean_sftp=False)
        images = list(store.fetch(["plate/0.jpg", "none.jpg", "plate/1.jpg"]))
        assert [image.problem for image in images] == [None, Problem.ABSENT, None]
        assert images[0].data == (root / "plate" / "0.jpg").read_bytes()
        assert f"«{self.GREETING}»" in str(images[1].error)

    def test_a_greeting_without_end_is_no_archive(self, host_of: Callable[..., FaultyHost], root: Path) -> None:
        host = host_of()

        async def endless(_archive: bytes) -> AsyncIterator[bytes]:
            while True:
                yield b"welcome\n" * (MAX_GREETING_BYTES // 8)

        host.send = endless
        assert all_right(fetched(host), root)
        assert host.commands == 1


def members(archive: bytes) -> list[bytes]:
    """The parts of an archive: the folders together, then each file with its headers; without the end."""
    parts: list[bytes] = [b""]
    at = 0
    while archive[at : at + BLOCK].strip(b"\0"):
        start = at
        told = tarfile.TarInfo.frombuf(archive[at : at + BLOCK], "utf-8", "surrogateescape")
        if told.type == tarfile.GNUTYPE_LONGNAME:
            at += BLOCK + in_blocks(told.size)
            told = tarfile.TarInfo.frombuf(archive[at : at + BLOCK], "utf-8", "surrogateescape")
        at += BLOCK + (in_blocks(told.size) if told.isreg() else 0)
        if told.isreg():
            parts.append(archive[start:at])
        else:
            parts[0] += archive[start:at]
    return parts


def in_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
