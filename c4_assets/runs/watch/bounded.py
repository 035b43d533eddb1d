"""Questions that may hang, asked at the same time and waited for so long and no longer."""

import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, Queue
from typing import TypeVar

Answer = TypeVar("Answer")

_asking: dict[str, threading.Thread] = {}


def answers_within(seconds: float, questions: Mapping[str, Callable[[], Answer]]) -> dict[str, Answer | Exception]:
    """Asks every question in a thread of its own.

    A question that hangs is left to end by itself, and is not asked a second time before it has: a share that is gone
    would otherwise take a thread at each look.

    Args:
        questions: by name; one name is one question in all of the process.

    Returns:
        By name, the answer, or the error that was raised, or :class:`TimeoutError`.
    """
    end = time.monotonic() + seconds
    answers: Queue[tuple[str, Answer | Exception]] = Queue()
    found: dict[str, Answer | Exception] = {name: TimeoutError(f"no answer within {seconds:g} s") for name in questions}
    asked = [name for name in questions if not (name in _asking and _asking[name].is_alive())]

    def ask(name: str) -> None:
        try:
            answers.put((name, questions[name]()))
        except Exception as error:
            answers.put((name, error))

    for name in asked:
        _asking[name] = threading.Thread(target=ask, args=(name,), daemon=True, name=f"watch {name}")
        _asking[name].start()
    for _ in asked:
        try:
            name, answer = answers.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[name] = answer
    return found
