"""A backfill through webserver and daemon, killed in every way on the way: each image ends with exactly one score."""

from pathlib import Path

import pytest

from benchmarks.faults import FAULTS, faults_of
from benchmarks.history import History
from benchmarks.scoring_history import Outcome, score_history
from benchmarks.sshd import missing_programs
from benchmarks.trial_site import Plan, Site, running_site
from benchmarks.verdict import verdict
from tests.conftest import unavailable

OUTAGE_S = 4.0
SHORT_WAITS = {"C4_RETRY_SECONDS": "1", "C4_SSH_TIMEOUT_SECONDS": "10", "C4_DATABASE_TIMEOUT_SECONDS": "10"}


def assert_scored_exactly_once(site: Site, outcome: Outcome) -> None:
    found = verdict(site)
    assert found.problems() == [], str(found)
    assert outcome.passes == 1, "the deployment did not get over the faults by itself"


@pytest.mark.timeout(400)
def test_a_backfill_survives_every_fault_and_scores_each_image_once(tmp_path: Path) -> None:
    if missing := missing_programs():
        unavailable(f"a storage host needs {', '.join(missing)}: run deploy/system-packages")
    plan = Plan(
        History(days=30, inspections=60, images_each=6),
        days_a_run=3,
        at_once=2,
        monitor_seconds=3,
        settings=SHORT_WAITS,
    )
    with running_site(tmp_path, plan) as site:
        outcome = score_history(site, faults_of("multiprocess"), OUTAGE_S)
        assert_scored_exactly_once(site, outcome)
    assert [each.name for each in outcome.struck] == [name for name in FAULTS if name != "slurmd"]
