"""C4's own graph over the stand-in: the code location of the trials of orchestration."""

from functools import partial
from typing import Any

import dagster as dg

from benchmarks.stand_in import StandInClassifier
from c4_assets import definitions
from c4_assets.deployment import SETTINGS
from c4_assets.models.active import ActiveModels
from resources.imaging_database import ImagingDatabase

# Dagster wants one Definitions in a module: that of C4 stays in its own.
_stand_in = partial(StandInClassifier, models=SETTINGS.models)
_resources: dict[str, Any] = {
    **definitions.resources_of(SETTINGS),
    "models": ActiveModels(SETTINGS, ImagingDatabase.of(SETTINGS), _stand_in),
}

defs = dg.Definitions(
    assets=definitions.defs.assets,
    asset_checks=definitions.defs.asset_checks,
    jobs=definitions.defs.jobs,
    sensors=definitions.defs.sensors,
    schedules=definitions.defs.schedules,
    resources=_resources,
    executor=definitions.defs.executor,
)
