"""One incident: what was observed under one key, from its beginning to its end."""

from dataclasses import dataclass, replace
from datetime import datetime

from c4_assets.operations.alerts.records import Change, Condition, Severity, Subject

SUBJECTS_NAMED = 5
"""Subjects that are kept with their addresses, and named in messages."""

SUBJECTS_REMEMBERED = 2_000
"""Names of subjects that an incident remembers, so that none is counted twice."""


@dataclass(frozen=True)
class Incident:
    """What is wrong under one key, what of it was told, and when.

    Attributes:
        id: its key and when it was first seen.
        condition: its newest condition, without subjects.
        holds: whether it is of a condition that holds until it ends, and not of things that happen.
        opened: when it began.
        seen: when it was first seen.
        last: when it was last seen, or last happened.
        count: how often it has happened; the most subjects that it had at once, where it holds.
        subjects: the first of them, to be named.
        subject_count: how many different subjects it has had; where it holds, how many it has now.
        names: names of the subjects that it has happened to.
        ended: since when it does not hold, or is well again; it is closed a little later.
        told: when its last message was made.
        told_count, worst_told: what that message said.
        sequence: messages so far.
        spaced: messages since the first that were sent because time had passed: each doubles the time to the next.
    """

    id: str
    condition: Condition
    holds: bool
    opened: datetime
    seen: datetime
    last: datetime
    count: int = 0
    subjects: tuple[Subject, ...] = ()
    subject_count: int = 0
    names: tuple[str, ...] = ()
    ended: datetime | None = None
    told: datetime | None = None
    told_count: int = 0
    worst_told: Severity | None = None
    sequence: int = 0
    spaced: int = 0

    @classmethod
    def of(cls, condition: Condition, holds: bool, now: datetime) -> "Incident":
        """The incident that a condition opens, before it is counted."""
        began = min(condition.since or now, now)
        return cls(f"{condition.key}@{now:%Y%m%dT%H%M%S.%fZ}", condition, holds, began, now, now)

    @property
    def key(self) -> str:
        """The key of its conditions."""
        return self.condition.key

    def until(self, now: datetime) -> "Incident":
        """The incident as one that has happened until now, where a clock was put back."""
        return replace(
            self,
            opened=min(self.opened, now),
            seen=min(self.seen, now),
            last=min(self.last, now),
            ended=self.ended and min(self.ended, now),
            told=self.told and min(self.told, now),
        )

    def held(self, condition: Condition, now: datetime) -> "Incident":
        """The incident after a look that saw its condition hold."""
        return replace(
            self,
            condition=replace(condition, subjects=()),
            last=now,
            count=max(self.count, len(condition.subjects)),
            subjects=condition.subjects[:SUBJECTS_NAMED],
            subject_count=len(condition.subjects),
            ended=None,
        )

    def happened(self, condition: Condition, now: datetime) -> "Incident":
        """The incident after it has happened again, to the condition's subjects."""
        names = tuple(dict.fromkeys((*self.names, *(subject.name for subject in condition.subjects))))
        named = {subject.name: subject for subject in (*self.subjects, *condition.subjects)}
        worst = max(self.condition.severity, condition.severity, key=lambda each: each.rank)
        cause = condition.because_of if condition.because_of == self.condition.because_of else None
        return replace(
            self,
            condition=replace(condition, subjects=(), severity=worst, because_of=cause),
            last=now,
            count=self.count + condition.count,
            subjects=tuple(named.values())[:SUBJECTS_NAMED],
            subject_count=self.subject_count + len(names) - len(self.names),
            names=names[:SUBJECTS_REMEMBERED],
            ended=None,
        )

    def after(self, change: Change, now: datetime) -> "Incident":
        """The incident after a message was made of it."""
        worst = max(self.condition.severity, self.worst_told or self.condition.severity, key=lambda each: each.rank)
        rose = self.worst_told is not None and worst.rank > self.worst_told.rank
        spaced = self.spaced + (change in (Change.GREW, Change.REPEATED) and not rose)
        return replace(
            self, told=now, told_count=self.count, worst_told=worst, sequence=self.sequence + 1, spaced=spaced
        )
