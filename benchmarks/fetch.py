"""How fast images come over ssh: one inspection of 96 JPEGs (200 kB each) over a line with a round trip of 12 ms.

    python -m benchmarks.fetch            (a few minutes; C4_REAL_IMAGES names a folder of real images)
    python -m benchmarks.fetch --memory   (peak memory of ours from 100 to 2,000 images)

A real sshd behind a proxy that delays each direction. Each way has one connection, which is open before its time
starts, and all take turns. ``paramiko-scp`` is what the pipeline of the C4 paper does (one file after another),
``sftp-serial`` the same over sftp, ``ssh-tar`` the bare stream of the OpenSSH client into nothing, ``ours`` all of it:
up to the staged Arrow file on disk, with a digest of each image; ``ours-sftp`` that, where no tar may be run.
"""

import argparse
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import paramiko
import scp

from benchmarks.report import Row, medians, report, seconds_of
from c4_assets.scoring.fetch import fetch_images
from resources.archive.staging import Staging
from resources.image_store import open_image_store
from resources.records import Image
from resources.ssh import SshAccess
from testing.delaying_proxy import proxy_process
from testing.sshd import Sshd

IMAGES = 96
BYTES_AN_IMAGE = 200_000
DELAY_S = 0.006
BASELINE = "paramiko-scp"

Fetch = Callable[[Sequence[str]], int]
"""Fetches files below the root and returns how many came."""


def lay_out(folder: Path) -> list[str]:
    """Puts 96 files into a folder: real images if there are any, else bytes that cannot be compressed."""
    plate = Path(os.environ.get("C4_REAL_IMAGES", "")) / "plates" / "ci022987_subwell_01"
    files = [file.read_bytes() for file in sorted(plate.glob("*.jpg"))[:IMAGES]] if plate.is_dir() else []
    files += [os.urandom(BYTES_AN_IMAGE - 1) + b"\1"] * (IMAGES - len(files))
    folder.mkdir(parents=True)
    for number, data in enumerate(files):
        (folder / f"{number:02}.jpg").write_bytes(data)
    return [f"{folder.name}/{file.name}" for file in sorted(folder.iterdir())]


@contextmanager
def _paramiko(host: Sshd, port: int) -> Generator[paramiko.SSHClient]:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(host.behind(port).known_hosts))
        client.connect(host.host, port, host.user, key_filename=str(host.key), allow_agent=False, look_for_keys=False)
        yield client


@contextmanager
def paramiko_scp(host: Sshd, port: int, root: Path) -> Generator[Fetch]:
    """One file after another with scp, as in the paper."""
    with _paramiko(host, port) as client, tempfile.TemporaryDirectory() as folder:
        transport = client.get_transport()
        assert transport  # noqa: S101 (it is connected)
        copier = scp.SCPClient(transport)

        def fetch(paths: Sequence[str]) -> int:
            for path in paths:
                copier.get(f"{root}/{path}", f"{folder}/image.jpg")
            return len(paths)

        yield fetch


@contextmanager
def sftp_serial(host: Sshd, port: int, root: Path) -> Generator[Fetch]:
    """One file after another with sftp."""
    with _paramiko(host, port) as client, client.open_sftp() as sftp, tempfile.TemporaryDirectory() as folder:

        def fetch(paths: Sequence[str]) -> int:
            for path in paths:
                sftp.get(f"{root}/{path}", f"{folder}/image.jpg")
            return len(paths)

        yield fetch


