"""How far another machine's clock may be from this one's."""

from resources.findings import Finding, Verdict

WARN_S = 10.0
"""A clock that is kept by NTP is off by milliseconds, so one that is off by this is not kept."""

MOST_S = 60.0
"""Signs of life come every half minute and heartbeats are awaited for minutes: a clock that is off by more makes what
lives look dead, and new images look old."""


def skew(id_: str, whose: str, ahead: float) -> Finding:
    """What is to be said of a clock that is ahead of this machine's by so many seconds."""
    if abs(ahead) < WARN_S:
        return Finding(id_, f"the clock of {whose} agrees with this machine's (within {abs(ahead):.1f} s)")
    what = f"the clock of {whose} is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    fix = "Let both keep their time by NTP (systemd-timesyncd, chrony): `timedatectl` says whether this machine does."
    return Finding(id_, what, Verdict.FAILED if abs(ahead) >= MOST_S else Verdict.WARNED, fix)
