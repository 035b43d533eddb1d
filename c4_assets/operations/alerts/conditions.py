"""Conditions from plain values: the keys and words of what is told, whoever has seen it.

The watch (:mod:`c4_assets.runs.watch`) asks Dagster, the database and the hosts; what it tells of them is worded
here.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from c4_assets.operations.alerts.reasons import Reason
from c4_assets.operations.alerts.records import Condition, Event, Severity, Subject
from c4_assets.operations.rhythm import Silence
from resources.errors import Service

EVENTS: Mapping[Service, Event] = {
    "database": Event.DATABASE_AWAY,
    "store": Event.STORE_AWAY,
    "slurm": Event.SLURM_AWAY,
}

NAMES: Mapping[Service, str] = {"database": "imaging database", "store": "image store", "slurm": "Slurm cluster"}

ADVICE: Mapping[Service, str] = {
    "database": "Runs wait for it, and nothing is lost. `c4 db check` says what C4 sees of it.",
    "store": "Runs wait for it, and no image is counted as failed. See that its host is up and lets C4 in.",
    "slurm": "Jobs that run go on; new steps wait. `c4 slurm check` says what C4 sees of the cluster.",
}

FOLDER_ADVICE = (
    "Runs wait for it, and no image is counted as failed. See that its disk or share is mounted here and that C4's "
    "account may read it."
)
"""What to do about an image store that is a folder."""

NOTHING_IMAGED_KEY = str(Event.NOTHING_IMAGED)

FAILED_RUN_KEYS = f"{Event.RUN_FAILED}:"

FAILED_TICK_KEYS = f"{Event.SENSOR_FAILED}:"

GIVEN_UP_KEY = str(Event.IMAGES_GIVEN_UP)

GIVEN_UP_ADVICE = (
    "`c4 status --failures` lists them with the reason. Put the files right, then `c4 retry` has them tried again."
)

_STEP_IN_KEY = re.compile(r", (\w+) \(")
_JOB_IN_KEY = re.compile(f"{FAILED_RUN_KEYS}(\\w+)")


def service_away(
    service: Service,
    why: str,
    since: datetime,
    waiting: tuple[Subject, ...] = (),
    *,
    at_steps: bool = False,
    is_folder: bool = False,
) -> Condition:
    """A service does not answer.

    Args:
        since: when that was first noticed.
        waiting: runs that wait for it, or may.
        is_folder: that it is a store without a host of its own.
        at_steps: that a step has met it, on a machine that may reach less than this one.
    """
    where = " where steps run" if at_steps else ""
    return Condition(
        key=str(EVENTS[service]),
        event=EVENTS[service],
        severity=Severity.ERROR,
        summary=f"The {NAMES[service]} does not answer{where}: {why}",
        advice=FOLDER_ADVICE if is_folder else ADVICE[service],
        subjects=waiting,
        since=since,
    )


def nothing_imaged(silence: Silence, now: datetime) -> Condition:
    """Nothing was imaged in hours in which this facility usually does."""
    hours = (now - silence.since) / timedelta(hours=1)
    return Condition(
        key=NOTHING_IMAGED_KEY,
        event=Event.NOTHING_IMAGED,
        severity=Severity.WARNING,
        summary=f"Nothing was imaged for {hours:.0f} hours. In the same hours of the last {silence.weeks} weeks there "
        f"were {silence.usually} inspections.",
        advice="See whether the imager works and its software writes into the database. On a public holiday all is "
        f"well. The newest inspection is of {silence.since:%Y-%m-%d %H:%M} UTC.",
        since=silence.since,
    )


def run_subject(job: str, partitions: str, url: str = "") -> Subject:
    """A run as messages name it."""
    return Subject(_about(job, partitions, " "), url)


def run_failed(job: str, partitions: str, reason: Reason, subject: Subject) -> Condition:
    """A run has failed. Those of one job that fail in one step for one kind of reason are one incident.

    Args:
        job: the run's job, as people know it.
        partitions: the day, the week or the span that it was about; empty where it has none.
    """
    where = f" in {reason.step}" if reason.step else ""
    return Condition(
        key=f"{FAILED_RUN_KEYS}{job}{f', {reason.step}' if reason.step else ''} ({reason.kind})",
        event=Event.RUN_FAILED,
        severity=Severity.ERROR,
        summary=f"{_about(job, partitions, ' of ')} failed{where}: {reason.words}",
        advice=reason.advice,
        subjects=(subject,),
        because_of=next((event for service, event in EVENTS.items() if service == reason.service), None),
    )


def step_of(key: str) -> str:
    """The step in the key of a failed run; empty where no step failed."""
    found = _STEP_IN_KEY.search(key)
    return found[1] if found else ""


def job_of(key: str) -> str | None:
    """The job in the key of a failed run; ``None`` in other keys."""
    found = _JOB_IN_KEY.match(key)
    return found[1] if found else None


def images_given_up(count: int, day: str, first: str, url: str = "") -> Condition:
    """Images will not be tried again.

    Args:
        first: one of them and why, as a sentence; empty where that is not known.
        url: the run that has given them up.
    """
    images = f"{count} images" if count > 1 else "An image"
    return Condition(
        key=GIVEN_UP_KEY,
        event=Event.IMAGES_GIVEN_UP,
        severity=Severity.WARNING,
        summary=f"{images} of {day} will not be tried again. {first}".strip(),
        advice=GIVEN_UP_ADVICE,
        subjects=(Subject(day, url),),
        count=count,
    )


def given_up_named(plate: str, well: str, drop_number: int, why: str) -> str:
    """An image that is given up, as a sentence."""
    return f"{plate} {well}.{drop_number}: {why}"


def ticks_failed(kind: str, name: str, times: int, why: str, since: datetime, url: str = "") -> Condition:
    """A sensor or schedule fails.

    Args:
        kind: ``sensor`` or ``schedule``.
        times: failed ticks in a row.
    """
    in_a_row = f", {times} times in a row" if times > 1 else ""
    return ticks_wrong(name, f"The {kind} {name} failed{in_a_row}: {why}", since, url)


def ticks_wrong(name: str, words: str, since: datetime, url: str = "") -> Condition:
    """Something is wrong with the ticks of a sensor or schedule."""
    return Condition(
        key=f"{FAILED_TICK_KEYS}{name}",
        event=Event.SENSOR_FAILED,
        severity=Severity.ERROR,
        summary=words,
        advice="Its page in Dagster's UI shows each tick with its error. It is tried again by itself.",
        subjects=(Subject(name, url),),
        since=since,
    )


def _about(job: str, partitions: str, between: str) -> str:
    return between.join(part for part in (job, partitions) if part)
