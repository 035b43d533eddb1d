"""A storage host with random faults: each image comes once, with its own bytes or a clear error, in time and memory."""

import asyncio
import random
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import asyncssh
import pytest

from resources.errors import Unavailable
from resources.image_store import FetchedImage, SshStore, base, sftp_files, ssh_store, tar_stream
from testing.faulty_host import Cut, FaultyHost, header
from testing.memory import peak, reset_peak, resident

SEEDS = 500
MIB = 1024**2
BLOCK = tarfile.BLOCKSIZE

TIMEOUT = 0.4
LONGEST_FETCH_SECONDS = 20 * TIMEOUT
"""More than ten images may take with three time-outs a file, and one for each."""

Fault = Callable[[random.Random, bytes], bytes]


def cut_off(rng: random.Random, archive: bytes) -> bytes:
    return archive[: rng.randrange(len(archive))]


def left_out(rng: random.Random, archive: bytes) -> bytes:
    at = rng.randrange(len(archive))
    return archive[:at] + archive[at + rng.randint(1, 5000) :]


def put_in(rng: random.Random, archive: bytes) -> bytes:
    at = rng.randrange(len(archive))
    return archive[:at] + rng.randbytes(rng.randint(1, 5000)) + archive[at:]


def zeros_put_in(rng: random.Random, archive: bytes) -> bytes:
    at = rng.randrange(len(archive) // BLOCK) * BLOCK
    return archive[:at] + bytes(BLOCK * rng.randint(1, 3)) + archive[at:]


def repeated(rng: random.Random, archive: bytes) -> bytes:
    at = rng.randrange(len(archive))
    return archive[:at] + archive[max(0, at - rng.randint(1, 5000)) :]


def headers(archive: bytes) -> list[int]:
    """Where the headers begin."""
    return [at for at in range(0, len(archive), BLOCK) if archive[at + 257 : at + 265] == tarfile.GNU_MAGIC]


def header_flipped(rng: random.Random, archive: bytes) -> bytes:
    at = rng.choice(headers(archive)) + rng.randrange(BLOCK)
    return archive[:at] + bytes([archive[at] ^ (1 << rng.randrange(8))]) + archive[at + 1 :]


def reordered(rng: random.Random, archive: bytes) -> bytes:
    starts = headers(archive)
    parts = [archive[start:end] for start, end in zip(starts, [*starts[1:], len(archive)], strict=True)]
    rng.shuffle(parts)
    return b"".join(parts)


def size_wrong(rng: random.Random, archive: bytes) -> bytes:
    at = rng.choice(headers(archive))
    told = tarfile.TarInfo.frombuf(archive[at : at + BLOCK], "utf-8", "surrogateescape")
    told.size = rng.choice([0, 1, told.size + 1, max(told.size - 1, 0), told.size + 512, 65 * MIB, 2**40])
    return archive[:at] + told.tobuf(tarfile.GNU_FORMAT)[-BLOCK:] + archive[at + BLOCK :]


def strange_header(rng: random.Random, archive: bytes) -> bytes:
    at = rng.choice(headers(archive))
    kind = rng.choice([b"L", b"K", b"x", b"g", b"S", b"V", b"M", b"D", b"1", b"2", b"3", b"5", b"6", b"7", b"A"])
    name = rng.choice(["./plate/1.jpg", "../secret", "/etc/passwd", "x" * 90, ".", ""])
    return archive[:at] + header(name, kind, rng.choice([0, 1, 100, 5000, 2**33])) + archive[at:]


def greeting(rng: random.Random, archive: bytes) -> bytes:
    return b"Welcome to the storage\n" * rng.choice([1, 40, 5000]) + archive


FAULTS: list[Fault] = [
    cut_off,
    left_out,
    put_in,
    zeros_put_in,
    repeated,
    header_flipped,
    reordered,
    size_wrong,
    strange_header,
    greeting,
]


SHIFTING = {left_out, put_in, zeros_put_in, repeated, strange_header}
"""Those after which there are more bytes, or fewer."""


class Disturbance:
    """What a seed does to the archives that are sent and to the answers of sftp."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.every_time = self.rng.random() < 0.5
        self.sftp_fails = self.rng.random() < 0.3
        self.ending = self.rng.choices(["well", "cut", "silent", "endless"], [80, 14, 2, 4])[0]
        self.faults = self.rng.choices(FAULTS, k=self.rng.randint(1, 2))
        if size_wrong in self.faults and SHIFTING & set(self.faults):
            self.faults = [size_wrong]  # as many bytes more as the size is wrong by would make a sound archive
        self.times = 0

    async def send(self, archive: bytes) -> AsyncIterator[bytes]:
        self.times += 1
        if not archive or (self.times > 1 and not self.every_time):
            yield archive
            return
        for fault in self.faults:
            archive = fault(self.rng, archive) or b"\0"
        at = 0
        while at < len(archive):
            step = self.rng.choice([1, 100, 512, 10_240, 100_000])
            yield archive[at : at + step]
            at += step
            if self.ending == "cut" and self.rng.random() < 0.1:
                raise Cut
        while self.ending == "endless":
            yield self.rng.randbytes(MIB)
        if self.ending == "silent":
            await asyncio.Event().wait()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed") / "images"
    (folder / "plate").mkdir(parents=True)
    rng = random.Random(0)
    for number, size in enumerate((3_000, 17_011, 512, 1_024, 40_960, 9_001)):
        (folder / "plate" / f"{number}.jpg").write_bytes(rng.randbytes(size - 1) + b"\1")
    (folder / "plate" / "zero.tif").write_bytes(rng.randbytes(5_000) + b"\0")
    (folder / LONG_NAME).write_bytes(rng.randbytes(6_000) + b"\1")
    (folder.parent / "secret").write_bytes(b"secret")
    return folder


LONG_NAME = "plate/" + "long name " * 15 + ".jpg"
PATHS = [
    "plate/0.jpg",
    LONG_NAME,
    "plate/1.jpg",
    "none.jpg",
    *(f"plate/{number}.jpg" for number in range(2, 6)),
    "plate/zero.tif",
]


REFUSALS = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure, asyncssh.SFTPNoSuchFile)


def faulty_sftp(current: Callable[[], Disturbance]) -> type[asyncssh.SFTPServer]:
    """An sftp server that refuses at random, and reads less than it is asked for."""

    class Faulty(asyncssh.SFTPServer):
        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            now = current()
            if now.sftp_fails and now.rng.random() < 0.3:
                raise now.rng.choice(REFUSALS)("no")
            return super().open(path, pflags, attrs)

        def read(self, file_obj: object, offset: int, size: int) -> bytes | Awaitable[bytes]:
            return super().read(file_obj, offset, min(size, 8_000) if current().sftp_fails else size)

    return Faulty


def test_whatever_faults_a_host_has_each_image_comes_once_right_or_with_an_error_in_time_and_memory(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of a file that were changed and nothing else cannot be seen, so no fault does that."""
    monkeypatch.setattr(ssh_store, "FIRST_WAIT_SECONDS", 0.002)
    monkeypatch.setattr(base, "REFUSAL_WAITS_SECONDS", (0.002, 0.004, 0.008))
    for module in (base, tar_stream, sftp_files):
        monkeypatch.setattr(module, "TIMEOUTS_PER_FILE", 3)
    contents = {path: (root / path).read_bytes() for path in PATHS if path != "none.jpg"}
    now = Disturbance(0)
    right = wrong = given_up = 0
    with (
        FaultyHost(tmp_path, root, faulty_sftp(lambda: now)) as host,
        closing(SshStore(host.url(), host.access(TIMEOUT))) as store,
    ):
        assert next(store.fetch(PATHS)).data
        before = resident()
        reset_peak()
        for seed in range(1, SEEDS + 1):
            now = Disturbance(seed)
            host.send = now.send
            images, ended = fetched_in_time(store, seed)
            given_up += ended
            assert [image.path for image in images] == (PATHS[: len(images)] if ended else PATHS), seed
            for image in images:
                assert (image.data is None) == (image.error is not None) == (image.problem is not None), seed
                assert image.data is None or image.data == contents[image.path], (seed, image.path)
                assert image.data is not None or image.path in str(image.error), seed
            right += sum(image.data is not None for image in images)
            wrong += sum(image.data is None and image.path != "none.jpg" for image in images)
    assert peak() - before < 64 * MIB
    assert right > 0.9 * SEEDS * len(contents)
    assert wrong > 0
    assert given_up < 0.1 * SEEDS


def fetched_in_time(store: SshStore, seed: int) -> tuple[list[FetchedImage], bool]:
    """What came, and whether the host was given up."""
    images: list[FetchedImage] = []
    began = time.monotonic()
    try:
        images.extend(store.fetch(PATHS))
    except Unavailable as error:
        assert "No image was marked as failed" in str(error), seed
        return images, True
    finally:
        assert time.monotonic() - began < LONGEST_FETCH_SECONDS, seed
    return images, False
