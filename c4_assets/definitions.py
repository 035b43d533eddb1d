"""The Dagster code location: what C4 is made of, on one page."""

from collections.abc import Mapping

import dagster as dg

from c4_assets import sources
from c4_assets.ashes_disagreements import ashes_disagreements
from c4_assets.backlog_coverage import backlog_coverage
from c4_assets.checks.results import DataChecks
from c4_assets.class_predictions import class_predictions
from c4_assets.db_scores import db_scores
from c4_assets.human_labels import human_labels
from c4_assets.jobs import (
    collect_disagreements,
    count_backlog,
    daily_coverage,
    score_images,
    settle_yesterday,
    weekly_ashes,
)
from c4_assets.marco.classifier import Classifier
from c4_assets.marco_probabilities import marco_probabilities
from c4_assets.prune_runs import prune_runs, weekly_pruning
from c4_assets.raw_inspection_images import raw_inspection_images
from c4_assets.shared import SETTINGS
from resources.image_store import open_image_store
from resources.imaging_database import ImagingDatabase
from resources.score_archive import ScoreArchive
from resources.settings import Settings
from resources.slurm.executor import slurm_executor
from resources.staging import Staging
from sensors.new_inspections import new_inspections

# The steps of a run follow one another, so a process for each buys no speed: a run on one machine is one process, which
# imports once. Where each is to have its own, it is forked from one that has imported what every step imports.
PRELOADED_MODULES = [
    __name__,
    "dagster._cli",
    "dagster._core.storage.sqlite_storage",
    "pandas",
    "pyarrow.parquet",
    "great_expectations",
]
FORKSERVER = {"start_method": {"forkserver": {"preload_modules": PRELOADED_MODULES}}}

EXECUTORS = {
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor.configured(FORKSERVER, name="multiprocess"),
    "slurm": slurm_executor,
}


def resources_of(settings: Settings) -> Mapping[str, object]:
    """What the assets talk to. Making them opens no connection and reads no file but a model named by its path."""
    classifier = Classifier(settings)
    return {
        "settings": settings,
        "imaging_database": ImagingDatabase.of(settings),
        "image_store": open_image_store(settings.image_store_url, settings.ssh),
        "staging": Staging(settings.staging, classifier.version.name),
        "score_archive": ScoreArchive(settings.archive, classifier.version.name),
        "classifier": classifier,
        "data_checks": DataChecks(settings),
    }


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
    ],
    jobs=[score_images, collect_disagreements, count_backlog, prune_runs],
    sensors=[new_inspections],
    schedules=[settle_yesterday, weekly_ashes, daily_coverage, weekly_pruning],
    resources=resources_of(SETTINGS),
    executor=EXECUTORS[SETTINGS.executor],
)
