"""An engine in a process of its own: an image that ends that process costs itself alone."""

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from c4_assets.models.engine import Classification, Engine
from resources.errors import C4Error, ConfigurationError, Unavailable

ANSWER_S = 600
"""Seconds after which a process that does not answer is ended. Loading a model or classifying an image takes a few."""

STOPPED_FROM_OUTSIDE = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals that no image causes: somebody or Slurm ends the job."""

READY = "ready"

_PROGRAM = "import sys; from c4_assets.models.isolated import answer; answer(int(sys.argv[1]))"


class IsolatedEngine:
    """Classifies images one at a time in another process, and goes on with a new one where an image ended it.

    A new process first classifies a plain picture. If that ends it, no image is to blame.

    Attributes:
        deadly: images that ended their process, or made it fail as nobody expects an image to.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        """Args:
        engine: makes the engine, in the other process: a function that can be pickled.
        """
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self.deadly = 0

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """As :meth:`c4_assets.models.engine.Engine.classify`; the reason of an image that ended its process says so.

        Raises:
            ConfigurationError: the process cannot classify any picture: the model, its libraries, or the machine.
            Unavailable: the process was ended from outside.
        """
        for data in images:
            yield self._one(data)

    def _one(self, data: bytes) -> Classification:
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(data)
            if pipe.poll(ANSWER_S):
                answer, as_expected = pipe.recv()
                self.deadly += not as_expected
                return answer
        except (EOFError, OSError):
            pass
        how = self._end()
        self.deadly += 1
        return Classification(None, f"classifying this image ended the process that did it ({how}); look at the file")

    def _start(self) -> Connection:
        mine, theirs = socket.socketpair()
        self._pipe = pipe = Connection(mine.detach())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        try:
            pipe.send(self._engine)
            said = pipe.recv() if pipe.poll(ANSWER_S) else None
        except (EOFError, OSError):
            said = None
        if said != READY:
            how = self._end()
            raise ConfigurationError(
                str(said or f"A process that was to classify a plain picture has ended ({how}).")
                + " No image was tried: look at the model, its libraries, and the memory of this machine."
            )
        return pipe

    def _end(self) -> str:
        """Ends the process, if it is alive still, and tells how it has ended.

        Raises:
            Unavailable: it was ended from outside.
        """
        code = self.close(patience_s=1)
        if code is None:
            return f"no answer in {ANSWER_S} s"
        if code < 0 and signal.Signals(-code) in STOPPED_FROM_OUTSIDE:
            raise Unavailable(f"The process that classifies was stopped ({signal.Signals(-code).name}).")
        if code == -signal.SIGKILL:
            return "SIGKILL, as where memory is short"
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def close(self, patience_s: float = 10) -> int | None:
        """Ends the process, where one is running. Returns how it ended by itself, ``None`` if it did not in time."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is None or pipe is None:
            return 0
        pipe.close()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(patience_s)
        process.kill()
        process.wait()
        return None


def answer(descriptor: int) -> None:
    """The other process: is handed the engine, and answers every image until the pipe is closed.

    Args:
        descriptor: its end of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    pipe = Connection(descriptor)
    try:
        engine: Engine = pipe.recv()()
        list(engine.classify([_plain_picture()]))
    except C4Error as error:
        pipe.send(str(error))
        return
    pipe.send(READY)
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send(_answer(engine, data))


def _answer(engine: Engine, data: bytes) -> tuple[Classification, bool]:
    """What the engine says of an image, and whether it did as an engine should."""
    try:
        (answer,) = engine.classify([data])
    except Exception as error:  # whatever a decoder comes up with for a damaged file
        reason = f"it cannot be classified ({type(error).__name__}: {error}); look at the file"
        return Classification(None, reason), False
    return answer, True


def _plain_picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "JPEG")
    return file.getvalue()
