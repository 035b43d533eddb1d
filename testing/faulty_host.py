"""A storage host that is not well: an ssh server on loopback whose archives and sftp are as a test makes them.

It runs in a thread of the test's own process; what needs a host in a process of its own is done with
:class:`~testing.sshd.Sshd` and a ``ForceCommand``.
"""

import asyncio
import io
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import asyncssh

from resources.ssh import SshAccess
from testing.sshd import make_key

Sender = Callable[[bytes], AsyncIterator[bytes]]
"""Turns the archive that was asked for into what is sent. An exception cuts the connection."""


async def as_it_is(archive: bytes) -> AsyncIterator[bytes]:
    """Sends the archive."""
    yield archive


class FaultyHost:
    """The host, while its context is open.

    Args:
        folder: for keys.
        root: where the files lie that ``tar`` is asked for.
        sftp: class of the sftp server.

    Attributes:
        send: how archives are sent; may be set anew between two of them.
        commands: number of commands that were run.
    """

    def __init__(self, folder: Path, root: Path, sftp: type[asyncssh.SFTPServer] = asyncssh.SFTPServer) -> None:
        self._folder, self._root, self._sftp = folder, root, sftp
        self.send: Sender = as_it_is
        self.port = self.commands = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "FaultyHost":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def access(self, timeout: float = 10) -> SshAccess:
        """What logs in."""
        return SshAccess(self._folder / "key", self._folder / "known_hosts", timeout)

    def url(self, scheme: str = "ssh") -> str:
        """The store's address."""
        return f"{scheme}://somebody@127.0.0.1:{self.port}{self._root}"

    async def _start(self) -> None:
        make_key(self._folder / "host_key")
        make_key(self._folder / "key")
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(self._folder / "host_key")],
            authorized_client_keys=str(self._folder / "key.pub"),
            process_factory=self._run,
            sftp_factory=self._sftp,
            encoding=None,
        )
        self.port = self._server.get_port()
        known = f"[127.0.0.1]:{self.port} {(self._folder / 'host_key.pub').read_text()}"
        (self._folder / "known_hosts").write_text(known)

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _run(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        self.commands += 1
        names = await process.stdin.read() if "tar" in (process.command or "") else b""
        try:
            with suppress(OSError, asyncssh.Error):  # its client has gone
                async for piece in self.send(archive_of(self._root, names) if names else b""):
                    process.stdout.write(piece)
                    await process.stdout.drain()
            process.exit(0)
        except Cut:
            process.channel.get_connection().abort()


class Cut(Exception):
    """Raised by a :data:`Sender` to cut the connection."""


def archive_of(root: Path, names: bytes) -> bytes:
    """The archive of those files that GNU tar would make; ``names`` end in a zero byte each."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in names.split(b"\0")[:-1]:
            file = os.fsencode(root) + b"/" + name
            if os.path.lexists(file):
                archive.add(os.fsdecode(file), os.fsdecode(name), recursive=False)
    return made.getvalue()


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """One header, which may lie."""
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, size
    return made.tobuf(tarfile.GNU_FORMAT)[-tarfile.BLOCKSIZE :]
