"""What this deployment is: its settings, read here alone, its scorer version, how its steps are retried."""

import dagster as dg

from c4_assets.models.classifier import Classifier
from resources.settings import Settings

SETTINGS = Settings.from_environment()
"""The deployment's settings, read when the code location is loaded."""


SCORER = Classifier(SETTINGS).version
"""The scorer version of this deployment: the ``code_version`` of every asset whose content depends on it."""


GROUP = "drops"
"""All assets are in one group: with several, Dagster's lineage page opens with the groups folded."""


FACILITY = "team:crystallisation-facility"


CPU_RETRIES = dg.RetryPolicy(
    max_retries=3, delay=SETTINGS.retry_seconds, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""A database or storage host that goes away is usually back within a minute (10 + 20 + 40 s)."""


GPU_RETRIES = dg.RetryPolicy(max_retries=1, delay=SETTINGS.retry_seconds)
"""A node that dies under a step: once more elsewhere. Finished inspections are not classified again."""