@contextmanager
def ssh_tar(host: Sshd, port: int, root: Path) -> Generator[Fetch]:
    """A tar stream of the OpenSSH client over a connection that is open already."""
    known = host.behind(port).known_hosts
    ssh = ["ssh", "-F", "none", "-p", str(port), "-i", str(host.key), "-o", f"UserKnownHostsFile={known}"]
    ssh += ["-o", f"ControlPath={host.folder}/control", f"{host.user}@{host.host}"]
    subprocess.run([*ssh[:1], "-o", "ControlMaster=yes", "-f", "-N", *ssh[1:]], check=True)

    def fetch(paths: Sequence[str]) -> int:
        tar = f"tar -C {root} -cf - -T -"
        subprocess.run([*ssh, tar], input="\n".join(paths), text=True, stdout=subprocess.DEVNULL, check=True)
        return len(paths)

    try:
        yield fetch
    finally:
        subprocess.run([ssh[0], "-O", "exit", *ssh[1:]], check=True, stderr=subprocess.DEVNULL)


@contextmanager
def ours(host: Sshd, port: int, root: Path, scheme: str = "ssh") -> Generator[Fetch]:
    """The ssh store, up to the staged Arrow file."""
    url = f"{scheme}://{host.user}@{host.host}:{port}{root}"
    with tempfile.TemporaryDirectory() as folder, _staging(url, host.behind(port), Path(folder)) as fetch:
        yield fetch


@contextmanager
def _staging(url: str, access: SshAccess, folder: Path) -> Generator[Fetch]:
    staging = Staging(folder)

    def fetch(paths: Sequence[str]) -> int:
        images = [Image(number, 1, "P1", "A01", 1, path) for number, path in enumerate(paths)]
        staged = staging.write(date(2026, 1, 1), 1, fetch_images(store, images))
        return staged.images - staged.failed

    with closing(open_image_store(url, access)) as store:
        yield fetch


WAYS = {
    "paramiko-scp": paramiko_scp,
    "sftp-serial": sftp_serial,
    "ssh-tar": ssh_tar,
    "ours": ours,
    "ours-sftp": partial(ours, scheme="sftp"),
}


def speed(folder: Path, rounds: int) -> list[Row]:
    """Images a second of every way, the median of interleaved rounds."""
    paths = lay_out(folder / "images" / "plate")

    def all_of(fetch: Fetch) -> float:
        def work() -> None:
            arrived = fetch(paths)
            assert arrived == len(paths), f"{arrived} images of {len(paths)} came."  # noqa: S101

        return seconds_of(work)

    with Sshd(folder / "host") as host, proxy_process(host.port, DELAY_S) as port, ExitStack() as opened:
        fetches = {name: opened.enter_context(way(host, port, folder / "images")) for name, way in WAYS.items()}
        for fetch in fetches.values():
            fetch(paths[:1])
        middle = medians({name: partial(all_of, fetch) for name, fetch in fetches.items()}, rounds)
    return [
        Row(name, round(IMAGES / took, 1), "images/s", round(middle[BASELINE] / took, 2))
        for name, took in middle.items()
    ]


def peak_megabytes(url: str, access: SshAccess, folder: Path, paths: Sequence[str]) -> float:
    """Peak memory of this process when it has staged an inspection."""
    with _staging(url, access, folder) as fetch:
        assert fetch(paths) == len(paths), "Some images did not come."  # noqa: S101
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(folder: Path) -> list[Row]:
    """Peak memory of ours, each in a process of its own, for inspections of different sizes."""
    paths = lay_out(folder / "images" / "plate")
    peaks: dict[int, float] = {}
    with Sshd(folder / "host") as host, proxy_process(host.port, DELAY_S) as port:
        url = f"ssh://{host.user}@{host.host}:{port}{folder / 'images'}"
        for count in (100, 500, 1000, 2000):
            wanted = [paths[number % IMAGES] for number in range(count)]
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                peaks[count] = process.submit(peak_megabytes, url, host.behind(port), folder, wanted).result()
    return [Row(f"{count} images", round(peak, 1), "MiB", round(peaks[100] / peak, 2)) for count, peak in peaks.items()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast images come over ssh.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median is told")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            report("fetch-memory", "100 images", memory(Path(folder)), arguments.json)
        else:
            report("fetch", BASELINE, speed(Path(folder), arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
