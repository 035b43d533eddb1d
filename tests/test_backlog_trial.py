"""A backfill through webserver and daemon, killed in every way on the way: each image ends with exactly one score."""

from pathlib import Path

import pytest

from testing.stand_in import RETRY_DELAY
from testing.trial.faults import FAULTS
from testing.trial.history import History
from testing.trial.scoring_history import Outcome, score_history
from testing.trial.site import Plan, Site, running_site
from testing.trial.verdict import verdict

OUTAGE_S = 4.0
SHORT_WAITS = {
    RETRY_DELAY: "1",
    "C4_TIMEOUT_SECONDS": "10",
    # How often Dagster looks for runs that have failed and are to be tried again; 5 by default.
    "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
}

ORDER = ("storage host", "imaging database", "run worker", "daemon")
"""A run fetches first: the storage host is struck while the first runs are at it."""


def assert_scored_exactly_once(site: Site, outcome: Outcome) -> None:
    found = verdict(site)
    assert found.problems() == [], str(found)
    assert outcome.passes == 1, "the deployment did not get over the faults by itself"


@pytest.mark.timeout(400)
def test_a_backfill_survives_every_fault_and_scores_each_image_once(tmp_path: Path) -> None:
    plan = Plan(
        History(days=20, inspections=40, images_each=6),
        days_a_run=5,
        at_once=2,
        monitor_seconds=1,
        late_daemon=True,
        settings=SHORT_WAITS,
    )
    with running_site(tmp_path, plan) as site:
        outcome = score_history(site, {name: FAULTS[name] for name in ORDER}, OUTAGE_S, spread=False)
        assert_scored_exactly_once(site, outcome)
    assert {each.name for each in outcome.struck} == FAULTS.keys() - {"slurmd"}
