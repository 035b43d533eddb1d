"""A backfill whose steps are Slurm jobs, in which a node, a run worker and the daemon are killed."""

from pathlib import Path

import pytest

from testing.slurm_cluster import Cluster
from testing.trial.faults import kill_daemon, kill_run_worker, kill_slurmd
from testing.trial.history import History
from testing.trial.scoring_history import score_history
from testing.trial.site import Plan, running_site
from tests.test_backlog_trial import OUTAGE_S, SHORT_WAITS, assert_scored_exactly_once


@pytest.mark.timeout(400)
def test_a_backfill_on_slurm_survives_its_faults_and_scores_each_image_once(cluster: Cluster, tmp_path: Path) -> None:
    plan = Plan(
        History(days=12, inspections=24, images_each=6),
        executor="slurm",
        days_a_run=6,
        at_once=2,
        monitor_seconds=1,
        late_daemon=True,
        settings=SHORT_WAITS,
    )
    faults = {"slurmd": kill_slurmd, "run worker": kill_run_worker, "daemon": kill_daemon}
    with running_site(tmp_path, plan, cluster) as site:
        outcome = score_history(site, faults, OUTAGE_S, spread=False)
        assert_scored_exactly_once(site, outcome)
    assert len(outcome.struck) == len(faults)
