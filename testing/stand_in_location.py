"""C4's own graph over the stand-in: the code location of the trials of orchestration."""

import os
from functools import partial
from typing import Any, cast

import dagster as dg

from c4_assets import definitions
from c4_assets.deployment import SETTINGS
from c4_assets.models.active import ActiveModels
from c4_assets.runs import step_failures
from resources.imaging_database import ImagingDatabase
from testing.always import always
from testing.stand_in import RETRY_DELAY, StandInClassifier

if RETRY_DELAY in os.environ:
    delay = float(os.environ[RETRY_DELAY])
    step_failures.RETRY_DELAY_S = delay
    cast("Any", dg.RetryPolicy).calculate_delay = always(delay)

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
