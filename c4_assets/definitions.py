"""The Dagster code location: what C4 is made of, on one page."""

import warnings

import dagster as dg

from c4_assets.assets import sources
from c4_assets.assets.ashes_disagreements import ashes_disagreements
from c4_assets.assets.backlog_coverage import backlog_coverage
from c4_assets.assets.class_predictions import class_predictions
from c4_assets.assets.db_scores import db_scores
from c4_assets.assets.drop_thumbnails import drop_thumbnails
from c4_assets.assets.human_labels import human_labels
from c4_assets.assets.marco_probabilities import marco_probabilities
from c4_assets.assets.raw_inspection_images import raw_inspection_images
from c4_assets.deployment import SETTINGS, resources_of
from c4_assets.runs.crystal_mails import tell_crystals
from c4_assets.runs.daily_digest import daily_digest, tell_digest
from c4_assets.runs.executors import EXECUTORS
from c4_assets.runs.jobs import (
    collect_disagreements,
    count_backlog,
    daily_coverage,
    score_images,
    settle_yesterday,
    weekly_ashes,
)
from c4_assets.runs.prune_runs import prune_runs, weekly_pruning
from sensors.crystals_found import crystals_found
from sensors.lost_runs import lost_runs
from sensors.messages import messages
from sensors.new_inspections import new_inspections
from sensors.requested_days import requested_days
from sensors.run_alerts import run_alerts
from sensors.traces import traces

# Dagster makes each sensor again when it binds it to its jobs, and then warns of owners, though C4's have none.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)

defs = dg.Definitions(
    assets=[
        sources.inspections,
        sources.human_scores,
        raw_inspection_images,
        marco_probabilities,
        class_predictions,
        db_scores,
        human_labels,
        ashes_disagreements,
        backlog_coverage,
        drop_thumbnails,
    ],
    jobs=[score_images, collect_disagreements, count_backlog, prune_runs, tell_crystals, tell_digest],
    sensors=[new_inspections, requested_days, lost_runs, run_alerts, messages, crystals_found, traces],
    schedules=[settle_yesterday, weekly_ashes, daily_coverage, weekly_pruning, daily_digest],
    resources=resources_of(SETTINGS),
    executor=EXECUTORS[SETTINGS.runs.executor],
)
