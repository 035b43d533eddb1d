"""Why a run failed, as operators are told it, and what to do about it."""

from dataclasses import dataclass

from resources.errors import ConfigurationError, DataError, Unavailable

KILLED = "Killed"
"""The kind of a reason where a process ended before it could say why."""

WHEN_MENDED = "What is pending is asked for again by the sensor, or at once by `c4 run --date DAY`."

ADVICE = {
    KILLED: "See what ended the process (memory, a restart, somebody's kill). Nothing that it had finished is lost.",
    Unavailable.__name__: "See that the service which the reason names answers: `c4 db check`, `c4 slurm check`.",
    ConfigurationError.__name__: "Correct what the reason names (`c4 config` shows every setting and its source).",
    DataError.__name__: "Correct the row that the reason names in the imaging database.",
}
"""What to do, by the kind of reason."""

ADVICE_OTHERWISE = "Read the failing step's log behind the link."


@dataclass(frozen=True)
class Reason:
    """Why a run failed.

    Attributes:
        step: the step that failed first; empty where none did.
        kind: class of the error, or :data:`KILLED`: what different runs that fail for one cause have in common.
        words: the error's own message.
        service: the service that did not answer, where the step says that it failed for it.
    """

    step: str
    kind: str
    words: str
    service: str = ""

    @property
    def advice(self) -> str:
        """What to do about it."""
        return f"{ADVICE.get(self.kind, ADVICE_OTHERWISE)} {WHEN_MENDED}"
