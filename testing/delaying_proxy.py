"""A TCP proxy on loopback that makes the network longer, and can cut or hang it.

    python -m testing.delaying_proxy --to PORT --delay 0.006      (prints its own port; ends with its input)

Each direction's bytes arrive the delay later than they were sent, and as many a second as without it: what a long line
does, without the kernel's ``netem``, which virtual machines often lack.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 64 * 1024
IN_FLIGHT = 256
"""Chunks on the way in a direction (16 MiB): above what any window of ssh lets be on the way."""

ESTABLISHED = 1
"""The kernel's state of a connection that neither side has closed: ``TCP_ESTABLISHED`` of ``linux/tcp_states.h``."""


@dataclass
class Line:
    """One connection through the proxy, and how many bytes have come out of it on either side."""

    to_server: int = 0
    to_client: int = 0
    ended: bool = False
    free_at: float = field(default=0.0, repr=False)
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter], repr=False)

    def is_held(self) -> bool:
        """Whether its client holds it, by the kernel: a proxy that is short of time has not read of its end yet."""
        try:
            client: socket.socket = self.writers[0].get_extra_info("socket")
            return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
        except OSError:
            return False  # this side has closed it


class DelayingProxy:
    """The proxy, in a thread of its own while its context is open.

    Attributes:
        delay: seconds that each direction takes: half of a round trip.
        lines: every connection that was made, in order.
        most_at_once: most of them that clients held at once.
        cut_after: bytes to the client after which a connection is cut, once.
        hang_after: bytes to the client after which nothing comes any more; the connection stays open.
        bytes_a_second: to the client, for each connection; unlimited if None.
    """

    def __init__(self, to: int, delay: float = 0.0) -> None:
        self._to, self.delay = to, delay
        self.lines: list[Line] = []
        self.most_at_once = 0
        self.cut_after: int | None = None
        self.hang_after: int | None = None
        self.bytes_a_second: float | None = None
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> "DelayingProxy":
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for line in self.lines:
            self._cut(line)
        await asyncio.sleep(0)

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        line = Line(writers=[to_client])
        self.lines.append(line)
        self.most_at_once = max(self.most_at_once, sum(line.is_held() for line in self.lines))
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to, limit=CHUNK)
            line.writers.append(to_server)
            there = asyncio.create_task(self._carry(from_client, to_server, line, to_the_client=False))
            back = asyncio.create_task(self._carry(from_server, to_client, line, to_the_client=True))
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((there, back), timeout=4 * self.delay + 0.05)
            for task in (there, back):
                task.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            line.ended = True
            self._cut(line)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, line: Line, *, to_the_client: bool
    ) -> None:
        """Takes bytes in as they come and lets them out a delay later."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)

        async def arrive() -> None:
            while True:
                due, data = await on_the_way.get()
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                if not data:
                    return
                if to_the_client:
                    await self._disturbed(line, data, due)
                    line.to_client += len(data)
                else:
                    line.to_server += len(data)
                sink.write(data)
                await sink.drain()

        arriving = asyncio.create_task(arrive())
        try:
            with suppress(OSError):
                while data := await source.read(CHUNK):
                    await on_the_way.put((time.monotonic() + self.delay, data))
                await on_the_way.put((time.monotonic() + self.delay, b""))
                await arriving
        finally:
            arriving.cancel()

    async def _disturbed(self, line: Line, data: bytes, due: float) -> None:
        if self.bytes_a_second:
            # From when the line was free and not from now: a proxy that wakes late makes the line no slower.
            line.free_at = max(line.free_at, due) + len(data) / self.bytes_a_second
            await asyncio.sleep(max(0, line.free_at - time.monotonic()))
        if self.hang_after is not None and line.to_client + len(data) > self.hang_after:
            await asyncio.Event().wait()
        if self.cut_after is not None and line.to_client + len(data) > self.cut_after:
            self.cut_after = None
            self._cut(line)
            raise ConnectionAbortedError

    def _cut(self, line: Line) -> None:
        for writer in line.writers:
            writer.transport.abort()


@contextmanager
def proxy_process(to: int, delay: float, bytes_a_second: float | None = None) -> Generator[int]:
    """A proxy in a process of its own, so that it does not share an interpreter with what is measured; its port."""
    command = [sys.executable, "-m", "testing.delaying_proxy", "--to", str(to), "--delay", str(delay)]
    command += ["--bytes-a-second", str(bytes_a_second)] if bytes_a_second else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield int(process.stdout.readline())
        process.stdin.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes the network longer.")
    parser.add_argument("--to", type=int, required=True, help="port of the server on loopback")
    parser.add_argument("--delay", type=float, default=0.006, help="seconds each way: half of a round trip")
    parser.add_argument("--bytes-a-second", type=float, help="to the client, for each connection")
    arguments = parser.parse_args()
    with DelayingProxy(arguments.to, arguments.delay) as proxy:
        proxy.bytes_a_second = arguments.bytes_a_second
        sys.stdout.write(f"{proxy.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
