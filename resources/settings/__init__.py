"""Settings of a deployment: one file ``c4.toml``, each key of which a variable can override.

``settings`` puts them together; ``types``, ``sections``, ``slurm`` and ``checks`` are the model; ``keys`` gives a key
its names, ``sources`` reads, ``words`` says what is wrong, ``old_variables`` knows the last release, and ``reference``
prints.
"""

from resources.settings.old_variables import LegacyModel
from resources.settings.settings import Settings
from resources.settings.slurm import JobOptions, JobRequest, RunChanges, Site, SubmitRules

__all__ = ["JobOptions", "JobRequest", "LegacyModel", "RunChanges", "Settings", "Site", "SubmitRules"]
