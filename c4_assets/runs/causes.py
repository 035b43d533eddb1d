"""What lies at the root of an error that Dagster has kept: of a step, a run, a tick or a daemon."""

from typing import Any

from resources.redaction import SecretsTakenOut, redacted

OWN_ERRORS = ("resources.", "c4_assets.")
"""How the full names of C4's own errors begin. What they were raised from, a driver's error, says less."""

MAX_WORDS = 500


def cause_of(error: Any) -> tuple[str, str]:
    """Class and words of the cause, on one line, without secrets and cut.

    Dagster wraps what a step or a sensor raises, and says in its own error only where it was. The innermost error of
    C4's own counts, or else the last cause.

    Args:
        error: Dagster's ``SerializableErrorInfo``, whose class is in no public module.
    """
    chain = [error]
    while chain[-1].cause is not None:
        chain.append(chain[-1].cause)
    cause = next((each for each in reversed(chain) if str(each.message).startswith(OWN_ERRORS)), chain[-1])
    name, message = str(cause.cls_name or "Error"), str(cause.message).strip()
    _, _, words = message.partition(f"{name}: ")
    if name == SecretsTakenOut.__name__:  # it has the whole traceback in its text
        words = words.partition("\n\n")[0]
    return name, on_one_line(words or message)


def on_one_line(words: str) -> str:
    """Words on one line, without secrets and cut."""
    line = redacted(" ".join(words.split()))  # before it is cut
    return line if len(line) <= MAX_WORDS else f"{line[: MAX_WORDS - 1]}…"
