"""Functions that answer alike whatever they are asked, to put in the place of real ones."""

from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def always(answer: Answer) -> Callable[..., Answer]:
    """A function, and in a class a method, that returns one answer."""

    def function(*_: object, **__: object) -> Answer:
        return answer

    return function
