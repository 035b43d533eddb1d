"""What a network can do to a connection: listeners that answer wrongly or not at all, a relay that can be broken."""

import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Generator[int, None, None]:
    """A listener that treats every caller in the same way: its port. Callers stay until ``answer`` hangs up."""
    server = socket.create_server(("127.0.0.1", 0))
    callers: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                caller, _ = server.accept()
                callers.append(caller)
                answer(caller)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        _end(server)
        for caller in callers:
            caller.close()
        thread.join(5)


def say_nothing(_caller: socket.socket) -> None:
    """The caller waits for ever."""


def hang_up(caller: socket.socket) -> None:
    """The caller is let in and thrown out."""
    caller.close()


def refuse_as_oracle(code: int) -> Callable[[socket.socket], None]:
    """Oracle's listener refuses with an ORA number: a TNS packet of type REFUSE (4)."""

    def answer(caller: socket.socket) -> None:
        caller.recv(4096)
        reason = f"(DESCRIPTION=(ERR={code})(VSNNUM=318767104)(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4))))".encode()
        payload = struct.pack(">BBH", 34, 0, len(reason)) + reason
        caller.sendall(struct.pack(">HHBBH", 8 + len(payload), 0, 4, 0, 0) + payload)

    return answer


def refuse_as_postgresql(code: str, message: str) -> Callable[[socket.socket], None]:
    """A PostgreSQL server refuses a connection with an SQLSTATE and words of its own language: an ErrorResponse."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0Rauth_failed\0\0".encode()
    asks_for_encryption = (struct.pack(">I", 80877103), struct.pack(">I", 80877104))  # by TLS, by GSSAPI

    def answer(caller: socket.socket) -> None:
        with suppress(OSError):
            while caller.recv(4096)[4:8] in asks_for_encryption:
                caller.sendall(b"N")
            caller.sendall(b"E" + struct.pack(">I", 4 + len(fields)) + fields)
        caller.close()

    return answer


class Relay:
    """Stands between a client and a server on this machine, and can be broken."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._passing = threading.Event()
        self._passing.set()
        self._refusing = False
        self._swallowing = False
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection. New ones are let in."""
        for side in list(self._open):
            _end(side)

    def down(self) -> None:
        """Ends every connection, and each new one at once."""
        self._refusing = True
        self.cut()

    def up(self) -> None:
        """Lets everything through again."""
        self._refusing = self._swallowing = False
        self._passing.set()

    def freeze(self) -> None:
        """Keeps connections open and passes nothing on."""
        self._passing.clear()

    def lose_the_next_answer(self) -> None:
        """What the client says next arrives; instead of the answer it sees its connection end."""
        self._swallowing = True

    def close(self) -> None:
        """Ends everything."""
        self.down()
        self._passing.set()
        _end(self._server)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                if self._refusing:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open |= {client, server}
                for source, sink, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=(source, sink, answers), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                if answers and self._swallowing:
                    break
                sink.sendall(data)
        for side in (source, sink):
            self._open.discard(side)
            _end(side)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
