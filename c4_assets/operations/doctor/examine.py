"""Runs checks of the set-up side by side, each with a time-out, so that no host that hangs can hold them up."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from queue import Empty, Queue
from threading import Thread

from resources.errors import C4Error
from resources.findings import Finding, Verdict

EACH_S = 5.0
"""Longest time that one check may take."""

TOGETHER_S = 7.5
"""Longest time that all of them may take, so that the command, which has to start first, ends within ten seconds."""


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Attributes:
        id: its name for programs: ``database.answers``.
        section: the heading below which its lines stand.
        title: what is looked at, in words, for when it cannot be seen.
        look: looks, and says what it has seen, a line at a time. It runs in a thread of its own.
        after: ids of checks that it rests on. It is not looked at where one of them has failed.
        patience: seconds that it may take.
        silence: what to do where it does not answer in time, if that is itself a fault and not only something unseen.
        mend: mends what a safe finding of it names, and says what it has done.
    """

    id: str
    section: str
    title: str
    look: Callable[[], Iterable[Finding]]
    after: tuple[str, ...] = ()
    patience: float = EACH_S
    silence: str = ""
    mend: Callable[[], Iterable[str]] | None = None


@dataclass(frozen=True)
class Examined:
    """A check and what it has found."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether what rests on it can be looked at."""
        return not any(each.verdict in (Verdict.FAILED, Verdict.NOT_SEEN) for each in self.findings)


class _Look:
    """One check at work."""

    def __init__(self, check: Check, ended: "Queue[str]", together: float) -> None:
        self.check, self.began = check, time.monotonic()
        self.deadline = min(self.began + check.patience, together)
        self._found: list[Finding] = []
        self._ended = ended
        # A thread that waits for a host may never end. As a daemon it does not keep the process from ending.
        self._thread = Thread(target=self._work, name=f"doctor {check.id}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        since = self.began
        try:
            for finding in self.check.look():
                now = time.monotonic()
                self._found.append(replace(finding, seconds=finding.seconds or now - since))
                since = now
        except C4Error as error:  # what it looks at has failed meanwhile
            self._found.append(
                Finding(self.check.id, self.check.title, Verdict.FAILED, str(error), seconds=time.monotonic() - since)
            )
        except Exception as error:  # a check that is itself broken is a line, and no end of the others
            what = f"{self.check.title}: {type(error).__name__}: {_first_line(error)}"
            said = "The check itself has failed, which should not happen: report it with this line."
            self._found.append(Finding(self.check.id, what, Verdict.NOT_SEEN, said, seconds=time.monotonic() - since))
        finally:
            self._ended.put(self.check.id)

    def result(self) -> Examined:
        """What it has found."""
        return Examined(self.check, tuple(self._found))

    def given_up(self) -> Examined:
        """What it has found so far, and that it took too long."""
        took = time.monotonic() - self.began
        what = f"{self.check.title}: no answer within {took:.1f} s"
        verdict = Verdict.FAILED if self.check.silence else Verdict.NOT_SEEN
        fix = self.check.silence or "See what it waits for, and look again."
        return Examined(self.check, (*self._found, Finding(self.check.id, what, verdict, fix, seconds=took)))


def examine(checks: Sequence[Check], together: float = TOGETHER_S) -> list[Examined]:
    """Runs checks, each as soon as those that it rests on have ended, and returns what they found in their order.

    Threads of checks that did not end in time may go on; they are daemons.

    Args:
        together: seconds after which whatever is still at work counts as not seen.

    Raises:
        ValueError: a check rests on one that is not among them, or on itself.
    """
    end = time.monotonic() + together
    ended: Queue[str] = Queue()
    waiting = {check.id: check for check in checks}
    if strange := {base for check in checks for base in check.after} - waiting.keys():
        raise ValueError(f"checks rest on {', '.join(sorted(strange))}, which is not among them")
    at_work: dict[str, _Look] = {}
    done: dict[str, Examined] = {}
    while waiting or at_work:
        _start(waiting, at_work, done, ended, end)
        if not at_work:
            if waiting:
                raise ValueError(f"checks rest on each other: {', '.join(waiting)}")
            break
        patience = min(look.deadline for look in at_work.values()) - time.monotonic()
        try:
            name = ended.get(timeout=max(0.0, patience))
            if name in at_work:
                done[name] = at_work.pop(name).result()
        except Empty:
            for name, look in list(at_work.items()):
                if look.deadline <= time.monotonic():
                    done[name] = at_work.pop(name).given_up()
    return [done[check.id] for check in checks]


def _start(
    waiting: dict[str, Check],
    at_work: dict[str, _Look],
    done: dict[str, Examined],
    ended: "Queue[str]",
    end: float,
) -> None:
    """Starts the checks whose bases have ended. What rests on one that has failed is not seen."""
    while ready := [check for check in waiting.values() if all(base in done for base in check.after)]:
        for check in ready:
            del waiting[check.id]
            if fallen := [base for base in check.after if not done[base].holds]:
                what = f"{check.title}: not looked at, because it rests on {_base_of(fallen[0], done)}"
                unseen = Finding(check.id, what, Verdict.NOT_SEEN)
                done[check.id] = Examined(check, (unseen,))
            else:
                at_work[check.id] = _Look(check, ended, end)


def _base_of(name: str, done: dict[str, Examined]) -> str:
    """The check below that has failed, and not those in between that were not seen because of it."""
    below = [base for base in done[name].check.after if not done[base].holds]
    return _base_of(below[0], done) if below else f"{done[name].check.title} ({name})"


def mend(examined: Iterable[Examined]) -> list[str]:
    """Mends what is safe to mend among what was found, and returns a sentence for each thing that was done."""
    done: list[str] = []
    for each in examined:
        if each.check.mend is None or not any(finding.safe for finding in each.findings):
            continue
        try:
            done += each.check.mend()
        except Exception as error:  # the others are mended all the same
            done.append(f"{each.check.title} could not be mended: {_first_line(error)}")
    return done


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
