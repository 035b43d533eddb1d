"""The one type of every check of a set-up: `c4 doctor`, `c4 db check` and `c4 slurm check`."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check of the set-up ended, the best first."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    NOT_SEEN = "not seen"
    """It could not be looked at: what it rests on has failed, or it took too long."""


@dataclass(frozen=True)
class Finding:
    """One line for the operator.

    Attributes:
        id: what was checked, as programs name it: ``database.grants``.
        what: what was seen, in words.
        fix: what to do, with a command to copy where there is one; empty where all is well.
        safe: whether `c4 doctor --fix` can do it.
        seconds: how long looking took.
    """

    id: str
    what: str
    verdict: Verdict = Verdict.PASSED
    fix: str = ""
    safe: bool = False
    seconds: float = 0.0
