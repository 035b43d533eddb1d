"""Which run, step, inspection and image a line of the log is about: set once where such work begins."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

Ids = Mapping[str, object]

_NONE: Ids = MappingProxyType({})
_here: ContextVar[Ids] = ContextVar("c4_log_ids", default=_NONE)
_of_the_process: list[Ids] = []
"""What this process is at, the outermost first, for threads that work starts: they have no context of their own."""


@contextmanager
def working_on(**ids: object) -> Generator[None]:
    """Each line that is logged in the block has these ids besides those of the blocks around it.

    ``working_on(inspection_id=17)``; an id that is ``None`` is left out.
    """
    before = _here.get()
    mine = MappingProxyType({**before, **{name: value for name, value in ids.items() if value is not None}})
    _here.set(mine)
    _of_the_process.append(mine)
    try:
        yield
    finally:
        # No token: the block may be part of a generator that is closed in another context than it began in.
        _here.set(before)
        _of_the_process[:] = [each for each in _of_the_process if each is not mine]


def ids_at_work() -> Ids:
    """The ids of the work that this thread is at, or else of what the process is at."""
    if ids := _here.get():
        return ids
    try:
        return _of_the_process[-1]
    except IndexError:
        return _NONE
